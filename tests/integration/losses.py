"""What tests of lost hosts share."""

from __future__ import annotations

from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.platforms.models import Platform, Run, User
from placo.services import (
    audit,
    books,
    lost,
    platforms,
    reconcile,
)
from tests.fakes import World

SLUG = "alpha"


def cut_off(world: World, platform: Platform) -> FakeHypervisor:
    """The platform's host does not answer any more, and the portal knows it."""
    host = world.host_of(platform)
    host.faults.unreachable = True
    reconcile.reconcile()
    return host


def lose(world: World, platform: Platform, admin: User) -> FakeHypervisor:
    """The same, and it is declared lost."""
    host, name = cut_off(world, platform), platform.host.name
    lost.declare_lost(acting_user=admin, host_name=name, confirm=name)
    return host


def retire(world: World, emmy: User) -> Run:
    return world.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)


def events(run: Run) -> set[str]:
    return set(run.journal.values_list("event", flat=True))


def sound() -> None:
    assert books.check() == []
    assert audit.orphans() == []
