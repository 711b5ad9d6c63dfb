"""Platforms that get more time: by whom, how often, at the same moment, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from placo.platforms.models import AuditEvent, Platform, Project, Reminder, Run, User
from placo.services import expiry, members, renewal
from placo.services.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests import factories
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.ends import end_it, look, now, told, work
from tests.integration.test_workers import at_once


@pytest.fixture
def alpha(clock: Clock, ready: Callable[..., Platform]) -> Platform:
    """A platform that was asked for 90 days, on the first of them."""
    return ready()


def test_a_second_click_does_nothing(clock: Clock, world: World, alpha: Platform, emmy: User) -> None:
    clock.forward(80)
    seen = alpha.expires_on
    first = renewal.renew_platform(acting_user=emmy, slug="alpha", seen=seen)
    assert first.expires_on == clock.first + timedelta(days=180)
    again = renewal.renew_platform(acting_user=emmy, slug="alpha", seen=str(seen))
    assert again.expires_on == first.expires_on
    assert AuditEvent.objects.filter(verb="platform.renew").count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_the_same_moment(
    clock: Clock, world: World, optics: Project, emmy: User, admin: User
) -> None:
    platform = factories.ready_platform(world, emmy, admin, days=20)
    clock.forward(15)

    def click() -> None:
        renewal.renew_platform(acting_user=emmy, slug="alpha", seen=platform.expires_on)

    at_once(click, click, click)
    assert now(platform).expires_on == clock.first + timedelta(days=40)
    assert AuditEvent.objects.filter(verb="platform.renew").count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_looks_at_the_same_moment(
    clock: Clock, world: World, optics: Project, emmy: User, admin: User
) -> None:
    platform = factories.ready_platform(world, emmy, admin)
    clock.forward(60)
    at_once(expiry.attend, expiry.attend, expiry.attend)
    assert len(told()) == 1
    clock.forward(30)
    at_once(expiry.attend, expiry.attend, expiry.attend)
    assert Run.objects.filter(platform=platform, kind="stop").count() == 1


def test_asked_again_without_a_date_before_the_next_reminder(
    clock: Clock, world: World, optics: Project, emmy: User, admin: User
) -> None:
    platform = factories.ready_platform(world, emmy, admin, days=10)
    first = renewal.renew_platform(acting_user=emmy, slug="alpha").expires_on
    assert first == clock.first + timedelta(days=20), "so short a term can be renewed from its beginning"
    for _day in range(12):
        assert renewal.renew_platform(acting_user=emmy, slug="alpha").expires_on == first
        clock.forward(1)
    assert AuditEvent.objects.filter(verb="platform.renew").count() == 1
    clock.forward(1)
    second = renewal.renew_platform(acting_user=emmy, slug="alpha").expires_on
    assert second == first + timedelta(days=10), "seven days before the end there is a reminder"
    assert renewal.renew_platform(acting_user=emmy, slug="alpha").expires_on == second
    seen = renewal.renew_platform(acting_user=emmy, slug="alpha", seen=second)
    assert seen.expires_on == second + timedelta(days=10), "who says what they saw has a wish of their own"
    renewal.set_end(acting_user=admin, slug="alpha", expires_on=clock.today + timedelta(days=12))
    after = renewal.renew_platform(acting_user=emmy, slug="alpha").expires_on
    assert after == clock.today + timedelta(days=22), "what an administrator has set was no renewal"
    clock.go_to(after)
    assert renewal.renew_platform(acting_user=emmy, slug="alpha").expires_on == after + timedelta(days=10)
    assert now(platform).renewed


def test_who_may_renew(
    clock: Clock, world: World, alpha: Platform, emmy: User, sofia: User, admin: User
) -> None:
    members.add_member(acting_user=emmy, slug="alpha", uid="alan")
    alan = factories.make_user("alan")
    clock.forward(80)
    with pytest.raises(NotFound):
        renewal.renew_platform(acting_user=sofia, slug="alpha")
    with pytest.raises(Forbidden):
        renewal.renew_platform(acting_user=alan, slug="alpha")
    for user in (sofia, alan, emmy):
        with pytest.raises((NotFound, Forbidden)):
            renewal.set_end(acting_user=user, slug="alpha", expires_on="2099-01-01")
    assert now(alpha).expires_on == alpha.expires_on
    renewal.renew_platform(acting_user=admin, slug="alpha")
    assert now(alpha).expires_on != alpha.expires_on


def test_when_it_may_be_renewed(
    clock: Clock, world: World, alpha: Platform, emmy: User, optics: Project
) -> None:
    clock.forward(59)
    with pytest.raises(Conflict, match="too early"):
        renewal.renew_platform(acting_user=emmy, slug="alpha")
    clock.forward(1)
    Project.objects.filter(pk=optics.pk).update(max_days=30)
    with pytest.raises(Conflict, match="no more time"):
        renewal.renew_platform(acting_user=emmy, slug="alpha")
    Project.objects.filter(pk=optics.pk).update(max_days=100)
    renewal.renew_platform(acting_user=emmy, slug="alpha")
    assert now(alpha).expires_on == clock.today + timedelta(days=100), "at most the project's days from today"
    end_it(world, clock, alpha)
    clock.forward(30)
    expiry.attend()
    assert now(alpha).state == "retiring"
    with pytest.raises(Conflict, match="no end date"):
        renewal.renew_platform(acting_user=emmy, slug="alpha")


def test_a_site_where_administrators_decide(
    clock: Clock, world: World, alpha: Platform, emmy: User, admin: User, configured: Any
) -> None:
    configured(expiry={"renewable_without_approval": False})
    clock.forward(80)
    with pytest.raises(Conflict, match="administrator decides"):
        renewal.renew_platform(acting_user=emmy, slug="alpha")
    assert now(alpha).expires_on == alpha.expires_on
    renewal.renew_platform(acting_user=admin, slug="alpha")
    assert now(alpha).expires_on != alpha.expires_on


def test_a_site_with_other_days(clock: Clock, world: World, alpha: Platform, configured: Any) -> None:
    configured(expiry={"reminders": (14,), "grace_days": 3})
    for _day in range(90):
        look(world)
        clock.forward(1)
    assert list(Reminder.objects.values_list("days", flat=True)) == [14]
    look(world)
    look(world)
    configured(expiry={"grace_days": 1})
    clock.forward(2)
    assert look(world).retired == 0, "what was promised holds"
    clock.forward(1)
    assert look(world).retired == 1


def test_administrators_set_any_date(
    clock: Clock, world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    far = clock.today + timedelta(days=5000)
    assert renewal.set_end(acting_user=admin, slug="alpha", expires_on=str(far)).expires_on == far
    for wrong in (
        "",
        "tomorrow",
        "2027-02-30",
        "20270101",
        str(clock.today - timedelta(days=1)),
        "9999-12-31",
        7,
    ):
        with pytest.raises(InvalidInput):
            renewal.set_end(acting_user=admin, slug="alpha", expires_on=wrong)
    renewal.set_end(acting_user=admin, slug="alpha", expires_on=str(clock.today))
    look(world)
    look(world)
    assert now(alpha).state == "stopped"
    tomorrow = clock.today + timedelta(days=1)
    renewal.set_end(acting_user=admin, slug="alpha", expires_on=tomorrow)
    work(world)
    assert now(alpha).state == "ready"
    event = AuditEvent.objects.filter(verb="platform.end").latest("id")
    assert event.detail == {"before": str(clock.today), "now": str(tomorrow)}
