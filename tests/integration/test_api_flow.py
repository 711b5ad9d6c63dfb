"""The main job through the API, in the shapes of the contract."""

from __future__ import annotations

from typing import Any

from django.test import Client

from placo.platforms.models import Platform, Project, User
from placo.services.hosts import refresh_hosts
from tests.factories import ready_platform, submit
from tests.fakes import World
from tests.integration.test_api_errors import WISH


def test_from_the_catalogue_to_ready(
    api: Any, world: World, optics: Project, emmy: User, admin: User
) -> None:
    owner, administrator = api(emmy), api(admin)
    services = {s["id"]: s for s in owner("GET", "/catalogue/services")}
    assert services["web"]["machines"] == ["www"]
    assert services["web"]["cost"]["memory_mib"] > 0
    assert {o["name"] for o in services["svn"]["options"]} == {"repository"}
    assert services["svn"]["endpoints"][0]["protocol"] == "https"

    made = owner("POST", "/requests", {**WISH, "options": {"svn": {"repository": "thesis"}}}, status=201)
    assert (made["state"], made["slug"], made["project"]) == ("submitted", "alpha", "optics")
    assert len(made["plan"]["hash"]) == 64
    assert [m["name"] for m in made["plan"]["machines"]] == ["svn", "www"]
    assert owner("GET", "/platforms/alpha")["machines"][0]["state"] == "planned"
    assert [r["id"] for r in administrator("GET", "/requests?state=submitted")] == [made["id"]]

    run_id = administrator(
        "POST",
        f"/requests/{made['id']}/approve",
        {"plan_hash": made["plan"]["hash"], "comment": "Welcome"},
        status=200,
    )["run_id"]
    assert owner("GET", f"/runs/{run_id}")["state"] == "running"
    assert owner("GET", "/platforms/alpha")["state"] == "creating"
    world.finish(run_id)

    run = owner("GET", f"/runs/{run_id}")
    assert (run["state"], run["kind"], run["platform"], run["started_by"]) == (
        "done",
        "create",
        "alpha",
        "ada",
    )
    for step in run["steps"]:
        assert (step["state"], step["attempts"], step["error"]) == ("done", 1, "")
        assert step["started_at"] <= step["finished_at"]

    platform = owner("GET", "/platforms/alpha")
    assert (platform["state"], platform["run_id"], platform["standby_host"]) == ("ready", run_id, None)
    assert platform["expires_on"] is not None
    assert {(m["name"], m["state"], m["host"]) for m in platform["machines"]} == {
        ("www", "answering", platform["host"]),
        ("svn", "answering", platform["host"]),
    }
    assert all(m["address"].startswith("10.77.16.") for m in platform["machines"])
    urls = [(e["service"], e["protocol"], e["url"]) for e in platform["endpoints"]]
    assert any(url[:2] == ("svn", "https") and url[2].endswith("/svn/thesis") for url in urls)
    assert {"://alpha-web." in url for service, _protocol, url in urls if service == "web"} == {True}


def test_members_come_and_go(api: Any, world: World, optics: Project, emmy: User, admin: User) -> None:
    ready_platform(world, emmy, admin)
    owner = api(emmy)
    run_id = owner("GET", "/platforms/alpha")["run_id"]
    member = owner("PUT", "/platforms/alpha/members/alan", status=202)
    assert (member["uid"], member["name"], member["owner"], member["state"]) == (
        "alan",
        "Alan Turing",
        False,
        "adding",
    )
    world.finish(member["run_id"])
    assert owner("GET", f"/runs/{member['run_id']}")["state"] == "done"
    assert owner("PUT", "/platforms/alpha/members/alan", status=200)["state"] == "active"
    assert {m["uid"]: m["state"] for m in owner("GET", "/platforms/alpha/members")} == {
        "emmy": "active",
        "alan": "active",
    }
    assert owner("GET", "/platforms/alpha")["run_id"] == run_id  # a membership is no part of the life cycle
    removal = owner("DELETE", "/platforms/alpha/members/alan", status=202)
    assert removal["state"] == "removing"
    world.finish(removal["run_id"])
    owner("DELETE", "/platforms/alpha/members/alan", status=404)


def test_stop_start_restart_and_retirement(
    api: Any, world: World, optics: Project, emmy: User, admin: User
) -> None:
    ready_platform(world, emmy, admin)
    owner = api(emmy)
    for action, during, after in (
        ("suspend", "suspending", "suspended"),
        ("resume", "resuming", "ready"),
        ("stop", "stopping", "stopped"),
        ("start", "starting", "ready"),
        ("restart", "restarting", "ready"),
    ):
        begun = owner("POST", f"/platforms/alpha/actions/{action}", status=202)
        assert owner("GET", "/platforms/alpha")["state"] == during
        assert owner("GET", "/platforms/alpha")["run_id"] == begun["run_id"]
        world.finish(begun["run_id"])
        assert owner("GET", "/platforms/alpha")["state"] == after

    retirement = owner("DELETE", "/platforms/alpha", status=202)
    world.finish(retirement["run_id"])
    gone = owner("GET", "/platforms/alpha")
    assert (gone["state"], gone["run_id"]) == ("retired", retirement["run_id"])
    assert {m["state"] for m in gone["machines"]} == {"gone"}
    assert owner("GET", "/platforms") == []
    assert [p["slug"] for p in owner("GET", "/platforms?state=retired")] == ["alpha"]
    assert world.audit("alpha") == []


