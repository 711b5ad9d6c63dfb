"""Changing a living platform in the browser: what is asked, what is shown before and after, and errors at their fields."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from placo.drivers.ports import DriverError
from placo.platforms.models import LedgerEntry, Platform, Project, Request, Run, User
from placo.services import changes, engine, members, platforms, requests
from tests import factories
from tests.fakes import World

CHANGE = "/platforms/alpha/change/"
PREVIEW = f"{CHANGE}preview/"


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    return client


@pytest.fixture
def browser(optics: Project, emmy: User) -> Client:
    return browser_of(emmy)


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    return factories.ready_platform(world, emmy, admin)


def text(answer: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def sent(platform: Platform, **differences: Any) -> dict[str, Any]:
    """What the browser sends when these fields were touched."""
    data: dict[str, Any] = {
        "services": list(platform.plan.services),
        "expires_on": platform.expires_on.isoformat() if platform.expires_on else "",
        "justification": "The site has grown.",
    }
    for m in platform.plan.machines:
        for name in changes.SIZES:
            data[f"sizes.{m.name}.{name}"] = str(getattr(m, name))
    return {**data, **differences}


def ask(emmy: User, **wish: Any) -> Request:
    return changes.submit_change(acting_user=emmy, slug="alpha", justification="more", **wish)


def test_the_form_shows_the_platform_as_it_is(browser: Client, alpha: Platform) -> None:
    assert f'href="{CHANGE}"' in browser.get("/platforms/alpha/").content.decode()
    page = browser.get(CHANGE)
    body = page.content.decode()
    assert set(re.findall(r'name="services" value="([a-z]+)" checked', body)) == {"web", "svn"}
    for m in alpha.plan.machines:
        for name in changes.SIZES:
            assert f'name="sizes.{m.name}.{name}" value="{getattr(m, name)}"' in body
    assert f'value="{alpha.expires_on:%Y-%m-%d}"' in body
    assert "Without it the machine svn goes" in text(page)
    assert "Nothing yet: it would stay as it is." in text(page)
    assert 'name="confirm"' not in body


def test_from_the_wish_to_the_new_size(
    browser: Client, world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    www = alpha.plan.machine("www")
    later = timezone.localdate() + timedelta(days=200)
    data = sent(
        alpha,
        **{
            "sizes.www.memory_mib": "1024",
            "sizes.www.data_volume_gib": "20",
            "expires_on": later.isoformat(),
        },
    )
    answer = browser.post(CHANGE, data)
    request = Request.objects.get(kind="change")
    assert answer["Location"] == f"/requests/{request.pk}/"

    waiting = text(browser.get(CHANGE))
    assert "has asked for a change of this platform" in waiting
    assert "Memory in MiB" not in waiting
    on_platform = browser.get("/platforms/alpha/").content.decode()
    assert f'href="/requests/{request.pk}/"' in on_platform
    assert f'action="/requests/{request.pk}/withdraw/"' in on_platform
    assert "a change" in text(browser.get("/"))

    desk = browser_of(admin)
    assert "asks for a change of" in text(desk.get("/"))
    listed = text(desk.get("/requests/?kind=change"))
    assert f"Memory of www: {www.memory_mib} MiB → 1 GiB" in listed
    assert text(desk.get("/requests/?kind=create")).count("Memory of www") == 0
    seen = desk.get(f"/requests/{request.pk}/")
    for words in (
        f"Memory of www {www.memory_mib} MiB 1 GiB The machine is restarted for it.",
        f"Data volume of www {www.data_volume_gib} GiB 20 GiB It grows while the machine runs.",
        "Quota of the project",
        f"+ {1024 - www.memory_mib} MiB",
    ):
        assert words in text(seen), words
    approved = desk.post(f"/requests/{request.pk}/approve/", {"plan_hash": request.plan_hash})
    run = Run.objects.get(kind="change")
    assert approved["Location"] == f"/runs/{run.pk}/"
    going = text(desk.get(approved["Location"]))
    assert "Changing alpha" in going
    assert "being changed" in text(browser.get("/platforms/alpha/"))
    assert world.finish(run.pk).state == "done"
    assert "alpha has been changed" in text(desk.get(approved["Location"]))
    machine = text(browser.get("/platforms/alpha/machines/www/"))
    assert "1 GiB" in machine
    assert "20 GiB" in machine
    after = text(browser.get(f"/requests/{request.pk}/"))
    assert f"Memory of www {www.memory_mib} MiB 1 GiB" in after, "what it changed stays readable"
    history = text(browser.get("/platforms/alpha/activity/"))
    assert "alpha has been changed" in history
    assert "asked for a change of the platform" in history
    assert "started the change" in history


def test_a_service_goes_with_its_machine(
    browser: Client, world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    data = sent(alpha, services=["web"])
    shown = browser.get(PREVIEW, data)
    assert "The machine svn is removed with all its data" in text(shown)
    assert 'name="confirm"' in shown.content.decode()
    assert "<html" not in shown.content.decode()
    refused = browser.post(CHANGE, data)
    assert refused.status_code == 422
    assert list(refused.context["errors"]) == ["confirm"]
    assert 'id="confirm-error"' in refused.content.decode()
    assert browser.post(CHANGE, data | {"confirm": "alpha"}).status_code == 302
    request = Request.objects.get(kind="change")
    page = text(browser_of(admin).get(f"/requests/{request.pk}/"))
    assert "The data of svn is destroyed with the machine." in page
    assert "− 1" in page, "what is given back"
    run = requests.approve_request(acting_user=admin, request_id=request.pk)
    assert world.finish(run.pk).state == "done"
    lanes = browser.get(f"/runs/{run.pk}/").context["view"].lanes
    assert {lane.name for lane in lanes} == {"", "svn"}, "what is gone still has its name"
    assert Platform.objects.get().plan.services == ("web",)


def test_a_service_comes_with_its_options(
    browser: Client, world: World, optics: Project, emmy: User, admin: User
) -> None:
    alpha = factories.ready_platform(world, emmy, admin, services=["web"])
    data = sent(alpha, services=["web", "svn"], **{"options.svn.repository": "thesis"})
    shown = text(browser.get(PREVIEW, data))
    assert "/svn/thesis" in shown
    assert "Machine svn" in shown
    wrong = browser.post(CHANGE, data | {"options.svn.repository": "Ça va?"})
    assert list(wrong.context["errors"]) == ["options.svn.repository"]
    assert "Ça va?" in wrong.content.decode()
    assert browser.post(CHANGE, data).status_code == 302
    assert Request.objects.get(kind="change").plan.options["svn"]["repository"] == "thesis"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("services", [], "Pick at least one service"),
        ("services", ["web", "svn", "forum"], "Unknown service"),
        ("sizes.www.memory_mib", "1000", "A multiple of 64"),
        ("sizes.www.memory_mib", "64", "From "),
        ("sizes.www.memory_mib", "", "whole number"),
        ("sizes.www.memory_mib", "much", "whole number"),
        ("sizes.www.memory_mib", "9" * 5000, "whole number"),
        ("sizes.svn.vcpus", "0", "whole number"),
        ("sizes.svn.vcpus", "99", "From 1 to 64"),
        ("sizes.www.data_volume_gib", "1", "can only grow"),
        ("sizes.www.data_volume_gib", "-1", "whole number"),
        ("expires_on", "soon", "A date such as"),
        ("expires_on", "2001-01-01", "From tomorrow to"),
        ("expires_on", "2999-01-01", "From tomorrow to"),
        ("justification", " ", "cannot be empty"),
        ("justification", "x" * 4001, "At most 4000"),
        ("justification", "a\x00b", "not text"),
    ],
)
def test_bad_input_is_said_at_its_field(
    browser: Client, alpha: Platform, field: str, value: Any, said: str
) -> None:
    data = sent(alpha, **{"sizes.www.vcpus": "2", field: value})
    answer = browser.post(CHANGE, data)
    assert answer.status_code == 422
    assert list(answer.context["errors"]) == [field]
    assert said in answer.context["errors"][field]
    assert f'id="{field}-error"' in answer.content.decode()
    assert 'value="2"' in answer.content.decode(), "what was typed stays"
    assert not Request.objects.filter(kind="change").exists()


def test_all_errors_are_said_at_once(browser: Client, alpha: Platform) -> None:
    data = sent(alpha, services=["web"], expires_on="soon", justification="")
    answer = browser.post(CHANGE, data)
    assert set(answer.context["errors"]) == {"confirm", "expires_on", "justification"}
    for field in answer.context["errors"]:
        assert f'id="{field}-error"' in answer.content.decode()


def test_nothing_to_change_is_said(browser: Client, alpha: Platform) -> None:
    answer = browser.post(CHANGE, sent(alpha))
    assert answer.context["errors"] == {"services": "Nothing would change."}


def test_over_quota_is_shown_before_and_said_after(browser: Client, alpha: Platform) -> None:
    Project.objects.update(quota_memory_mib=1000)
    data = sent(alpha, **{"sizes.www.memory_mib": "1024"})
    assert "missing" in text(browser.get(PREVIEW, data))
    answer = browser.post(CHANGE, data)
    assert "MiB of memory missing" in answer.context["errors"]["services"]
    assert LedgerEntry.objects.count() == 1


def test_the_preview_names_what_is_wrong(browser: Client, alpha: Platform) -> None:
    shown = text(browser.get(PREVIEW, sent(alpha, **{"sizes.www.memory_mib": "1000"})))
    assert "Memory of www A multiple of 64." in shown
    assert "Nothing yet" in text(browser.get(PREVIEW, sent(alpha)))


def test_sizes_of_what_is_not_ticked_are_no_errors(browser: Client, alpha: Platform) -> None:
    wrong = {"sizes.svn.memory_mib": "much", "sizes.svn.vcpus": ""}
    without = sent(alpha, services=["web"], **wrong)
    assert "whole number" not in text(browser.get(PREVIEW, without))
    answer = browser.post(CHANGE, without)
    assert set(answer.context["errors"]) == {"confirm"}
    assert browser.post(CHANGE, {**without, "confirm": "alpha"}).status_code == 302
    Request.objects.filter(kind="change").delete()

    nothing = sent(alpha, services=[], **wrong, **{"sizes.www.vcpus": "many"})
    assert set(browser.post(CHANGE, nothing).context["errors"]) == {"services"}
    shown = text(browser.get(PREVIEW, nothing))
    assert "Pick at least one service." in shown
    assert "whole number" not in shown
    assert "It does not come back" not in shown
    unknown = sent(alpha, services=["wiki?", "web"], **wrong)
    assert set(browser.post(CHANGE, unknown).context["errors"]) == {"services"}
    assert set(browser.post(CHANGE, sent(alpha, **wrong)).context["errors"]) == set(wrong)


def test_only_a_platform_that_is_ready_is_changed(
    browser: Client, world: World, alpha: Platform, emmy: User
) -> None:
    world.finish(platforms.power_platform(acting_user=emmy, slug="alpha", action="stop").pk)
    page = browser.get(CHANGE)
    assert "only one that is ready can be changed" in text(page)
    assert 'name="services"' not in page.content.decode()
    assert browser.post(CHANGE, sent(alpha, **{"sizes.www.vcpus": "2"})).status_code == 409
    assert f'href="{CHANGE}"' not in browser.get("/platforms/alpha/").content.decode()


def test_a_second_wish_is_a_conflict_and_the_first_can_be_withdrawn(
    browser: Client, alpha: Platform, emmy: User
) -> None:
    first = ask(emmy, sizes={"www": {"vcpus": 2}})
    answer = browser.post(CHANGE, sent(alpha, **{"sizes.svn.vcpus": "2"}))
    assert answer.status_code == 409
    assert "has been asked for already" in text(answer)
    assert browser.post(f"/requests/{first.pk}/withdraw/").status_code == 302
    assert browser.post(CHANGE, sent(alpha, **{"sizes.svn.vcpus": "2"})).status_code == 302


def test_strangers_and_plain_members_get_nothing(
    world: World, alpha: Platform, emmy: User, sofia: User
) -> None:
    members.add_member(acting_user=emmy, slug="alpha", uid="alan")
    world.finish(Run.objects.latest("id").pk)
    request = ask(emmy, sizes={"www": {"vcpus": 2}})
    for user, status in (
        (sofia, 404),
        (factories.make_user("otto"), 404),
        (factories.make_user("alan"), 403),
    ):
        client = browser_of(user)
        assert client.get(CHANGE).status_code == status
        assert client.get(PREVIEW, sent(alpha)).status_code == status
        assert client.post(CHANGE, sent(alpha, **{"sizes.www.vcpus": "3"})).status_code == status
        assert client.get(f"/requests/{request.pk}/").status_code == 404
    page = browser_of(factories.make_user("alan")).get("/platforms/alpha/").content.decode()
    assert "/change/" not in page
    assert "asked for a change" not in page
    assert Request.objects.filter(kind="change").count() == 1


def test_a_plan_that_no_longer_fits_is_made_anew(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    request = ask(emmy, services=["web"], confirm="alpha")
    run = platforms.power_platform(acting_user=emmy, slug="alpha", action="stop")
    world.finish(run.pk)
    desk = browser_of(admin)
    assert "The platform is stopped." in text(desk.get(f"/requests/{request.pk}/"))
    assert desk.post(f"/requests/{request.pk}/replan/").status_code == 409
    world.finish(platforms.power_platform(acting_user=emmy, slug="alpha", action="start").pk)
    assert desk.post(f"/requests/{request.pk}/replan/").status_code == 302


# --- the run ---------------------------------------------------------------------------------------------------------


def test_a_change_under_way_can_be_called_off(
    browser: Client, world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    request = ask(emmy, sizes={"www": {"vcpus": 2}})
    run = requests.approve_request(acting_user=admin, request_id=request.pk)
    page = browser.get(f"/runs/{run.pk}/")
    assert "Call off" in text(page)
    assert "goes back to how it was" in text(page)
    assert f'action="/runs/{run.pk}/undo/"' in page.content.decode()
    claim = engine._claim(run.pk)
    assert claim is not None
    assert "Stopping www" in text(browser.get(f"/runs/{run.pk}/"))
    engine._perform(claim)
    assert browser.post(f"/runs/{run.pk}/undo/").status_code == 302
    world.finish(run.pk)
    page = browser.get(f"/runs/{run.pk}/")
    assert "alpha is as it was: the change has been undone" in text(page)
    assert "The platform is as it was, and what the change had reserved is free again." in text(page)
    assert "Nothing of it is left" not in text(page)
    assert "Call off" not in text(page)
    assert "alpha was not changed" in text(browser.get("/"))


def test_a_creation_under_way_can_be_called_off(
    browser: Client, world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = factories.approve(emmy, admin)
    assert "All that was made so far is removed again" in text(browser.get(f"/runs/{run.pk}/"))
    browser.post(f"/runs/{run.pk}/undo/")
    world.finish(run.pk)
    assert "Nothing of it is left, and its quota is free again." in text(browser.get(f"/runs/{run.pk}/"))


def test_a_stuck_restart_goes_back_to_how_it_was(
    browser: Client, world: World, alpha: Platform, emmy: User
) -> None:
    world.host_of(alpha).faults.fail_next("start_domain", DriverError("out"), 40)
    run = world.finish(platforms.power_platform(acting_user=emmy, slug="alpha", action="restart").pk)
    assert run.state == "stuck"
    assert "Back to how it was" in text(browser.get(f"/runs/{run.pk}/"))
    browser.post(f"/runs/{run.pk}/undo/")
    world.host_of(alpha).faults.clear()
    assert world.finish(run.pk).state == "undone"
    page = text(browser.get(f"/runs/{run.pk}/"))
    assert "alpha is back to how it was" in page
    assert "Everything is as it was before." in page
