"""Changes of living platforms through the API: what is answered, what is refused and at which field."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from placo.platforms.models import LedgerEntry, Platform, Project, Request, User
from placo.services import engine, members
from tests.factories import make_user, ready_platform
from tests.fakes import World
from tests.integration.test_requests import books

CHANGES = "/platforms/alpha/changes"


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    return ready_platform(world, emmy, admin, services=["web"])


def decide(api: Any, world: World, admin: User, number: int) -> Any:
    run_id = api(admin)("POST", f"/requests/{number}/approve")["run_id"]
    assert api(admin)("GET", f"/runs/{run_id}")["kind"] == "change"
    return world.finish(run_id)


def test_larger_sizes_and_a_later_end(
    api: Any, world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    owner = api(emmy)
    later = (timezone.localdate() + timedelta(days=200)).isoformat()
    wish = {
        "sizes": {"www": {"memory_mib": 1024, "data_volume_gib": 20}},
        "expires_on": later,
        "justification": "more",
    }
    www = alpha.plan.machine("www")
    made = owner("POST", CHANGES, wish, status=201)
    resized = {
        "machine": "www",
        "memory_mib": {"before": www.memory_mib, "after": 1024},
        "vcpus": {"before": www.vcpus, "after": www.vcpus},
    }
    grown = {"machine": "www", "data_volume_gib": {"before": www.data_volume_gib, "after": 20}}
    expected = {
        "services_added": [],
        "services_removed": [],
        "added": [],
        "removed": [],
        "resized": [resized],
        "grown": [grown],
        "options": [],
        "told": [],
    }
    assert (made["kind"], made["state"], made["expires_on"]) == ("change", "submitted", later)
    assert made["changes"] == expected
    assert made["plan"]["machines"][0]["memory_mib"] == 1024, "the plan of the request, not of the platform"
    listed = {r["id"]: r for r in owner("GET", "/requests")}
    assert listed[made["id"]]["changes"] == expected

    assert decide(api, world, admin, made["id"]).state == "done"
    platform = owner("GET", "/platforms/alpha")
    assert (platform["state"], platform["expires_on"]) == ("ready", later)
    assert world.host_of(alpha).definition(www.uuid)["memory_mib"] == 1024
    shown = owner("GET", f"/requests/{made['id']}")
    assert (shown["state"], shown["changes"]) == ("approved", expected), "what it changed stays known"
    [first] = [r for r in owner("GET", "/requests") if r["kind"] == "create"]
    assert (first["changes"], first["expires_on"]) == (None, None)
    assert owner("GET", f"/requests/{first['id']}")["plan"]["machines"][0]["memory_mib"] == www.memory_mib


def test_services_come_and_go(api: Any, world: World, alpha: Platform, emmy: User, admin: User) -> None:
    owner = api(emmy)
    wish = {
        "services": ["web", "svn"],
        "options": {"svn": {"repository": "thesis"}},
        "justification": "a repository",
    }
    more = owner("POST", CHANGES, wish, status=201)
    assert (more["changes"]["services_added"], more["changes"]["added"]) == (["svn"], ["svn"])
    assert set(more["services"]) == {"web", "svn"}
    assert owner("GET", "/platforms/alpha")["services"] == ["web"]
    decide(api, world, admin, more["id"])
    assert any(e["url"].endswith("/svn/thesis") for e in owner("GET", "/platforms/alpha")["endpoints"])

    less = {"services": ["web"], "justification": "no longer needed"}
    [error] = owner("POST", CHANGES, less, status=422)["errors"]
    assert error["field"] == "confirm"
    assert "svn" in error["message"]
    made = owner("POST", CHANGES, {**less, "confirm": "alpha"}, status=201)
    assert (made["changes"]["services_removed"], made["changes"]["removed"]) == (["svn"], ["svn"])
    decide(api, world, admin, made["id"])
    assert owner("GET", "/platforms/alpha")["services"] == ["web"]
    kinds = {r["id"]: r["changes"] and r["changes"]["added"] for r in owner("GET", "/requests")}
    assert kinds[more["id"]] == ["svn"], "each request keeps what it changed"
    assert kinds[made["id"]] == []
    assert not [found for found in world.audit("alpha") if "svn" in found.name], "nothing of it is left"


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({}, "services"),
        ({"services": ["forum"]}, "services"),
        ({"services": []}, "services"),
        ({"services": "web"}, "services"),
        ({"services": ["web", "svn"], "options": {"svn": {"repository": "Ça"}}}, "options.svn.repository"),
        ({"options": {"web": {"php": False}}}, "options.web.php"),
        ({"sizes": {"www": {"memory_mib": 1000}}}, "sizes.www.memory_mib"),
        ({"sizes": {"www": {"memory_mib": 64}}}, "sizes.www.memory_mib"),
        ({"sizes": {"www": {"memory_mib": "1024"}}}, "sizes.www.memory_mib"),
        ({"sizes": {"www": {"memory_mib": 2**40}}}, "sizes.www.memory_mib"),
        ({"sizes": {"www": {"vcpus": 0}}}, "sizes.www.vcpus"),
        ({"sizes": {"www": {"vcpus": 65}}}, "sizes.www.vcpus"),
        ({"sizes": {"www": {"vcpus": True}}}, "sizes.www.vcpus"),
        ({"sizes": {"www": {"data_volume_gib": 1}}}, "sizes.www.data_volume_gib"),
        ({"sizes": {"www": {"data_volume_gib": 99999}}}, "sizes.www.data_volume_gib"),
        ({"sizes": {"www": {"colour": 3}}}, "sizes.www.colour"),
        ({"sizes": {"svn": {"vcpus": 2}}}, "sizes.svn"),
        ({"sizes": {"www": 7}}, "sizes.www"),
        ({"sizes": {"www": {"memory_mib": 8192}}}, "services"),
        ({"expires_on": "soon"}, "expires_on"),
        ({"expires_on": "2001-01-01"}, "expires_on"),
        ({"expires_on": "2999-12-31"}, "expires_on"),
        ({"expires_on": "2030-02-31"}, "expires_on"),
        ({"expires_on": "\x00"}, "expires_on"),
        ({"expires_on": 7}, "expires_on"),
        ({"services": ["svn"]}, "confirm"),
        ({"services": ["svn"], "confirm": "alpah"}, "confirm"),
        ({"services": ["web", "svn"], "justification": ""}, "justification"),
        ({"services": ["web", "svn"], "justification": "\ud800"}, "justification"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_the_field_is_named(
    wish: dict[str, Any], field: str, api: Any, alpha: Platform, emmy: User, optics: Project
) -> None:
    Project.objects.filter(pk=optics.pk).update(quota_memory_mib=4096)
    before = books()
    problem = api(emmy)("POST", CHANGES, {"justification": "more", **wish}, status=422)
    assert {error["field"] for error in problem["errors"]} == {field}
    assert all(error["message"] for error in problem["errors"])
    assert books() == before


def test_all_errors_are_told_at_once(api: Any, alpha: Platform, emmy: User) -> None:
    wish = {"services": ["svn"], "expires_on": "soon", "justification": ""}
    problem = api(emmy)("POST", CHANGES, wish, status=422)
    assert {e["field"] for e in problem["errors"]} == {"confirm", "expires_on", "justification"}


def test_it_is_for_those_who_manage_the_platform(
    api: Any, world: World, alpha: Platform, emmy: User, sofia: User, admin: User
) -> None:
    members.add_member(acting_user=emmy, slug="alpha", uid="alan")
    wish = {"sizes": {"www": {"vcpus": 2}}, "justification": "more"}
    before = books()
    api(sofia)("POST", CHANGES, wish, status=404)
    api(make_user("otto"))("POST", CHANGES, wish, status=404)
    api(make_user("alan"))("POST", CHANGES, wish, status=403)
    api(None)("POST", CHANGES, wish, status=401)
    assert books() == before
    made = api(admin)("POST", CHANGES, wish, status=201)
    api(sofia)("GET", f"/requests/{made['id']}", status=404)
    api(make_user("alan"))("GET", f"/requests/{made['id']}", status=404)


def test_one_change_at_a_time_of_a_platform_that_is_ready(
    api: Any, world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    owner, wish = api(emmy), {"sizes": {"www": {"vcpus": 2}}, "justification": "more"}
    first = owner("POST", CHANGES, wish, status=201)
    assert "already" in owner("POST", CHANGES, wish, status=409)["detail"]
    assert owner("POST", f"/requests/{first['id']}/withdraw")["state"] == "withdrawn"
    assert owner("GET", f"/requests/{first['id']}")["changes"]["resized"][0]["vcpus"]["after"] == 2
    assert LedgerEntry.objects.count() == 1
    world.finish(owner("POST", "/platforms/alpha/actions/stop")["run_id"])
    owner("POST", CHANGES, wish, status=409)
    assert Request.objects.count() == 2


def test_a_running_change_can_be_called_off(
    api: Any, world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    made = api(emmy)("POST", CHANGES, {"services": ["web", "svn"], "justification": "more"}, status=201)
    run_id = api(admin)("POST", f"/requests/{made['id']}/approve")["run_id"]
    claim = engine._claim(run_id)
    assert claim is not None
    engine._perform(claim)
    assert api(emmy)("POST", f"/runs/{run_id}/undo")["state"] == "unwinding"
    world.finish(run_id)
    platform = api(emmy)("GET", "/platforms/alpha")
    assert (platform["state"], platform["services"]) == ("ready", ["web"])
    assert api(emmy)("GET", f"/requests/{made['id']}")["changes"]["added"] == ["svn"]


def test_it_is_described(optics: Project) -> None:
    schema = Client().get("/api/v1/openapi.json").json()
    operation = schema["paths"]["/api/v1/platforms/{slug}/changes"]["post"]
    assert operation["summary"]
    assert operation["description"]
    assert {"201", "401", "403", "404", "409", "422"} <= set(operation["responses"])


def test_lists_ask_a_fixed_number_of_queries(
    api: Any, world: World, alpha: Platform, emmy: User, admin: User, django_assert_max_num_queries: Any
) -> None:
    ready_platform(world, emmy, admin, slug="beta", services=["web"])
    for slug in ("alpha", "beta"):
        wish = {"sizes": {"www": {"vcpus": 2}}, "justification": "more"}
        api(emmy)("POST", f"/platforms/{slug}/changes", wish, status=201)
    seen = api(emmy)
    with django_assert_max_num_queries(8):
        assert len(seen("GET", "/requests")) == 4
