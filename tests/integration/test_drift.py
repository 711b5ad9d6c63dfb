"""Reconciliation: what differs becomes a row, what is right again loses it, and nothing is changed in the world."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from placo.domain.drift import Remedy
from placo.drivers.ports import DriverError, EdgeRoute, Unavailable
from placo.platforms.models import Drift, Host, Machine, Platform, Project, Run, User
from placo.services import audit, engine, platforms, reconcile
from tests.factories import approve, ready_platform
from tests.fakes import World

SLUG = "alpha"


def rows() -> set[tuple[str, str, str, str]]:
    """Kind, what, where and name of all drift."""
    return set(Drift.objects.values_list("kind", "what", "where", "name"))


def outside(world: World) -> list[audit.Finding]:
    """What there is of the platform in the world."""
    return [finding for finding in world.audit(SLUG) if finding.where != "database"]


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    """A platform with nothing wrong."""
    platform = ready_platform(world, emmy, admin)
    reconcile.reconcile()
    assert rows() == set()
    return platform


def one() -> Drift:
    """The only row."""
    return Drift.objects.get()


def test_all_states_are_in_order_after_their_runs(world: World, alpha: Platform, emmy: User) -> None:
    for action in ("stop", "start", "suspend", "resume", "restart"):
        world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action=action).pk)
        reconcile.reconcile()
        assert rows() == set(), action
    world.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)
    reconcile.reconcile()
    assert rows() == set()


def test_what_is_missing(world: World, alpha: Platform) -> None:
    host, plan = world.host_of(alpha), alpha.plan
    www, svn = plan.machine("www"), plan.machine("svn")
    host.remove_domain(www.uuid)
    host.remove_volume(svn.data_volume)
    host.remove_network(plan.network.name)
    world.directory.remove_platform(SLUG, plan.uuid)
    world.edge.remove_site(SLUG, plan.uuid)
    before = outside(world)
    reconcile.reconcile()

    where = alpha.host.name
    assert rows() == {
        ("missing", "domain", where, www.domain),
        ("missing", "volume", where, svn.data_volume),
        ("missing", "network", where, plan.network.name),
        ("missing", "directory", "directory", SLUG),
        ("missing", "edge", "edge", SLUG),
        ("missing", "certificate", "edge", SLUG),
    }
    assert set(Drift.objects.values_list("platform", flat=True)) == {alpha.pk}
    remedies = {row.what: row.remedy for row in Drift.objects.all()}
    assert remedies["volume"] is Remedy.RESTORE
    assert remedies["network"] is Remedy.RESTART
    assert remedies["domain"] is remedies["directory"] is remedies["edge"] is Remedy.MEND
    assert outside(world) == before, "looking changed the world"
    assert Machine.objects.get(platform=alpha, name="www").state == "gone"


@pytest.mark.parametrize(
    ("action", "change", "kind", "expected", "remedy"),
    [
        ("", "suspend_domain", "paused", {"power": ["running", "paused"], "autostart": [True, False]}, Remedy.MEND),
        ("", "kill_domain", "changed", {"power": ["running", "stopped"], "autostart": [True, False]}, Remedy.MEND),
        ("stop", "start_domain", "changed", {"power": ["stopped", "running"], "autostart": [False, True]}, Remedy.MEND),
        ("suspend", "start_domain", "changed", {"power": ["paused", "running"], "autostart": [False, True]}, Remedy.MEND),
        ("suspend", "kill_domain", "changed", {"power": ["paused", "stopped"], "note": "memory-lost"}, Remedy.LOST),
    ],
)  # fmt: skip
def test_another_power_than_expected(
    action: str,
    change: str,
    kind: str,
    expected: dict[str, Any],
    remedy: Remedy,
    world: World,
    alpha: Platform,
    emmy: User,
) -> None:
    if action:
        world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action=action).pk)
    getattr(world.host_of(alpha), change)(alpha.plan.machine("www").uuid)
    reconcile.reconcile()

    drift = one()
    assert (drift.kind, drift.what, drift.name) == (kind, "domain", alpha.plan.machine("www").domain)
    assert drift.detail == expected | {"machine": "www"}
    assert drift.remedy is remedy


def test_other_sizes_than_planned(world: World, alpha: Platform) -> None:
    host, m = world.host_of(alpha), alpha.plan.machine("www")
    domain = host._shelf.get("domains", m.uuid)
    assert domain is not None
    domain["spec"] |= {"memory_mib": m.memory_mib * 2, "vcpus": m.vcpus + 1}
    host._put_domain(domain)
    reconcile.reconcile()

    assert one().kind == "changed"
    assert one().detail["memory_mib"] == [m.memory_mib, m.memory_mib * 2]
    assert one().detail["vcpus"] == [m.vcpus, m.vcpus + 1]
    assert one().remedy is Remedy.RESTART


def test_a_network_that_is_only_defined(world: World, alpha: Platform) -> None:
    world.host_of(alpha).stop_network(alpha.plan.network.name)
    reconcile.reconcile()
    assert (one().kind, one().what, one().detail) == ("changed", "network", {"active": [True, False]})


def test_leftovers_of_an_ended_platform(world: World, alpha: Platform, emmy: User) -> None:
    plan = alpha.plan
    world.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)
    world.hosts["h2"].ensure_volume(plan.machine("www").data_volume, 1)
    world.directory.ensure_platform(SLUG, plan.uuid, ["emmy"])
    pair = world.authority.issue(["alpha-web.example.org"])
    route = EdgeRoute("alpha-web.example.org", "10.77.0.2", 443, "www")
    world.edge.ensure_site(SLUG, plan.uuid, [route], pair.certificate, pair.key)
    reconcile.reconcile()

    assert rows() == {
        ("extra", "volume", "h2", plan.machine("www").data_volume),
        ("extra", "directory", "directory", SLUG),
        ("extra", "edge", "edge", SLUG),
        ("extra", "certificate", "edge", SLUG),
    }
    assert {row.platform_id for row in Drift.objects.all()} == {alpha.pk}
    assert {row.remedy for row in Drift.objects.all()} == {Remedy.REMOVE}


def test_what_is_not_ours_is_shown_at_most(world: World, alpha: Platform) -> None:
    host = world.hosts["h2"]
    host.define_foreign_domain("somebody-elses", str(uuid.uuid4()))
    host.define_foreign_domain("placo-like", str(uuid.uuid4()))
    host.define_foreign_domain("placo-bench--1", str(uuid.uuid4()))
    host.ensure_volume("placo-alpha-www-data.qcow2", 1)
    host.ensure_volume("precious.qcow2", 1)
    reconcile.reconcile()

    assert rows() == {
        ("extra", "domain", "h2", "placo-like"),
        ("extra", "volume", "h2", "placo-alpha-www-data.qcow2"),
    }
    assert {row.remedy for row in Drift.objects.all()} == {Remedy.FOREIGN}
    assert {row.platform for row in Drift.objects.all()} == {None}


def test_a_living_platforms_things_where_they_do_not_belong(world: World, alpha: Platform) -> None:
    m, (other,) = alpha.plan.machine("www"), {"h1", "h2"} - {alpha.host.name}
    world.hosts[other].ensure_volume(m.data_volume, 1)
    world.host_of(alpha).ensure_content(m.seed_volume, b"secret")
    reconcile.reconcile()

    assert rows() == {
        ("extra", "volume", other, m.data_volume),
        ("extra", "volume", alpha.host.name, m.seed_volume),
    }
    assert Drift.objects.get(where=other).remedy is Remedy.ELSEWHERE
    assert Drift.objects.get(where=alpha.host.name).remedy is Remedy.TIDY


def test_a_seed_on_the_wrong_host_is_left_alone(world: World, alpha: Platform) -> None:
    (other,) = {"h1", "h2"} - {alpha.host.name}
    world.hosts[other].ensure_content(alpha.plan.machine("www").seed_volume, b"secret")
    reconcile.reconcile()
    assert one().remedy is Remedy.ELSEWHERE


def test_platforms_in_flux_are_left_out(
    world: World, alpha: Platform, emmy: User, admin: User, optics: Project
) -> None:
    creating = approve(emmy, admin, slug="beta")
    world.prober.faults.unreachable = True
    engine.advance(creating.pk)
    assert any(d.name.startswith("placo-beta") for h in world.hosts.values() for d in h.inventory().domains)
    world.host_of(alpha).remove_domain(alpha.plan.machine("www").uuid)
    reconcile.reconcile()
    assert {name for _kind, _what, _where, name in rows()} == {alpha.plan.machine("www").domain}

    platforms.power_platform(acting_user=emmy, slug=SLUG, action="stop")
    world.host_of(alpha).remove_network(alpha.plan.network.name)
    reconcile.reconcile()
    assert len(rows()) == 1, "what was known stays, nothing new is found"


def test_a_run_that_ends_while_the_world_is_looked_at(
    world: World, alpha: Platform, emmy: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = world.host_of(alpha)
    real = host.inventory

    def slow() -> Any:
        seen = real()
        world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action="stop").pk)
        return seen

    monkeypatch.setattr(host, "inventory", slow)
    reconcile.reconcile_host(alpha.host.pk)
    assert rows() == set()


def test_rows_go_when_the_world_is_right_again(world: World, alpha: Platform) -> None:
    host, www = world.host_of(alpha), alpha.plan.machine("www").uuid
    host.suspend_domain(www)
    reconcile.reconcile()
    first = one()
    reconcile.reconcile()
    again = one()
    assert (again.pk, again.found_at) == (first.pk, first.found_at)
    assert again.seen_at > first.seen_at
    host.start_domain(www)
    reconcile.reconcile()
    assert rows() == set()


def test_accepted_until_it_changes(world: World, alpha: Platform, admin: User) -> None:
    host, www = world.host_of(alpha), alpha.plan.machine("www").uuid
    host.suspend_domain(www)
    reconcile.reconcile()
    Drift.objects.update(accepted_at=timezone.now(), accepted_by=admin)
    reconcile.reconcile()
    assert one().accepted_by == admin
    host.kill_domain(www)
    reconcile.reconcile()
    assert (one().accepted_at, one().accepted_by, one().kind) == (None, None, "changed")


# --- places that do not answer ---------------------------------------------------------------------------------------


def test_an_unreachable_host_is_one_row_and_its_platforms_are_unknown(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    beta = ready_platform(world, emmy, admin, slug="beta")
    host = world.host_of(alpha)
    host.remove_network(alpha.plan.network.name)
    reconcile.reconcile()
    host.faults.unreachable = True
    world.host_of(beta).remove_network(beta.plan.network.name)
    reconcile.reconcile()

    name = alpha.host.name
    assert rows() == {
        ("missing", "network", name, alpha.plan.network.name),
        ("unreachable", "host", name, name),
        ("missing", "network", beta.host.name, beta.plan.network.name),
    }
    assert "does not answer" in Drift.objects.get(kind="unreachable").detail["error"]
    alpha = Platform.objects.get(pk=alpha.pk)
    assert (alpha.state, alpha.unknown, alpha.host.reachable) == ("ready", True, False)
    assert not Platform.objects.get(pk=beta.pk).unknown

    host.faults.clear()
    reconcile.reconcile()
    assert ("unreachable", "host", name, name) not in rows()
    assert not Platform.objects.get(pk=alpha.pk).unknown


def test_accepting_that_a_host_is_away_lasts_while_it_is(world: World, alpha: Platform, admin: User) -> None:
    host = world.host_of(alpha)
    host.faults.fail_next("status", Unavailable("refused"))
    reconcile.reconcile()
    Drift.objects.update(accepted_at=timezone.now(), accepted_by=admin)
    host.faults.fail_next("inventory", DriverError("no pool"))
    reconcile.reconcile()
    assert one().accepted_by == admin
    assert one().detail == {"error": "no pool"}
    assert not Host.objects.get(pk=alpha.host.pk).reachable


def test_directory_and_edge_may_be_away_too(world: World, alpha: Platform) -> None:
    world.directory.faults.unreachable = True
    world.edge.remove_site(SLUG, alpha.plan.uuid)
    reconcile.reconcile()
    assert ("unreachable", "host", "directory", "directory") in rows()
    assert ("missing", "edge", "edge", SLUG) in rows()
    world.directory.faults.clear()
    world.edge.faults.unreachable = True
    reconcile.reconcile()
    assert rows() == {
        ("missing", "edge", "edge", SLUG),
        ("missing", "certificate", "edge", SLUG),
        ("unreachable", "host", "edge", "edge"),
    }


@pytest.mark.django_db(transaction=True)
def test_runs_on_other_hosts_go_on_while_one_hangs(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    alpha, beta = ready_platform(world, emmy, admin), ready_platform(world, emmy, admin, slug="beta")
    hanging, gate = world.host_of(alpha), threading.Event()
    real = hanging.status

    def status() -> Any:
        gate.wait(30)
        return real()

    hanging.status = status  # type: ignore[method-assign]
    thread = threading.Thread(target=_in_thread(lambda: reconcile.reconcile_host(alpha.host_id)))
    thread.start()
    world.host_of(beta).remove_network(beta.plan.network.name)
    reconcile.reconcile_host(beta.host_id)
    assert {name for *_rest, name in rows()} == {beta.plan.network.name}
    run = platforms.power_platform(acting_user=emmy, slug="beta", action="stop")
    assert world.finish(run.pk).state == "done"
    reconcile.reconcile_host(alpha.host_id)  # somebody is at it: returns at once
    assert thread.is_alive()
    gate.set()
    thread.join(30)
    assert not thread.is_alive()


def _in_thread(work: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    return run


def test_runs_are_delayed_by_their_unreachable_host_and_by_no_other(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    beta = ready_platform(world, emmy, admin, slug="beta")
    host = world.host_of(alpha)
    host.faults.unreachable = True
    waiting = platforms.power_platform(acting_user=emmy, slug=SLUG, action="stop")
    going = platforms.power_platform(acting_user=emmy, slug="beta", action="stop")
    for _turn in range(8):
        engine.advance(waiting.pk)
        world.let_time_pass(waiting.pk)
    assert Run.objects.get(pk=waiting.pk).state == "running"
    assert world.finish(going.pk).state == "done"
    host.faults.clear()
    assert world.finish(waiting.pk).state == "done"
    assert beta.host_id != alpha.host_id


# --- cost ------------------------------------------------------------------------------------------------------------


def test_two_bulk_calls_a_host_and_a_fixed_number_of_queries(
    world: World, alpha: Platform, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch,
    django_assert_max_num_queries: Any,
) -> None:  # fmt: skip
    ready_platform(world, emmy, admin, slug="beta")
    calls: Counter[str] = Counter()
    for thing in (*world.hosts.values(), world.directory, world.edge):
        real = thing.faults.check

        def counted(operation: str, thing: Any = thing, real: Any = real) -> None:
            calls[getattr(thing, "name", type(thing).__name__)] += 1
            real(operation)

        monkeypatch.setattr(thing.faults, "check", counted)
    with django_assert_max_num_queries(13):
        reconcile.reconcile_host(alpha.host.pk)
    assert calls == {alpha.host.name: 2}
    calls.clear()
    reconcile.reconcile()
    assert calls == {"h1": 2, "h2": 2, "FakeDirectory": 1, "FakeEdge": 2}
