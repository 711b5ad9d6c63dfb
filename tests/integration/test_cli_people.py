"""People with the `placo` command, through the real API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from placo.platforms.models import Invitation, Membership, Platform, Project, SshKey, User
from placo.services import members
from tests.command import Command
from tests.factories import make_user, ready_platform
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.people import SENDER, SLUG, member_run
from tests.integration.test_cli_flow import placo  # noqa: F401 - a fixture

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM0oiFD2Lh7TdUbsbpJTR2vKYszOixl+IRp4643lZeJU laptop\n"
Placo = Callable[[User], Command]


@pytest.fixture
def alpha(world: World, clock: Clock, optics: Project, emmy: User, admin: User, configured: Any) -> Platform:
    configured(mail=SENDER)
    world.directory.now = lambda: clock.time
    return ready_platform(world, emmy, admin)


def test_inviting(placo: Placo, alpha: Platform, emmy: User) -> None:  # noqa: F811
    owner = placo(emmy)
    assert "is invited" in owner("invite", SLUG, "marie@elsewhere.test").out
    number = str(Invitation.objects.get().pk)
    assert "marie@elsewhere.test" in owner("invitations", SLUG).out
    assert owner("resend", number, "--json").json["mailed"] == "waiting"
    assert "revoked" in owner("revoke", number).out
    assert owner("invitations", SLUG, "--json").json == []
    refused = owner("invite", SLUG, "nobody")
    assert refused.status == 1
    assert "mail: One plain mail address" in refused.err
    until = owner("invite", SLUG, "marie@elsewhere.test", "--until", "2001-01-01")
    assert "until: A day after today" in until.err


def test_handing_over_and_leaving(
    placo: Placo,  # noqa: F811
    world: World,
    alpha: Platform,
    emmy: User,
    admin: User,
) -> None:
    owner = placo(emmy)
    for uid in ("alan", "evariste"):
        members.add_member(acting_user=emmy, slug=SLUG, uid=uid)
        world.finish(member_run(uid).pk)
    assert "2099-01-01" in owner("until", SLUG, "evariste", "2099-01-01").out
    assert owner("until", SLUG, "evariste", "never", "--json").json["until"] is None
    assert "last owner" in owner("stepdown", SLUG).err
    assert "alan (Alan Turing) is an owner" in owner("handover", SLUG, "alan", "--step-down").out
    assert owner("members", SLUG).status == 1
    desk = placo(admin)
    assert SLUG in desk("people", "show", "evariste").out
    assert desk("people", "leave", "evariste", "--yes-uid", "alan").status == 1
    assert Membership.objects.filter(uid="evariste", wanted=True).exists()
    assert "is being removed from: alpha" in desk("people", "leave", "evariste", typed="evariste\n").out
    assert not Membership.objects.filter(uid="evariste", wanted=True).exists()


def test_keys(placo: Placo, world: World, tmp_path: Path, alpha: Platform) -> None:  # noqa: F811
    alan = placo(make_user("alan"))
    file = tmp_path / "id.pub"
    file.write_text(KEY)
    assert "SHA256:" in alan("keys", "add", str(file)).out
    assert "laptop" in alan("keys", "list").out
    assert "laptop" in alan("keys", "add", "-", typed=KEY).out
    assert "cannot be read" in alan("keys", "add", str(tmp_path / "none")).err
    private = tmp_path / "id"
    private.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert "private half" in alan("keys", "add", str(private)).err
    assert "is removed" in alan("keys", "remove", str(SshKey.objects.get().pk)).out
    assert world.directory.ssh_keys() == {}
