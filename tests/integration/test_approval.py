"""The plan is what is approved: when reality has changed, the differences are shown and a new plan can be approved instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from placo import wiring
from placo.domain.catalogue import Catalogue, Text
from placo.platforms.models import AuditEvent, Host, Platform, Project, ProjectOwner, Request, Run, User
from placo.services import changes, planning, platforms, quota, requests
from placo.services.errors import Conflict, PlanOutdated
from tests.command import Command
from tests.factories import make_user, ready_platform, submit
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.test_cli_flow import placo
from tests.integration.test_requests import books

__all__ = ["placo"]


@pytest.fixture
def catalogue_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`catalogue_with(www={...})`: from now on the catalogue gives a machine other values."""

    def change(**machines: dict[str, Any]) -> None:
        now: Catalogue = wiring.catalogue()
        others = {name: replace(now.machines[name], **values) for name, values in machines.items()}
        changed = replace(now, machines={**now.machines, **others})
        monkeypatch.setattr(wiring, "catalogue", lambda: changed)

    return change


def refused(admin: User, request: Request, plan_hash: str | None = None) -> PlanOutdated:
    """The refusal of an approval, once it is sure that nothing has changed."""
    before = books()
    with pytest.raises(PlanOutdated) as caught:
        requests.approve_request(acting_user=admin, request_id=request.pk, plan_hash=plan_hash)
    assert books() == before
    return caught.value


def told(error: PlanOutdated) -> dict[str, tuple[Any, Any]]:
    return {item.name: (item.old, item.new) for item in error.differences}


def ask(emmy: User, **wish: Any) -> Request:
    return changes.submit_change(acting_user=emmy, slug="alpha", justification="more", **wish)


def now(request: Request) -> Request:
    return Request.objects.select_related("platform").get(pk=request.pk)


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    return client


