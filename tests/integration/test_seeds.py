"""What machines are told about themselves."""

from __future__ import annotations

from dataclasses import replace

from placo.platforms.models import Project, User
from placo.services import seeds
from tests.factories import ready_platform
from tests.fakes import World


def test_what_was_not_asked_yet_has_its_default(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    """A platform that is older than an option of the catalogue is told its default, and else what was chosen."""
    plan = ready_platform(world, emmy, admin, services=["web"], options={"web": {"php": False}}).plan
    old = replace(plan, options={"web": {"php": False}})
    assert seeds.context(old, old.machine("www"))["options"] == {"web": {"php": False, "owners_only": False}}
    older = replace(plan, options={})
    assert seeds.context(older, older.machine("www"))["options"]["web"]["php"] is True
    assert seeds.archive(older, older.machine("www"))
