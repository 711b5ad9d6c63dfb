"""The whole life of a platform by a clock that the test moves: reminders, stop, renewal, the second end, the removal."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

import tasks
from placo.drivers.ports import DriverError, Power
from placo.platforms.models import AuditEvent, Notice, Platform, Project, Reminder, Run, User
from placo.services import decisions, expiry, platforms, renewal
from placo.services.errors import Conflict
from tests import factories
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.ends import an_hour_later, end_it, look, now, powers, told, work


@pytest.fixture
def alpha(clock: Clock, ready: Callable[..., Platform]) -> Platform:
    """A platform that was asked for 90 days, on the first of them."""
    return ready()


def test_the_whole_life(clock: Clock, world: World, alpha: Platform, emmy: User) -> None:
    begun, end = clock.today, clock.today + timedelta(days=90)
    assert (alpha.term_from, alpha.expires_on) == (begun, end)
    for _day in range(90):
        look(world)
        look(world)
        clock.forward(1)
    removal = end + timedelta(days=30)
    assert told() == [("expiring", end, removal)] * 3
    assert sorted(Reminder.objects.values_list("days", flat=True)) == [1, 7, 30]
    given = dict(Reminder.objects.values_list("days", "at"))
    assert {days: (end - timezone.localdate(at)).days for days, at in given.items()} == {30: 30, 7: 7, 1: 1}
    assert powers(world, alpha) == {Power.RUNNING}

    assert look(world).stopped == 1
    assert powers(world, alpha) == {Power.STOPPED}
    assert look(world).kept == 1
    assert told()[3:] == [("stopped", end, removal)]
    stop = Run.objects.get(kind="stop")
    assert stop.started_by is None
    assert AuditEvent.objects.get(verb="run.stop").actor == "placo"

    clock.forward(20)
    assert look(world) == expiry.Attended()
    renewal.renew_platform(acting_user=emmy, slug="alpha")
    work(world)
    second = clock.today + timedelta(days=90)
    assert now(alpha).expires_on == second
    assert now(alpha).removed_on is None
    assert now(alpha).state == "ready"
    assert powers(world, alpha) == {Power.RUNNING}
    assert Run.objects.get(kind="start").started_by == emmy

    while clock.today < second:
        look(world)
        clock.forward(1)
    assert told()[4:] == [("expiring", second, second + timedelta(days=30))] * 3, "reminders start again"
    look(world)
    look(world)
    assert now(alpha).removed_on == second + timedelta(days=30)
    clock.forward(29)
    assert look(world) == expiry.Attended()
    clock.forward(1)
    assert look(world).retired == 1
    assert now(alpha).state == "retired"
    assert world.audit("alpha") == []
    assert told()[7:] == [
        ("stopped", second, second + timedelta(days=30)),
        ("retired", second, second + timedelta(days=30)),
    ]
    clock.forward(400)
    assert look(world) == expiry.Attended()


def test_a_portal_that_was_off_for_months(clock: Clock, world: World, alpha: Platform) -> None:
    clock.forward(84)
    look(world)
    assert [kind for kind, *_ in told()] == ["expiring"], "one notice, not two"
    assert Reminder.objects.get().days == 7
    clock.forward(200)
    look(world)
    look(world)
    assert now(alpha).state == "stopped", "nothing is removed that has not been stopped and kept"
    assert now(alpha).removed_on == clock.today + timedelta(days=30)
    clock.forward(29)
    assert look(world).retired == 0
    clock.forward(1)
    assert look(world).retired == 1


def test_a_short_platform_gets_what_makes_sense(
    clock: Clock, world: World, optics: Project, emmy: User, admin: User
) -> None:
    factories.ready_platform(world, emmy, admin, days=5)
    for _day in range(5):
        look(world)
        clock.forward(1)
    assert list(Reminder.objects.values_list("days", flat=True)) == [1]


def test_beat_asks_for_it(clock: Clock, world: World, alpha: Platform) -> None:
    asked = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert {tasks.expire.name, tasks.send_mail.name} <= asked
    clock.forward(60)
    tasks.expire()
    tasks.send_mail()
    assert len(told()) == 1
    assert expiry._ending() == [], "who was reminded is not even looked at again"


def test_every_owner_is_told_and_where_there_is_none_administrators(
    clock: Clock, world: World, alpha: Platform, optics: Project, emmy: User, admin: User
) -> None:
    optics.owners.create(uid="alan")
    clock.forward(60)
    look(world)
    assert sorted(Notice.objects.values_list("uid", flat=True)) == ["alan", "emmy"]
    optics.owners.all().delete()
    clock.forward(23)
    look(world)
    assert [kind for kind, *_ in told("ada")] == ["expiring"]


def test_a_notice_and_its_reminder_are_there_together_or_not_at_all(
    clock: Clock, world: World, alpha: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.forward(60)
    with monkeypatch.context() as broken:

        def dies(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError("killed")

        broken.setattr(expiry.notices, "write", dies)
        assert expiry.attend().failed == 1
    assert not Reminder.objects.exists()
    assert look(world).reminded == 1
    assert len(told()) == 1


@pytest.mark.parametrize("action", ["start", "restart"])
def test_what_is_over_cannot_be_started(
    clock: Clock, world: World, alpha: Platform, emmy: User, admin: User, action: str
) -> None:
    if action == "start":
        end_it(world, clock, alpha)
    else:
        clock.forward(90)
    for user in (emmy, admin):
        with pytest.raises(Conflict, match="was over on") as refused:
            platforms.power_platform(acting_user=user, slug="alpha", action=action)
        assert "enew it" in str(refused.value.remedy)
    assert Run.objects.latest("id").kind in ("create", "stop")


def test_what_its_owner_stopped_or_suspended_counts_as_stopped_and_stays_so(
    clock: Clock, world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    platforms.power_platform(acting_user=emmy, slug="alpha", action="suspend")
    work(world)
    clock.forward(90)
    assert look(world).kept == 1
    assert not Run.objects.filter(kind="stop").exists()
    with pytest.raises(Conflict):
        platforms.power_platform(acting_user=emmy, slug="alpha", action="resume")
    renewal.renew_platform(acting_user=emmy, slug="alpha")
    work(world)
    assert now(alpha).state == "suspended", "its owner had suspended it"
    platforms.power_platform(acting_user=emmy, slug="alpha", action="resume")
    work(world)
    platforms.power_platform(acting_user=emmy, slug="alpha", action="stop")
    work(world)
    end_it(world, clock, alpha)
    renewal.renew_platform(acting_user=emmy, slug="alpha")
    work(world)
    assert now(alpha).state == "stopped"
    assert look(world).started == 0


def test_a_run_that_is_under_way_is_waited_for(
    clock: Clock, world: World, alpha: Platform, emmy: User
) -> None:
    run = platforms.power_platform(acting_user=emmy, slug="alpha", action="restart")
    clock.forward(90)
    assert expiry.attend().stopped == 0
    assert now(alpha).state == "restarting"
    work(world)
    assert Run.objects.get(pk=run.pk).state == "done"
    assert look(world).stopped == 1
    assert now(alpha).state == "stopped"


def test_a_host_that_is_down_delays_its_own_platforms_alone(
    clock: Clock, world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    beta = factories.ready_platform(world, emmy, admin, slug="beta", services=["web"])
    assert world.host_of(alpha) is not world.host_of(beta)
    world.host_of(alpha).faults.unreachable = True
    clock.forward(90)
    look(world)
    look(world)
    assert (now(alpha).state, now(beta).state) == ("stopping", "stopped")
    stop = Run.objects.get(kind="stop", platform=alpha)
    assert (stop.state, {step.waits_for for step in stop.steps.all()}) == ("running", {alpha.host.name})
    assert now(alpha).removed_on is None, "what runs is not about to be removed"
    an_hour_later()
    assert expiry.attend().revived == 0, "it waits by itself"
    world.host_of(alpha).faults.unreachable = False
    clock.forward(days=10)
    work(world)
    look(world)
    assert now(alpha).state == "stopped"
    assert now(alpha).removed_on == clock.today + timedelta(days=30), "the grace period begins with the stop"
    assert now(beta).removed_on == clock.today + timedelta(days=20)


def test_renewed_while_it_stops(clock: Clock, world: World, alpha: Platform, emmy: User) -> None:
    clock.forward(90)
    assert expiry.attend().stopped == 1
    renewal.renew_platform(acting_user=emmy, slug="alpha")
    assert now(alpha).start_again
    assert expiry.attend().started == 0
    work(world)
    assert look(world).started == 1
    assert now(alpha).state == "ready"
    assert not now(alpha).start_again
    assert look(world) == expiry.Attended()


def refuse_to_stop(world: World, platform: Platform) -> None:
    """Its host answers, but does not do what is asked."""
    world.host_of(platform).faults.fail_next("power", DriverError("no"), times=1000)


def test_renewed_while_its_stop_is_stuck(clock: Clock, world: World, alpha: Platform, emmy: User) -> None:
    refuse_to_stop(world, alpha)
    clock.forward(90)
    look(world)
    assert expiry.attend().revived == 0, "people get an hour to decide"
    renewal.renew_platform(acting_user=emmy, slug="alpha")
    world.host_of(alpha).faults.clear()
    an_hour_later()
    assert look(world).revived == 1
    assert Run.objects.get(kind="stop").state == "undone"
    assert now(alpha).state == "ready"
    look(world)
    assert not now(alpha).start_again
    assert powers(world, alpha) == {Power.RUNNING}


def test_a_stop_that_was_undone_is_done_again(
    clock: Clock, world: World, alpha: Platform, emmy: User
) -> None:
    refuse_to_stop(world, alpha)
    clock.forward(90)
    look(world)
    decisions.undo_run(acting_user=emmy, run_id=Run.objects.get(kind="stop").pk)
    world.host_of(alpha).faults.clear()
    work(world)
    assert now(alpha).state == "ready"
    assert look(world).stopped == 1
    assert now(alpha).state == "stopped"


def test_looking_at_ten_thousand_platforms_is_cheap(
    clock: Clock, world: World, alpha: Platform, django_assert_max_num_queries: Any
) -> None:
    fields = {
        f.attname: getattr(alpha, f.attname) for f in Platform._meta.concrete_fields if not f.primary_key
    }
    rows = [
        Platform(
            **{
                **fields,
                "uuid": uuid.uuid4(),
                "slug": f"p{number}",
                "subnet_index": None,
                "expires_on": clock.today + timedelta(days=31 + number % 1000),
            }
        )
        for number in range(10_000)
    ]
    Platform.objects.bulk_create(rows, batch_size=1000)
    with django_assert_max_num_queries(6):
        assert expiry.attend() == expiry.Attended()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE platforms_platform")
    for found in (expiry._ending, expiry._over):
        with connection.cursor() as cursor, pytest.MonkeyPatch.context() as patch:
            seen: list[str] = []
            patch.setattr(connection, "queries_limit", 100)
            connection.force_debug_cursor = True
            try:
                found()
                seen = [q["sql"] for q in connection.queries if "expires_on" in q["sql"]]
            finally:
                connection.force_debug_cursor = False
            cursor.execute(f"EXPLAIN {seen[-1]}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert "living_platforms_by_end" in plan, plan