def text(answer: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


# --- new platforms ---------------------------------------------------------------------------------------------------


def test_the_new_plan_is_approved_by_its_hash(world: World, optics: Project, emmy: User, admin: User) -> None:
    request = submit(emmy)
    old = request.platform.plan
    world.images.versions["www"] = 7
    error = refused(admin, request, request.plan_hash)
    assert "image of www has been replaced" in str(error.message)
    assert told(error) == {"machines.www.image": (f"placo-www-{0:012x}", f"placo-www-{7:012x}")}
    assert error.plan_hash not in (None, request.plan_hash)

    run = requests.approve_request(acting_user=admin, request_id=request.pk, plan_hash=error.plan_hash)
    after = now(request)
    assert (after.state, after.plan_hash, after.plan.hash) == ("approved", error.plan_hash, error.plan_hash)
    assert world.finish(run.pk).state == "done"
    assert quota.used(optics) == old.cost
    [event] = AuditEvent.objects.filter(verb="request.replan")
    assert [d["item"] for d in event.detail["differences"]] == ["machines.www.image"]
    assert [(f.hash, f.plan) for f in after.former] == [(request.plan_hash, old)]


@pytest.mark.parametrize(
    ("happens", "expected"),
    [
        (lambda p, h: Host.objects.filter(pk=h.pk).update(enabled=False), {"host": ("h1", "h2")}),
        (
            lambda p, h: ProjectOwner.objects.create(project=p, uid="alan"),
            {"owners": (("emmy",), ("alan", "emmy"))},
        ),
        (lambda p, h: Project.objects.filter(pk=p.pk).update(max_days=30), {"days": (90, 30)}),
    ],
    ids=["host", "owners", "days"],
)
def test_a_new_plan_differs_only_where_it_has_to(
    happens: Any, expected: dict[str, Any], world: World, optics: Project, emmy: User, admin: User
) -> None:
    other = submit(emmy, slug="beta", services=["web"])
    request = submit(emmy, services=["web"])
    requests.withdraw_request(acting_user=emmy, request_id=other.pk)
    Platform.objects.filter(slug="alpha").update(host=Host.objects.get(name="h1"))
    plan = replace(request.plan, host="h1")
    Platform.objects.filter(slug="alpha").update(plan_data=plan.as_json())
    Request.objects.filter(pk=request.pk).update(plan_hash=plan.hash)
    happens(optics, Host.objects.get(name="h1"))
    error = refused(admin, request)
    assert told(error) == expected, "a free subnet before its own is no reason for another one"
    run = requests.approve_request(acting_user=admin, request_id=request.pk, plan_hash=error.plan_hash)
    assert world.finish(run.pk).state == "done"
    made = Platform.objects.get(slug="alpha", state="ready")
    assert made.host.name == made.plan.host
    assert (made.expires_on - made.term_from).days == made.plan.days == now(request).days
    assert made.subnet_index == 1


def test_what_the_catalogue_gives_now(
    catalogue_with: Callable[..., None], world: World, optics: Project, emmy: User, admin: User
) -> None:
    request = submit(emmy)
    www = wiring.catalogue().machines["www"]
    catalogue_with(www={"memory_mib": www.memory_mib + 64, "vcpus": www.vcpus + 1})
    error = refused(admin, request, request.plan_hash)
    assert told(error) == {
        "machines.www.memory_mib": (www.memory_mib, www.memory_mib + 64),
        "machines.www.vcpus": (www.vcpus, www.vcpus + 1),
    }
    requests.approve_request(acting_user=admin, request_id=request.pk, plan_hash=error.plan_hash)
    assert quota.used(optics) == now(request).plan.cost, "the ledger has what was approved"


def test_another_place_in_the_network_is_a_difference_that_no_sentence_names(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = submit(emmy)
    site = wiring.site()
    moved = replace(site, network=replace(site.network, dns_domain="elsewhere.internal"))
    monkeypatch.setattr(wiring, "site", lambda: moved)
    error = refused(admin, request)
    assert "catalogue or the site" in str(error.message)
    assert told(error) == {
        "network.dns_domain": (f"alpha.{site.network.dns_domain}", "alpha.elsewhere.internal")
    }


def test_words_of_the_catalogue_are_no_reason(
    catalogue_with: Callable[..., None], world: World, optics: Project, emmy: User, admin: User
) -> None:
    request = submit(emmy)
    catalogue_with(www={"title": Text("Another title", "Un autre titre")})
    assert planning.offer(now(request)) is None
    requests.approve_request(acting_user=admin, request_id=request.pk, plan_hash=request.plan_hash)


def test_a_host_that_does_not_answer_is_no_reason_but_is_left_with_the_next_plan(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    request = submit(emmy)
    Host.objects.filter(pk=request.platform.host_id).update(reachable=False)
    assert planning.offer(now(request)) is None
    world.images.versions["www"] = 7
    assert set(told(refused(admin, request))) == {"host", "machines.www.image"}


def test_where_no_plan_fits_none_is_offered(world: World, optics: Project, emmy: User, admin: User) -> None:
    request = submit(emmy)
    for unbuilt, versions, why in (({"www"}, {}, "not been built"), ({"www"}, {"www": 7}, "replaced")):
        world.images.unbuilt, world.images.versions = unbuilt, versions
        error = refused(admin, request)
        assert why in str(error.message)
        assert (told(error), error.plan_hash) == ({}, None)
        assert "No other plan fits" in str(error.remedy)
    world.images.unbuilt, world.images.versions = set(), {}
    Project.objects.filter(pk=optics.pk).update(quota_machines=1)
    assert refused(admin, request).plan_hash is None
    assert str(refused(admin, request).message).count("machines missing") == 1


def test_a_plan_that_was_seen_and_is_no_longer_the_one(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    request = submit(emmy)
    first = request.plan_hash
    world.images.versions["www"] = 7
    offered = refused(admin, request).plan_hash
    world.images.versions["www"] = 8
    error = refused(admin, request, offered)
    assert "changed since you looked" in str(error.message)
    assert told(error)["machines.www.image"][1] == f"placo-www-{8:012x}"
    requests.replan_request(acting_user=admin, request_id=request.pk)
    error = refused(admin, request, first)
    assert error.plan_hash == now(request).plan_hash
    assert told(error) == {"machines.www.image": (f"placo-www-{0:012x}", f"placo-www-{8:012x}")}
    world.images.versions["svn"] = 3
    error = refused(admin, request, first)
    assert set(told(error)) == {"machines.www.image", "machines.svn.image"}, (
        "from what was read to what is offered"
    )
    assert refused(admin, request, "").plan_hash == error.plan_hash
    requests.approve_request(acting_user=admin, request_id=request.pk, plan_hash=error.plan_hash)


# --- changes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def alpha(clock: Clock, world: World, optics: Project, emmy: User, admin: User) -> Platform:
    return ready_platform(world, emmy, admin, services=["web"])


def test_the_new_plan_of_a_change(
    catalogue_with: Callable[..., None], world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    request = ask(emmy, services=["web", "svn"], sizes={"www": {"memory_mib": 1024}})
    svn = wiring.catalogue().machines["svn"]
    world.images.versions["svn"] = 7
    catalogue_with(svn={"data_volume_gib": svn.data_volume_gib + 1}, www={"memory_mib": 2048})
    error = refused(admin, request)
    assert (told(error), error.plan_hash) == ({}, None), "www may not be made so small any more"
    catalogue_with(www={"memory_mib": 256})
    error = refused(admin, request, request.plan_hash)
    assert told(error) == {
        "machines.svn.image": (f"placo-svn-{0:012x}", f"placo-svn-{7:012x}"),
        "machines.svn.data_volume_gib": (svn.data_volume_gib, svn.data_volume_gib + 1),
    }
    run = requests.approve_request(acting_user=admin, request_id=request.pk, plan_hash=error.plan_hash)
    assert world.finish(run.pk).state == "done"
    made = Platform.objects.get(pk=alpha.pk).plan
    assert (made.machine("www").memory_mib, made.machine("svn").data_volume_gib) == (
        1024,
        svn.data_volume_gib + 1,
    )
    assert quota.used(alpha.project) == made.cost


def test_the_end_date_is_part_of_what_is_approved(
    clock: Clock, world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    end = clock.today + timedelta(days=300)
    request = ask(emmy, expires_on=str(end))
    assert request.plan_hash != request.plan.hash
    Project.objects.filter(pk=alpha.project_id).update(max_days=100)
    error = refused(admin, request, request.plan_hash)
    last = clock.today + timedelta(days=100)
    assert told(error) == {"expires_on": (end, last)}
    run = requests.approve_request(acting_user=admin, request_id=request.pk, plan_hash=error.plan_hash)
    assert world.finish(run.pk).state == "done"
    assert Platform.objects.get(pk=alpha.pk).expires_on == last
    assert now(request).former[0].expires_on == end


def test_an_end_date_that_has_passed_is_not_given(
    clock: Clock, world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    soon = clock.today + timedelta(days=3)
    only_end = ask(emmy, expires_on=str(soon))
    clock.forward(3)
    error = refused(admin, only_end)
    assert "has passed" in str(error.message)
    assert error.plan_hash is None
    requests.withdraw_request(acting_user=emmy, request_id=only_end.pk)
    soon = clock.today + timedelta(days=3)
    request = ask(emmy, expires_on=str(soon), sizes={"www": {"vcpus": 2}})
    clock.forward(3)
    error = refused(admin, request)
    assert told(error) == {"expires_on": (soon, alpha.expires_on)}
    run = requests.approve_request(acting_user=admin, request_id=request.pk, plan_hash=error.plan_hash)
    assert world.finish(run.pk).state == "done"
    assert Platform.objects.get(pk=alpha.pk).expires_on == alpha.expires_on


def test_a_new_plan_removes_nothing_that_its_owner_has_not_confirmed(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_platform(world, emmy, admin)
    request = ask(emmy, sizes={"www": {"vcpus": 2}})
    now_, svn = wiring.catalogue(), wiring.catalogue().services["svn"]
    without = replace(now_, services={**now_.services, "svn": replace(svn, machines=("www",), endpoints=())})
    monkeypatch.setattr(wiring, "catalogue", lambda: without)
    error = refused(admin, request)
    assert "which nobody has confirmed" in str(error.message)
    assert error.plan_hash is None


def test_a_platform_that_is_not_ready(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    request = ask(emmy, sizes={"www": {"vcpus": 2}})
    world.finish(platforms.power_platform(acting_user=emmy, slug="alpha", action="stop").pk)
    assert "is stopped" in str(refused(admin, request).message)
    with pytest.raises(Conflict):
        requests.replan_request(acting_user=admin, request_id=request.pk)


# --- the portal ------------------------------------------------------------------------------------------------------


def test_the_desk_shows_both_plans_and_approves_the_new_one(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    request, desk = submit(emmy), browser(admin)
    path = f"/requests/{request.pk}/"
    assert 'id="plans"' not in desk.get(path).content.decode()
    world.images.versions["www"] = 7
    page = desk.get(path)
    body, words = page.content.decode(), text(page)
    assert "The old plan and the new one" in words
    assert "The image of www has been replaced." in words
    assert f"Image of www placo-www-{0:012x} placo-www-{7:012x}" in words
    assert body.count('<tr class="placo-changed">') == 1
    same = body[body.index('<details class="placo-details placo-same">') :]
    assert "Memory of www" in same
    assert "Image of svn" in same
    assert "Image of www" not in text_of(same[: same.index("</details>")])
    offered = page.context["view"].plan_hash
    assert f'name="plan_hash" value="{offered}"' in body
    assert "Approve the new plan" in words
    assert "disabled" not in body[body.index('id="comment"') : body.index('id="reason"')]

    stale = desk.post(f"{path}approve/", {"plan_hash": request.plan_hash})
    assert stale.status_code == 409
    assert text(stale).count("image of www has been replaced") == 1, "said once"
    assert f'name="plan_hash" value="{offered}"' in stale.content.decode()
    approved = desk.post(f"{path}approve/", {"plan_hash": offered, "comment": "Fine."})
    assert approved["Location"] == f"/runs/{Run.objects.get().pk}/"
    assert (now(request).plan_hash, now(request).comment) == (offered, "Fine.")


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_owner_sees_both_plans_before_and_after(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    request, owner = submit(emmy), browser(emmy)
    path = f"/requests/{request.pk}/"
    world.images.versions["www"] = 7
    page = owner.get(path)
    assert f"Image of www placo-www-{0:012x} placo-www-{7:012x}" in text(page)
    for address in ("approve", "replan"):
        assert f"{path}{address}/" not in page.content.decode()
        assert owner.post(f"{path}{address}/").status_code == 403
    assert browser(admin).post(f"{path}replan/").status_code == 302
    for _state in ("submitted", "approved"):
        words = text(owner.get(path))
        assert "The first plan and the present one" in words
        assert f"Image of www placo-www-{0:012x} placo-www-{7:012x}" in words
        requests.approve_request(acting_user=admin, request_id=request.pk) if _state == "submitted" else None


def test_no_other_plan_in_the_portal(world: World, optics: Project, emmy: User, admin: User) -> None:
    request = submit(emmy)
    world.images.unbuilt = {"www"}
    page = browser(admin).get(f"/requests/{request.pk}/")
    body = page.content.decode()
    assert "No other plan fits at the moment either" in text(page)
    assert 'id="plans"' not in body
    assert "disabled" in body[body.index('id="comment"') : body.index('id="reason"')]


def test_a_change_in_the_portal_shows_what_the_new_plan_would_take(
    catalogue_with: Callable[..., None], world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    request = ask(emmy, services=["web", "svn"])
    before = wiring.catalogue().machines["svn"].data_volume_gib
    catalogue_with(svn={"data_volume_gib": before + 5})
    page = browser(admin).get(f"/requests/{request.pk}/")
    assert f"Data volume of svn {before} GiB {before + 5} GiB" in text(page)
    assert f"{before + 5} GiB of data" in text(page), "what changes is what the new plan changes"
    rows = {row["resource"]: row for row in page.context["view"].quota.rows}
    system = request.plan.machine("svn").system_disk_gib
    assert rows["disk_gib"]["wanted"] == system + before + 5


def test_options_are_told_in_words(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    first = Request.objects.get(kind="create")
    desk = browser(admin)
    php = next(o.title.en for o in wiring.catalogue().services["web"].options if o.name == "php")
    assert f"{php} (Web site) yes" in text(desk.get(f"/requests/{first.pk}/"))
    repository = wiring.catalogue().services["svn"].options[0].title
    request = ask(emmy, services=["web", "svn"], options={"svn": {"repository": "thesis"}})
    path = f"/requests/{request.pk}/"
    assert f"{repository.en} (Subversion repositories) – thesis" in text(desk.get(path))
    french = desk.get(path, headers={"Accept-Language": "fr"})
    assert f"{repository.fr} (Dépôts Subversion) – thesis" in text(french)
    assert "thesis" not in text(desk.get("/requests/?kind=change")), "lists are brief"
    ready_platform(world, emmy, admin, slug="gamma", services=["svn"])
    request = changes.submit_change(
        acting_user=emmy,
        slug="gamma",
        justification="pages",
        services=["svn", "web"],
        options={"web": {"php": False}},
    )
    assert f"{php} (Web site) – no" in text(desk.get(f"/requests/{request.pk}/"))


def test_in_french(world: World, optics: Project, emmy: User, admin: User) -> None:
    request = submit(emmy)
    world.images.versions["www"] = 7
    ProjectOwner.objects.create(project=optics, uid="alan")
    page = text(browser(admin).get(f"/requests/{request.pk}/", headers={"Accept-Language": "fr"}))
    for words in (
        "L’ancien plan et le nouveau",
        "Image de www",
        "Responsables emmy alan, emmy",
        "Approuver le nouveau plan",
    ):
        assert words in page
    for words in ("Old plan", "New plan", "Memory of", "Approving", "stay as"):
        assert words not in page


# --- the API and the command -----------------------------------------------------------------------------------------


def test_the_api_refuses_with_the_differences(
    api: Any, world: World, optics: Project, emmy: User, sofia: User, admin: User
) -> None:
    request = submit(emmy)
    path = f"/requests/{request.pk}"
    assert api(emmy)("GET", path)["offer"] is None
    world.images.versions["www"] = 7
    problem = api(admin)("POST", f"{path}/approve", {"plan_hash": request.plan_hash}, status=409)
    image = {"item": "machines.www.image", "old": f"placo-www-{0:012x}", "new": f"placo-www-{7:012x}"}
    assert (problem["type"], problem["differences"]) == ("/problems/PlanOutdated", [image])
    for user in (emmy, admin):
        seen = api(user)("GET", path)
        assert seen["offer"] == {"plan_hash": problem["plan_hash"], "differences": [image]}
        assert seen["revised"] == []
    assert api(admin)("POST", f"{path}/approve", status=409)["plan_hash"] == problem["plan_hash"]
    api(emmy)("POST", f"{path}/approve", {"plan_hash": problem["plan_hash"]}, status=403)
    api(sofia)("POST", f"{path}/approve", {"plan_hash": problem["plan_hash"]}, status=404)
    run = api(admin)("POST", f"{path}/approve", {"plan_hash": problem["plan_hash"]})["run_id"]
    assert world.finish(run).state == "done"
    seen = api(emmy)("GET", path)
    assert (seen["state"], seen["offer"], seen["revised"]) == ("approved", None, [image])
    assert seen["plan"]["hash"] == problem["plan_hash"]
    schema = Client().get("/api/v1/openapi.json").json()["components"]["schemas"]
    assert {"differences", "plan_hash"} <= set(schema["Problem"]["properties"])


def test_the_api_where_nothing_is_offered(
    api: Any, world: World, optics: Project, emmy: User, admin: User
) -> None:
    request = submit(emmy)
    world.images.unbuilt = {"www"}
    problem = api(admin)("POST", f"/requests/{request.pk}/approve", status=409)
    assert (problem["differences"], problem["plan_hash"]) == ([], None)
    assert api(emmy)("GET", f"/requests/{request.pk}")["offer"] is None


def test_the_command_shows_the_differences_and_the_command_that_approves(
    placo: Callable[[User], Command], world: World, optics: Project, emmy: User, admin: User
) -> None:
    request = submit(emmy)
    number = str(request.pk)
    world.images.versions["www"] = 7
    desk = placo(admin)
    answer = desk("approve", number, "--plan", request.plan_hash)
    assert answer.status == 1
    assert f"machines.www.image placo-www-{0:012x} placo-www-{7:012x}" in " ".join(answer.out.split())
    [plan] = re.findall(rf"placo approve {number} --plan ([0-9a-f]{{64}})", answer.err.replace("\n", " "))
    document = desk("approve", number, "--json").json
    assert (document["plan_hash"], document["differences"][0]["item"]) == (plan, "machines.www.image")
    shown = desk("requests", number).out
    assert f"placo approve {number} --plan {plan}" in " ".join(shown.split())
    world.images.unbuilt = {"www"}
    nothing = desk("approve", number)
    assert "To approve the new one" not in nothing.err
    world.images.unbuilt = set()
    assert desk("approve", number, "--plan", plan, "--follow").status == 0
    assert "The first plan and the present one" in placo(emmy)("requests", number).out


def test_members_and_strangers_are_shown_no_plans(
    world: World, optics: Project, emmy: User, sofia: User, admin: User
) -> None:
    request = submit(emmy)
    world.images.versions["www"] = 7
    for user in (sofia, make_user("otto")):
        assert browser(user).get(f"/requests/{request.pk}/").status_code == 404
