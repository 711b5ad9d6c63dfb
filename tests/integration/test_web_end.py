"""The end of a platform on the screens: what owners are told, the one click, the administrators' date, the notices."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import formats

from placo.platforms.models import Notice, Platform, Project, Run, User
from placo.services import expiry, members, notices
from tests import factories
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.ends import end_it, look, work
from tests.integration.test_web_platform import text


@pytest.fixture
def alpha(clock: Clock, world: World, optics: Project, emmy: User, admin: User) -> Platform:
    return factories.ready_platform(world, emmy, admin, title="Wave equations")


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    return client


def test_long_before_its_end_nothing_presses(alpha: Platform, emmy: User) -> None:
    owner = browser(emmy)
    assert "placo-ending-words" not in text(owner.get("/platforms/alpha/"))
    facts = text(owner.get("/platforms/alpha/settings/"))
    assert "with one click, from" in facts
    assert "/platforms/alpha/end/" not in facts
    assert "What needs you" not in text(owner.get("/"))


def test_renewing_with_one_click(clock: Clock, world: World, alpha: Platform, emmy: User) -> None:
    clock.forward(80)
    expiry.attend()
    owner = browser(emmy)
    home = text(owner.get("/"))
    assert "alpha ends in 10 days" in home
    assert home.count("alpha ends") == 1, "the notice is not told twice"
    assert 'placo-count">1<' in home
    page = text(owner.get("/platforms/alpha/"))
    until = formats.date_format(clock.first + timedelta(days=180))
    assert "This platform ends in 10 days" in page
    assert f"Renew until {until}" in page
    data = {"expires_on": str(alpha.expires_on)}
    said = owner.post("/platforms/alpha/renew/", data, follow=True)
    assert f"alpha now ends on {until}." in text(said)
    assert "placo-ending-words" not in text(said)
    assert 'placo-count">' not in text(said), "what is done needs nobody"
    again = owner.post("/platforms/alpha/renew/", data, follow=True)
    assert f"alpha now ends on {until}." in text(again)


def test_over_and_back_again(clock: Clock, world: World, alpha: Platform, emmy: User) -> None:
    end_it(world, clock, alpha)
    owner = browser(emmy)
    page = text(owner.get("/platforms/alpha/"))
    assert "it is stopped" in page
    assert "/power/start/" not in page
    assert "ended" in page
    assert owner.post("/platforms/alpha/power/start/").status_code == 409
    home = text(owner.get("/"))
    assert "alpha ended on" in home
    assert "data kept until" in home
    activity = text(owner.get("/platforms/alpha/activity/"))
    assert "its end date has come" in activity
    assert "ended <time" in activity
    said = owner.post("/platforms/alpha/renew/", {}, follow=True)
    assert "Starting alpha" in text(said)
    work(world)
    assert "ready" in text(owner.get("/platforms/alpha/"))


def test_members_are_told_and_cannot_renew(clock: Clock, world: World, alpha: Platform, emmy: User) -> None:
    members.add_member(acting_user=emmy, slug="alpha", uid="alan")
    world.finish(Run.objects.latest("id").pk)
    clock.forward(80)
    page = text(browser(factories.make_user("alan")).get("/platforms/alpha/"))
    assert "This platform ends in 10 days" in page
    assert "tell its owners" in page
    assert "/renew/" not in page


def test_a_site_where_administrators_renew(
    clock: Clock, alpha: Platform, emmy: User, admin: User, configured: Any
) -> None:
    clock.forward(80)
    assert "alpha ends" not in text(browser(admin).get("/")), "owners see to it"
    configured(expiry={"renewable_without_approval": False})
    page = text(browser(emmy).get("/platforms/alpha/"))
    assert "ask an administrator" in page
    assert "/renew/" not in page
    assert browser(emmy).post("/platforms/alpha/renew/").status_code == 409
    assert "alpha ends in 10 days" in text(browser(admin).get("/"))
    assert "/platforms/alpha/renew/" in text(browser(admin).get("/platforms/alpha/"))
    assert "ask an administrator" in text(browser(emmy).get("/help/"))


def test_administrators_set_the_date(clock: Clock, alpha: Platform, admin: User) -> None:
    desk = browser(admin)
    assert f'value="{alpha.expires_on}"' in text(desk.get("/platforms/alpha/settings/"))
    wrong = desk.post("/platforms/alpha/end/", {"expires_on": "2001-01-01"})
    assert wrong.status_code == 422
    assert 'value="2001-01-01"' in text(wrong)
    assert "A date from today on" in wrong.context["errors"]["expires_on"]
    right = desk.post("/platforms/alpha/end/", {"expires_on": "2099-01-31"}, follow=True)
    assert "alpha now ends on Jan. 31, 2099." in text(right)
    assert "set another end date" in text(desk.get("/platforms/alpha/activity/"))


def test_notices_are_listed_and_read(clock: Clock, world: World, alpha: Platform, emmy: User) -> None:
    owner = browser(emmy)
    assert "What you should know about your platforms will be here" in text(owner.get("/notices/"))
    end_it(world, clock, alpha)
    clock.forward(30)
    look(world)
    page = text(owner.get("/notices/"))
    assert "alpha has been stopped" in page
    assert "alpha has been retired" in page
    assert "alpha has been retired" in text(owner.get("/")), "what is gone is told at home until it is read"
    assert "alpha has been stopped" not in text(owner.get("/notices/?kind=retired"))
    assert "No notice fits." in text(owner.get("/notices/?q=nothing-like-it"))
    last = Notice.objects.latest("id")
    assert owner.post(f"/notices/{last.pk}/read/")["Location"] == "/notices/"
    assert notices.unread(emmy).count() == 0
    assert "alpha has been retired" not in text(owner.get("/"))


def test_all_are_read_at_once(clock: Clock, world: World, alpha: Platform, emmy: User, sofia: User) -> None:
    clock.forward(80)
    expiry.attend()
    browser(sofia).post("/notices/read/")
    assert notices.unread(emmy).count() == 1
    browser(emmy).post("/notices/read/")
    assert notices.unread(emmy).count() == 0


def test_it_is_told_in_french(clock: Clock, world: World, alpha: Platform, emmy: User) -> None:
    clock.forward(80)
    expiry.attend()
    owner = browser(emmy)
    owner.post("/i18n/setlang/", {"language": "fr", "next": "/"})
    for path, words in {
        "/": "alpha prend fin dans 10 jours",
        "/platforms/alpha/": "Renouveler jusqu’au",
        "/platforms/alpha/settings/": "Jusqu’à quand",
        "/notices/": "Ses données sont gardées jusqu’au",
        "/help/": "Quand une plateforme prend fin",
    }.items():
        assert words in text(owner.get(path)), path
