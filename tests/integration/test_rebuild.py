"""Machines get new system disks: what stays, what is refused, and that a new system that does not answer is left for the old one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from placo import wiring
from placo.drivers.ports import DriverError, Power
from placo.platforms.models import AuditEvent, JournalEntry, LedgerEntry, Platform, Project, Run, Step, User
from placo.services import audit, changes, decisions, engine, platforms, rebuilds
from placo.services.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.factories import ready_platform
from tests.fakes import World


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    """A platform of www and svn, whose image of www was built anew since."""
    platform = ready_platform(world, emmy, admin)
    world.images.versions["www"] = 1
    return platform


def rebuild(emmy: User, *machines: str) -> Run:
    return rebuilds.rebuild_platform(acting_user=emmy, slug="alpha", machines=machines or None)


def volumes(world: World, platform: Platform) -> set[str]:
    return {v for v in world.host_of(platform).inventory().volumes if v.startswith("placo-alpha-")}


def test_the_data_stay_and_the_system_is_new(world: World, alpha: Platform, emmy: User) -> None:
    host, old = world.host_of(alpha), alpha.plan
    before = volumes(world, alpha)
    data, books = host.content(old.machine("www").data_volume), list(LedgerEntry.objects.values())

    run = world.finish(rebuild(emmy).pk)

    assert run.state == "done"
    alpha.refresh_from_db()
    new = alpha.plan.machine("www")
    assert (alpha.state, new.image) == ("ready", "placo-www-000000000001")
    assert host.backing(new.system_volume) == "placo-www-000000000001.qcow2"
    assert host.content(new.data_volume) == data
    assert volumes(world, alpha) == before - {old.machine("www").system_volume} | {new.system_volume}
    assert replace(new, image=old.machine("www").image, system_volume=old.machine("www").system_volume) == (
        old.machine("www")
    )
    assert alpha.plan.machine("svn") == old.machine("svn")
    assert host.definition(new.uuid)["system_volume"] == new.system_volume
    assert host.definition(new.uuid)["seed_volume"] is None
    assert host.power(new.uuid) is Power.RUNNING
    assert list(LedgerEntry.objects.values()) == books
    assert audit.orphans() == []
    assert AuditEvent.objects.filter(verb="run.rebuild", subject="alpha").exists()
    assert alpha.requests.get().plan.machine("www").image == "placo-www-000000000000"  # as it was asked for

    world.images.versions["www"] = 2
    assert world.finish(rebuild(emmy, "www").pk).state == "done"
    alpha.refresh_from_db()
    assert alpha.plan.machine("www").system_volume == old.machine("www").system_volume
    assert volumes(world, alpha) == before


def test_a_new_system_that_does_not_answer_is_left_for_the_old_one(
    world: World, alpha: Platform, emmy: User
) -> None:
    host, plan, before = world.host_of(alpha), alpha.plan, volumes(world, alpha)
    name = next(e.host for e in plan.endpoints if e.machine == "www")
    world.prober.answers[name] = 502
    run = rebuild(emmy, "www")
    for _round in range(40):
        engine.advance(run.pk)
        world.let_time_pass(run.pk)
    assert run.steps.get(name="health:www").state == "waiting"
    assert before < volumes(world, alpha)  # the old disk is there for as long as nothing is proved
    assert audit.orphans() == []

    world.make_older(run.pk, 500)
    engine.advance(run.pk)
    run.refresh_from_db()
    assert run.state == "unwinding"
    del world.prober.answers[name]
    run = world.finish(run.pk)

    assert run.state == "undone"
    assert "gave up waiting" in JournalEntry.objects.get(run=run, event="unwinding").message
    alpha.refresh_from_db()
    assert (alpha.state, alpha.plan) == ("ready", plan)
    assert volumes(world, alpha) == before
    assert host.definition(plan.machine("www").uuid)["system_volume"] == plan.machine("www").system_volume
    assert host.power(plan.machine("www").uuid) is Power.RUNNING
    assert run.steps.get(name="answered:www").message  # the old system was asked
    assert rebuilds.outdated(plan.machine("www"))


def test_a_run_that_is_stuck_can_be_undone(world: World, alpha: Platform, emmy: User) -> None:
    before = volumes(world, alpha)
    world.host_of(alpha).faults.fail_next("ensure_overlay", DriverError("full"), times=6)
    run = world.finish(rebuild(emmy).pk)
    assert run.state == "stuck"
    decisions.undo_run(acting_user=emmy, run_id=run.pk)
    assert world.finish(run.pk).state == "undone"
    assert volumes(world, alpha) == before


def test_a_host_that_is_away_is_waited_for(world: World, alpha: Platform, emmy: User) -> None:
    run, faults = rebuild(emmy), world.host_of(alpha).faults
    faults.unreachable = True
    assert world.finish(run.pk).state == "running"
    assert Step.objects.filter(run=run, waits_for=alpha.host.name).exists()
    faults.unreachable = False
    world.let_time_pass(run.pk)
    assert world.finish(run.pk).state == "done"


def test_what_is_refused(
    world: World, alpha: Platform, emmy: User, sofia: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound):
        rebuild(sofia)
    for machines, words in ((("svn",), "newest image already"), (("nothing",), "no machine nothing")):
        with pytest.raises(InvalidInput) as refused:
            rebuild(emmy, *machines)
        assert words in str(refused.value.errors["machines"])
    catalogue = wiring.catalogue()
    owned = {**catalogue.machines, "www": replace(catalogue.machines["www"], owned=True)}
    with monkeypatch.context() as patch:
        patch.setattr(wiring, "catalogue", lambda: replace(catalogue, machines=owned))
        assert not rebuilds.outdated(alpha.plan.machine("www"))
        with pytest.raises(InvalidInput):
            rebuild(emmy, "www")
        with pytest.raises(Conflict, match="nothing to rebuild"):
            rebuild(emmy)
    world.images.unbuilt.add("www")
    with pytest.raises(Conflict, match="not been built"):
        rebuild(emmy)
    world.images.unbuilt.clear()
    asked = {"services": ["web"], "confirm": "alpha", "justification": "less"}
    changes.submit_change(acting_user=emmy, slug="alpha", **asked)
    with pytest.raises(Conflict, match="asked for already"):
        rebuild(emmy)
    assert not Run.objects.filter(kind="rebuild").exists()


def test_the_api(world: World, alpha: Platform, emmy: User, sofia: User, api: Any) -> None:
    shown = {m["name"]: m for m in api(emmy)("GET", "/platforms/alpha")["machines"]}
    assert (shown["www"]["outdated"], shown["svn"]["outdated"]) == (True, False)
    assert shown["www"]["image"] == "placo-www-000000000000"
    api(sofia)("POST", "/platforms/alpha/rebuild", status=404)
    api(emmy)("POST", "/platforms/alpha/rebuild", {"machines": ["svn"]}, status=422)
    run_id = api(emmy)("POST", "/platforms/alpha/rebuild", {"machines": ["www"]}, status=202)["run_id"]
    api(emmy)("POST", "/platforms/alpha/rebuild", status=409)
    assert api(emmy)("GET", "/platforms/alpha")["state"] == "rebuilding"
    assert world.finish(run_id).state == "done"
    assert not any(m["outdated"] for m in api(emmy)("GET", "/platforms/alpha")["machines"])
    api(emmy)("POST", "/platforms/alpha/rebuild", status=409)


def test_the_memory_of_a_machine_has_one_name(alpha: Platform, world: World, emmy: User) -> None:
    old = alpha.plan.machine("www").memory_volume
    world.finish(rebuild(emmy).pk)
    alpha.refresh_from_db()
    assert alpha.plan.machine("www").memory_volume == old


def test_the_page_offers_it_and_wants_a_confirmation(
    world: World, alpha: Platform, emmy: User, sofia: User, client: Client
) -> None:
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    page = client.get("/platforms/alpha/").content.decode()
    assert 'name="machines" value="www"' in page
    assert 'name="machines" value="svn"' not in page
    client.post("/platforms/alpha/rebuild/", {"machines": ["www"]})
    none = client.post("/platforms/alpha/rebuild/", {"confirm": "yes"})
    assert (none.status_code, "Choose at least one machine." in none.content.decode()) == (422, True)
    assert not Run.objects.filter(kind="rebuild").exists()
    client.force_login(sofia, backend="placo.web.auth.DirectoryBackend")
    assert (
        client.post("/platforms/alpha/rebuild/", {"machines": ["www"], "confirm": "yes"}).status_code == 404
    )
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    answer = client.post("/platforms/alpha/rebuild/", {"machines": ["www"], "confirm": "yes"})
    run = Run.objects.get(kind="rebuild")
    assert answer["Location"].endswith(f"/runs/{run.pk}/")
    world.finish(run.pk)
    assert "Rebuild these machines" not in client.get("/platforms/alpha/").content.decode()


@pytest.fixture
def others(world: World, optics: Project, emmy: User, admin: User) -> list[Platform]:
    """Two more: `beta` is stopped, `gamma` was made from the newest images."""
    world.images.versions["www"] = 0
    beta = ready_platform(world, emmy, admin, slug="beta", services=("web",))
    world.finish(platforms.power_platform(acting_user=emmy, slug="beta", action="stop").pk)
    world.images.versions["www"] = 1
    return [beta, ready_platform(world, emmy, admin, slug="gamma", services=("web",))]


def test_administrators_see_all_of_them_and_rebuild_them_at_once(
    world: World, alpha: Platform, others: list[Platform], emmy: User, admin: User
) -> None:
    listed = rebuilds.outdated_platforms(acting_user=admin)
    assert {platform.slug for platform in listed} == {"alpha", "beta"}
    with pytest.raises(Forbidden):
        rebuilds.outdated_platforms(acting_user=emmy)
    with pytest.raises(Forbidden):
        rebuilds.rebuild_all(acting_user=emmy)

    wave = rebuilds.rebuild_all(acting_user=admin)
    assert (set(wave.begun), set(wave.refused)) == ({"alpha"}, {"beta"})
    assert world.finish(wave.begun["alpha"].pk).state == "done"
    assert {platform.slug for platform in rebuilds.outdated_platforms(acting_user=admin)} == {"beta"}


def test_their_page(
    world: World, alpha: Platform, others: list[Platform], admin: User, client: Client
) -> None:
    client.force_login(admin, backend="placo.web.auth.DirectoryBackend")
    page = client.get("/operations/images/").content.decode()
    assert "/platforms/alpha/" in page and "/platforms/beta/" in page
    assert "/platforms/gamma/" not in page
    assert "Rebuild all 2 platforms" in page
    client.post("/operations/images/rebuild/")
    assert not Run.objects.filter(kind="rebuild").exists()
    answer = client.post("/operations/images/rebuild/", {"confirm": "yes"}).content.decode()
    assert "The rebuild of 1 platform has begun." in answer
    assert "beta</a>: " in answer
    world.finish(Run.objects.get(kind="rebuild").pk)
    assert "Rebuild 1 platform" in client.get("/operations/images/").content.decode()
    assert "alpha" not in client.get("/operations/images/?q=alp").content.decode().partition("<table")[2]


def test_the_api_of_all(world: World, alpha: Platform, emmy: User, admin: User, api: Any) -> None:
    api(emmy)("GET", "/outdated", status=403)
    api(emmy)("POST", "/outdated/rebuild", status=403)
    (row,) = api(admin)("GET", "/outdated")
    assert (row["platform"], row["state"], row["machines"]) == ("alpha", "ready", ["www"])
    wave = api(admin)("POST", "/outdated/rebuild", status=202)
    assert [one["platform"] for one in wave["begun"]] == ["alpha"]
    again = api(admin)("POST", "/outdated/rebuild", status=202)
    assert (again["begun"], [one["platform"] for one in again["left"]]) == ([], ["alpha"])
    assert world.finish(wave["begun"][0]["run_id"]).state == "done"
    assert api(admin)("GET", "/outdated") == []
