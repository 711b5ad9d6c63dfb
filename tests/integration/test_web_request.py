"""Asking for a platform in the browser: four steps in which nothing typed is lost, and bad input said at its field."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from placo.platforms.models import LedgerEntry, Project, Request, Run, User
from tests import factories
from tests.fakes import World

NEW = "/platforms/new/"
NAMING = {
    "title": "Ondes & lasers",
    "slug": "waves",
    "days": "90",
    "justification": "For the école d'été.\nIn July.",
}


@pytest.fixture
def browser(optics: Project, emmy: User) -> Client:
    client = Client()
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    return client


def send(client: Client, step: int, **data: Any) -> Any:
    return client.post(NEW, {"step": step, "go": "next", **data})


def to_the_third_step(client: Client) -> None:
    assert send(client, 1, project="optics", services=["web", "svn"])["Location"].endswith("?step=2")
    options = {"options.svn.repository": "waves", "options.web.php": "on"}
    assert send(client, 2, **options)["Location"].endswith("?step=3")


def text(answer: Any) -> str:
    found: str = answer.content.decode()
    return found


def test_four_steps_make_a_request(browser: Client, world: World) -> None:
    to_the_third_step(browser)
    assert send(browser, 3, **NAMING)["Location"].endswith("?step=4")
    review = text(browser.get(f"{NEW}?step=4"))
    for word in (
        "Ondes &amp; lasers",
        "https://waves-svn.",
        "/svn/waves",
        "www",
        "90 days",
        "uses 2 of 8 left",
    ):
        assert word in review, word
    answer = browser.post(NEW, {"step": 4, "go": "send"})
    request = Request.objects.get()
    assert answer["Location"] == f"/requests/{request.pk}/"
    plan = request.platform.plan
    assert (plan.slug, plan.title, plan.days, set(plan.services)) == (
        "waves",
        "Ondes & lasers",
        90,
        {"web", "svn"},
    )
    assert plan.options["svn"]["repository"] == "waves"
    assert plan.options["web"]["php"] is True
    assert "What does your group need?" in text(browser.get(NEW)), "the next request begins afresh"


def test_an_unticked_box_is_a_no(browser: Client, world: World) -> None:
    send(browser, 1, project="optics", services=["web"])
    send(browser, 2)
    send(browser, 3, **NAMING)
    browser.post(NEW, {"step": 4, "go": "send"})
    assert Request.objects.get().platform.plan.options["web"]["php"] is False


def test_going_back_and_forth_loses_nothing(browser: Client) -> None:
    to_the_third_step(browser)
    half = NAMING | {"slug": "Not A Slug", "days": ""}
    assert browser.post(NEW, {"step": 3, "go": "1", **half})["Location"].endswith("?step=1")
    assert text(browser.get(f"{NEW}?step=1")).count(" checked") == 2
    assert send(browser, 1, project="optics", services=["svn"]).status_code == 302
    assert 'value="waves"' in text(browser.get(f"{NEW}?step=2"))
    third = text(browser.get(f"{NEW}?step=3"))
    for typed in ("Ondes &amp; lasers", "Not A Slug", "For the école d&#x27;été."):
        assert typed in third


def test_steps_cannot_be_jumped_over(browser: Client) -> None:
    assert 'name="services"' in text(browser.get(f"{NEW}?step=4"))
    assert 'name="services"' in text(browser.get(f"{NEW}?step=many"))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("slug", "", "Choose a short name"),
        ("slug", "www", "reserved"),
        ("slug", "placo", "reserved"),
        ("slug", "admin", "reserved"),
        ("slug", "Waves", "Lower-case letters"),
        ("slug", "été", "Lower-case letters"),
        ("slug", "-waves", "Lower-case letters"),
        ("slug", "wa_ves", "Lower-case letters"),
        ("slug", "w" * 64, "At most 32 characters"),
        ("slug", "taken", "taken"),
        ("days", "0", "At least one day"),
        ("days", "-3", "At least one day"),
        ("days", "366", "At most 365 days"),
        ("days", "soon", "whole number"),
        ("days", "", "whole number"),
        ("days", "9" * 5000, "days"),
        ("justification", "", "cannot be empty"),
        ("justification", " \n ", "cannot be empty"),
        ("justification", "x" * 4001, "At most 4000"),
        ("justification", "a\x00b", "not text"),
        ("title", "t" * 201, "At most 200"),
    ],
)
def test_bad_input_is_said_at_its_field(
    browser: Client, emmy: User, field: str, value: str, said: str
) -> None:
    factories.submit(emmy, slug="taken", services=["web"])
    to_the_third_step(browser)
    answer = send(browser, 3, **(NAMING | {field: value}))
    assert answer.status_code == 422
    assert list(answer.context["errors"]) == [field]
    assert said in answer.context["errors"][field]
    assert said in text(answer)
    kept = NAMING["title"] if field != "title" else NAMING["slug"]
    assert kept.split()[0] in text(answer)
    assert Request.objects.count() == 1


def test_all_errors_are_said_at_once(browser: Client) -> None:
    to_the_third_step(browser)
    answer = send(browser, 3, title="", slug="WWW", days="0", justification="")
    assert set(answer.context["errors"]) == {"slug", "days", "justification"}
    assert text(answer).count(" autofocus") == 1, "the cursor is put at the first of them"


def test_options_are_checked(browser: Client) -> None:
    send(browser, 1, project="optics", services=["svn"])
    answer = send(browser, 2, **{"options.svn.repository": "Ça va?"})
    assert answer.status_code == 422
    assert "options.svn.repository" in answer.context["errors"]
    assert "Ça va?" in text(answer)


@pytest.mark.parametrize("services", [[], ["nothing"], ["web", "nothing"], ["web\x00"]])
def test_services_are_checked(browser: Client, services: list[str]) -> None:
    answer = send(browser, 1, project="optics", services=services)
    assert answer.status_code == 422
    assert "services" in answer.context["errors"]


def test_over_quota_says_what_and_how_much(browser: Client, optics: Project) -> None:
    Project.objects.filter(pk=optics.pk).update(quota_machines=1, quota_memory_mib=400)
    answer = send(browser, 1, project="optics", services=["web", "svn"])
    assert answer.status_code == 422
    assert "1 machines missing (2 asked, 1 left)" in text(answer)
    assert "368 MiB of memory missing" in text(answer)


def test_the_cost_is_shown_while_cards_are_picked(browser: Client, optics: Project) -> None:
    Project.objects.filter(pk=optics.pk).update(quota_machines=4)
    one = text(browser.get(f"{NEW}cost/", {"project": "optics", "services": ["web"]}))
    assert "uses 1 of 4 left" in one
    assert "<html" not in one
    Project.objects.filter(pk=optics.pk).update(quota_machines=1)
    two = text(browser.get(f"{NEW}cost/", {"project": "optics", "services": ["web", "svn"]}))
    assert "1 missing" in two
    unknown = text(browser.get(f"{NEW}cost/", {"project": "optics", "services": ["nothing"]}))
    assert "Unknown service" in unknown


def test_names_are_checked_while_they_are_typed(browser: Client, emmy: User) -> None:
    factories.submit(emmy, slug="taken", services=["web"])
    assert "is free" in text(browser.get(f"{NEW}name/", {"slug": "waves"}))
    assert "taken" in text(browser.get(f"{NEW}name/", {"slug": "taken"}))
    assert "reserved" in text(browser.get(f"{NEW}name/", {"slug": "www"}))
    assert "&lt;b&gt;" not in text(browser.get(f"{NEW}name/", {"slug": "<b>"}))


def test_somebody_elses_project_is_not_there(browser: Client, sofia: User) -> None:
    assert send(browser, 1, project="topology", services=["web"]).status_code == 404
    assert browser.get(f"{NEW}cost/", {"project": "topology"}).status_code == 404


def test_what_was_taken_meanwhile_is_said_at_the_end(browser: Client, sofia: User) -> None:
    to_the_third_step(browser)
    send(browser, 3, **NAMING)
    factories.submit(sofia, project_slug="topology", slug="waves", services=["web"])
    answer = browser.post(NEW, {"step": 4, "go": "send"})
    assert answer.status_code == 422
    assert "taken" in answer.context["errors"]["slug"]
    assert answer.context["step"] == 3


def test_who_owns_no_project_is_told_how_to_get_one(world: World) -> None:
    client = Client()
    client.force_login(factories.make_user("otto"), backend="placo.web.auth.DirectoryBackend")
    assert "open a project for your group" in text(client.get(NEW))


# --- the decision ----------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(admin: User) -> Client:
    client = Client()
    client.force_login(admin, backend="placo.web.auth.DirectoryBackend")
    return client


def test_the_administrator_reads_plan_quota_host_and_history(
    world: World, desk: Client, optics: Project, emmy: User, admin: User
) -> None:
    factories.ready_platform(world, emmy, admin)
    request = factories.submit(emmy, slug="beta", services=["web"])
    page = text(desk.get(f"/requests/{request.pk}/"))
    plan = request.platform.plan
    for word in (
        plan.machines[0].address,
        plan.host,
        request.plan_hash,
        "Workshop on wave equations",
        "alpha",
    ):
        assert word in page, word
    rows = {row["resource"]: row for row in desk.get(f"/requests/{request.pk}/").context["view"].quota.rows}
    assert (rows["machines"]["before"], rows["machines"]["after"], rows["machines"]["limit"]) == (2, 3, 8)


def test_approving_goes_to_the_live_run(desk: Client, optics: Project, emmy: User) -> None:
    request = factories.submit(emmy)
    answer = desk.post(
        f"/requests/{request.pk}/approve/", {"plan_hash": request.plan_hash, "comment": "Have fun."}
    )
    run = Run.objects.get()
    assert answer["Location"] == f"/runs/{run.pk}/"
    request.refresh_from_db()
    assert (request.state, request.comment) == ("approved", "Have fun.")


def test_approving_twice_or_another_plan_is_a_conflict(desk: Client, optics: Project, emmy: User) -> None:
    request = factories.submit(emmy)
    other = desk.post(f"/requests/{request.pk}/approve/", {"plan_hash": "0" * 64})
    assert other.status_code == 409
    assert "The plan has changed since you looked at it." in text(other)
    assert Run.objects.count() == 0
    desk.post(f"/requests/{request.pk}/approve/", {"plan_hash": request.plan_hash})
    again = desk.post(f"/requests/{request.pk}/approve/", {"plan_hash": request.plan_hash})
    assert again.status_code == 409
    assert "already been decided" in text(again)
    assert Run.objects.count() == 1


def test_a_plan_that_no_longer_fits_is_made_anew(
    world: World, desk: Client, optics: Project, emmy: User
) -> None:
    request = factories.submit(emmy)
    world.images.versions["www"] = 7
    page = text(desk.get(f"/requests/{request.pk}/"))
    assert "The image of www has been replaced." in page
    refused = desk.post(f"/requests/{request.pk}/approve/", {"plan_hash": request.plan_hash})
    assert refused.status_code == 409
    assert desk.post(f"/requests/{request.pk}/replan/").status_code == 302
    request.refresh_from_db()
    assert "no longer fits" not in text(desk.get(f"/requests/{request.pk}/"))
    approved = desk.post(f"/requests/{request.pk}/approve/", {"plan_hash": request.plan_hash})
    assert approved.status_code == 302


def test_rejecting_takes_a_reason_that_the_requester_reads(
    desk: Client, browser: Client, optics: Project, emmy: User
) -> None:
    request = factories.submit(emmy)
    empty = desk.post(f"/requests/{request.pk}/reject/", {"comment": "  "})
    assert empty.status_code == 422
    assert "cannot be empty" in text(empty)
    desk.post(f"/requests/{request.pk}/reject/", {"comment": "Use <alpha> instead."})
    assert "Use &lt;alpha&gt; instead." in text(browser.get("/"))
    assert "Use &lt;alpha&gt; instead." in text(browser.get(f"/requests/{request.pk}/"))
    assert not LedgerEntry.objects.exists()


def test_one_can_take_ones_request_back(browser: Client, emmy: User) -> None:
    request = factories.submit(emmy)
    assert "/withdraw/" in text(browser.get(f"/requests/{request.pk}/"))
    assert browser.post(f"/requests/{request.pk}/withdraw/").status_code == 302
    request.refresh_from_db()
    assert request.state == "withdrawn"


def test_lists_filter_sort_and_search(desk: Client, optics: Project, emmy: User, sofia: User) -> None:
    factories.submit(emmy, slug="beta", services=["web"])
    factories.submit(sofia, project_slug="topology", slug="knots", services=["svn"])

    def slugs(query: str) -> list[str]:
        return [r.platform.slug for r in desk.get(f"/requests/{query}").context["table"].page.object_list]

    assert slugs("") == ["knots", "beta"]
    assert slugs("?sort=platform") == ["beta", "knots"]
    assert slugs("?q=knot") == ["knots"]
    assert slugs("?q=%00") == ["knots", "beta"]
    assert slugs("?state=approved") == []
    assert slugs("?state=nonsense&sort=password&page=x") == ["knots", "beta"]