def test_a_stuck_run_is_decided_through_the_api(
    api: Any, world: World, optics: Project, emmy: User, admin: User
) -> None:
    from placo.domain import saga
    from placo.drivers.ports import DriverError

    patience = saga.policy("edge").attempts
    world.edge.faults.fail_next("ensure_site", DriverError("out"), 2 * patience)
    number = submit(emmy).pk
    run_id = api(admin)("POST", f"/requests/{number}/approve")["run_id"]
    world.finish(run_id)
    run = api(emmy)("GET", f"/runs/{run_id}")
    assert run["state"] == "stuck"
    assert [(s["name"], s["error"]) for s in run["steps"] if s["state"] == "failed"] == [("edge", "out")]
    assert api(emmy)("POST", f"/runs/{run_id}/retry")["state"] == "running"
    world.finish(run_id)
    api(emmy)("POST", f"/runs/{run_id}/skip", status=403)
    assert api(emmy)("POST", f"/runs/{run_id}/undo")["state"] == "unwinding"
    world.finish(run_id)
    assert api(emmy)("GET", f"/runs/{run_id}")["state"] == "undone"
    assert api(emmy)("GET", "/platforms/alpha")["state"] == "failed"


def test_reject_and_withdraw(api: Any, world: World, optics: Project, emmy: User, admin: User) -> None:
    first = api(emmy)("POST", "/requests", WISH)["id"]
    rejected = api(admin)("POST", f"/requests/{first}/reject", {"comment": "Not now."})
    assert (rejected["state"], rejected["comment"], rejected["decided_by"]) == ("rejected", "Not now.", "ada")
    second = api(emmy)("POST", "/requests", WISH)["id"]
    assert api(emmy)("POST", f"/requests/{second}/withdraw")["state"] == "withdrawn"
    assert [r["id"] for r in api(emmy)("GET", "/requests")] == [second, first]
    assert [r["id"] for r in api(emmy)("GET", "/requests?state=rejected")] == [first]


def test_projects_show_quota_and_use(
    api: Any, world: World, optics: Project, emmy: User, admin: User
) -> None:
    submit(emmy, services=["web"])
    [project] = api(emmy)("GET", "/projects")
    assert project["slug"] == "optics"
    assert project["quota"]["machines"] == 8
    assert project["used"]["machines"] == 1
    assert api(emmy)("GET", "/projects/optics") == project
    assert [p["slug"] for p in api(admin)("GET", "/projects")] == ["optics", "topology"]


def test_hosts_for_administrators(api: Any, world: World, optics: Project, emmy: User, admin: User) -> None:
    refresh_hosts()
    ready_platform(world, emmy, admin)
    hosts = {h["name"]: h for h in api(admin)("GET", "/hosts")}
    assert hosts["h1"]["reachable"]
    assert hosts["h1"]["version"] == "fake 1.0.0"
    assert hosts["h1"]["platforms"] + hosts["h2"]["platforms"] == 1


def test_lists_come_in_pages(
    api: Any,
    world: World,
    optics: Project,
    emmy: User,
    sofia: User,
    admin: User,
    django_assert_max_num_queries: Any,
) -> None:
    for slug in ("a", "b", "c"):
        submit(emmy, slug=slug, services=["web"])
    submit(sofia, slug="d", services=["web"], project_slug="topology")
    seen = api(admin)
    assert [p["slug"] for p in seen("GET", "/platforms?limit=2&offset=1")] == ["b", "c"]
    assert [p["slug"] for p in seen("GET", "/platforms?project=topology")] == ["d"]
    assert [r["slug"] for r in seen("GET", "/requests?project=optics&limit=2")] == ["c", "b"]
    assert seen("GET", "/platforms?project=nothing") == []
    with django_assert_max_num_queries(12):
        answer = Client().get("/api/v1/platforms?limit=2", headers=seen.headers)
    assert answer["X-Total-Count"] == "4"


def test_texts_in_french(api: Any, optics: Project, emmy: User) -> None:
    headers = {**api(emmy).headers, "Accept-Language": "fr"}
    [web] = [
        s for s in Client().get("/api/v1/catalogue/services", headers=headers).json() if s["id"] == "web"
    ]
    assert web["title"] == "Site web"


def test_the_contract_is_described(optics: Project) -> None:
    schema = Client().get("/api/v1/openapi.json").json()
    paths = schema["paths"]
    for path, method in (
        ("/tokens", "post"),
        ("/tokens/current", "delete"),
        ("/catalogue/services", "get"),
        ("/projects", "get"),
        ("/requests", "post"),
        ("/requests", "get"),
        ("/requests/{request_id}", "get"),
        ("/requests/{request_id}/approve", "post"),
        ("/requests/{request_id}/reject", "post"),
        ("/platforms", "get"),
        ("/platforms/{slug}", "get"),
        ("/platforms/{slug}", "delete"),
        ("/platforms/{slug}/members/{uid}", "put"),
        ("/platforms/{slug}/members/{uid}", "delete"),
        ("/platforms/{slug}/actions/{action}", "post"),
        ("/platforms/{slug}/renew", "post"),
        ("/platforms/{slug}/end", "put"),
        ("/notices", "get"),
        ("/notices/{notice_id}/read", "post"),
        ("/runs/{run_id}", "get"),
        ("/runs/{run_id}/retry", "post"),
        ("/runs/{run_id}/skip", "post"),
        ("/runs/{run_id}/undo", "post"),
        ("/hosts", "get"),
        ("/hosts/{name}/warm", "post"),
    ):
        operation = paths[f"/api/v1{path}"][method]
        assert operation["summary"]
        assert operation["description"]
        assert "401" in operation["responses"]
    assert schema["components"]["schemas"]["Problem"]["example"]
    assert not Platform.objects.exists()
