"""What tests of ends and renewals share: the clock goes on, what it asks for is done, and what people were told."""

from __future__ import annotations

from datetime import date, timedelta

from django.db.models import F

from placo.drivers.ports import Power
from placo.platforms.models import JournalEntry, Notice, Platform, Run
from placo.services import expiry
from tests.fakes import World
from tests.integration.conftest import Clock


def now(platform: Platform) -> Platform:
    return Platform.objects.get(pk=platform.pk)


def look(world: World) -> expiry.Attended:
    """What beat asks for, with all that follows of it: the guests obey, the runs go on to their ends."""
    done = expiry.attend()
    assert done.failed == 0
    work(world)
    return done


def work(world: World) -> None:
    for run in Run.objects.filter(ended_at=None):
        if run.kind in ("stop", "restart"):
            host = world.host_of(run.platform)
            for machine in run.platform.plan.machines if not host.faults.unreachable else ():
                host.kill_domain(machine.uuid)
        world.finish(run.pk)


def an_hour_later() -> None:
    """As if all that the engine has written had been written so much earlier."""
    JournalEntry.objects.update(at=F("at") - timedelta(minutes=61))


def powers(world: World, platform: Platform) -> set[Power]:
    return {world.host_of(platform).power(m.uuid) for m in platform.plan.machines}


def told(uid: str = "emmy") -> list[tuple[str, date, date]]:
    """What somebody was told, in order."""
    rows = Notice.objects.filter(uid=uid).order_by("id")
    return [(n.kind, n.ends_on, n.removed_on) for n in rows]


def end_it(world: World, clock: Clock, platform: Platform) -> None:
    """The end date has come, and what it asks for is done."""
    ends_on = now(platform).expires_on
    assert ends_on is not None
    clock.go_to(ends_on)
    look(world)
    look(world)
    assert now(platform).state == "stopped"
