"""Accepting drift and having it repaired: what comes back, what is never touched, and the state that a platform keeps."""

from __future__ import annotations

import uuid

import pytest

from placo.domain import saga
from placo.drivers.ports import DriverError, Power, Rejected
from placo.platforms.models import AuditEvent, Drift, Machine, Platform, Project, Run, User
from placo.services import audit, decisions, drift, members, platforms, reconcile
from placo.services.errors import Conflict, Forbidden, NotFound
from tests.factories import ready_platform
from tests.fakes import World

SLUG = "alpha"


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    return ready_platform(world, emmy, admin)


def repair(world: World, admin: User, **which: object) -> Run:
    """Compare, have the row repaired that is meant, compare again."""
    reconcile.reconcile()
    row = Drift.objects.get(**which)
    run = world.finish(drift.repair_drift(acting_user=admin, drift_id=row.pk).pk)
    reconcile.reconcile()
    return run


def in_order(world: World, run: Run, platform: Platform, state: str = "ready") -> None:
    assert run.state == "done", [(s.name, s.state, s.error) for s in run.steps.all()]
    assert list(Drift.objects.all()) == []
    platform.refresh_from_db()
    assert platform.state == state
    assert audit.orphans() == []


def test_everything_that_can_come_back_does(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    world.finish(Run.objects.latest("id").pk)
    host, plan = world.host_of(alpha), alpha.plan
    disks = {v: host.content(v) for m in plan.machines for v in (m.system_volume, m.data_volume)}
    for machine in plan.machines:
        host.remove_domain(machine.uuid)
    host.remove_network(plan.network.name)
    world.directory.remove_platform(SLUG, plan.uuid)
    world.edge.remove_site(SLUG, plan.uuid)
    run = repair(world, admin, what="directory")

    in_order(world, run, alpha)
    assert {(d.name, d.power, d.autostart) for d in host.inventory().domains} == {
        (m.domain, Power.RUNNING, True) for m in plan.machines
    }
    assert world.directory.members(SLUG) == {"alan": False, "emmy": True}
    assert len(world.directory.entries(SLUG)) == 4 + len(plan.machines)
    assert {v: host.content(v) for v in disks} == disks
    assert {m.state for m in Machine.objects.filter(platform=alpha)} == {"answering"}
    assert not run.steps.filter(action__in=("system-disk", "data-volume", "seed", "way", "image")).exists()


def test_a_paused_machine_goes_on(world: World, alpha: Platform, admin: User) -> None:
    world.host_of(alpha).suspend_domain(alpha.plan.machine("www").uuid)
    run = repair(world, admin, kind="paused")
    in_order(world, run, alpha)
    assert set(run.steps.values_list("target", flat=True)) == {"", "www"}, "the other machine was left alone"


@pytest.mark.parametrize("way", ["cold", "warm"])
def test_a_domain_comes_back_without_its_seed(
    way: str, world: World, optics: Project, emmy: User, admin: User
) -> None:
    if way == "warm":
        world.warm()
    alpha = ready_platform(world, emmy, admin)
    assert {m.way for m in Machine.objects.filter(platform=alpha)} == {way}
    host, m = world.host_of(alpha), alpha.plan.machine("www")
    host.remove_domain(m.uuid)
    in_order(world, repair(world, admin, kind="missing"), alpha)
    assert m.seed_volume not in host.inventory().volumes
    domain = host._shelf.get("domains", m.uuid)
    assert domain is not None
    assert domain["spec"]["seed_volume"] is None


@pytest.mark.parametrize("change", ["remove_domain", "start_domain"])
def test_a_stopped_platform_stays_stopped(
    change: str, world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action="stop").pk)
    host, www = world.host_of(alpha), alpha.plan.machine("www").uuid
    getattr(host, change)(www)
    in_order(world, repair(world, admin, what="domain"), alpha, "stopped")
    assert {(d.power, d.autostart) for d in host.inventory().domains} == {(Power.STOPPED, False)}
    world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action="start").pk)
    assert host.power(www) is Power.RUNNING


def test_a_suspended_platform_is_suspended_again(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action="suspend").pk)
    host, www = world.host_of(alpha), alpha.plan.machine("www").uuid
    host.start_domain(www)
    in_order(world, repair(world, admin, what="domain"), alpha, "suspended")
    assert {(d.power, d.autostart) for d in host.inventory().domains} == {(Power.PAUSED, False)}


def test_a_suspended_machine_that_was_lost_boots_when_it_is_resumed(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action="suspend").pk)
    host, www = world.host_of(alpha), alpha.plan.machine("www").uuid
    host.remove_domain(www)
    assert repair(world, admin, what="domain").state == "done"
    row = Drift.objects.get()
    assert row.detail["power"] == ["paused", "stopped"]
    with pytest.raises(Conflict, match="nothing that a repair"):
        drift.repair_drift(acting_user=admin, drift_id=row.pk)
    run = world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action="resume").pk)
    reconcile.reconcile()
    in_order(world, run, alpha)


def test_other_sizes_take_a_restart(world: World, alpha: Platform, admin: User) -> None:
    host, m = world.host_of(alpha), alpha.plan.machine("www")
    domain = host._shelf.get("domains", m.uuid)
    assert domain is not None
    domain["spec"]["memory_mib"] = 64
    host._put_domain(domain)
    run = repair(world, admin, what="domain")
    in_order(world, run, alpha)
    assert run.steps.filter(name="stop:www", state="done").exists()
    assert not run.steps.filter(name="stop:svn").exists()
    (found,) = (d for d in host.inventory().domains if d.uuid == m.uuid)
    assert found.memory_mib == m.memory_mib


def test_a_network_that_was_gone_takes_its_guests_along(world: World, alpha: Platform, admin: User) -> None:
    world.host_of(alpha).stop_network(alpha.plan.network.name)
    run = repair(world, admin, what="network")
    in_order(world, run, alpha)
    assert {s.target for s in run.steps.filter(name__startswith="stop:")} == {"www", "svn"}


def test_a_seed_that_was_left_is_destroyed(world: World, alpha: Platform, admin: User) -> None:
    host, m = world.host_of(alpha), alpha.plan.machine("www")
    host.ensure_content(m.seed_volume, b"secret")
    host.ensure_content(m.memory_volume, b"memory")
    reconcile.reconcile()
    assert Drift.objects.count() == 2
    in_order(world, repair(world, admin, name=m.seed_volume), alpha)


@pytest.mark.parametrize("volume", ["data_volume", "system_volume"])
def test_a_volume_is_never_replaced_by_an_empty_one(
    volume: str, world: World, alpha: Platform, admin: User
) -> None:
    host, m = world.host_of(alpha), alpha.plan.machine("www")
    host.remove_domain(m.uuid)
    host.remove_volume(getattr(m, volume))
    world.edge.remove_site(SLUG, alpha.plan.uuid)
    reconcile.reconcile()
    with pytest.raises(Conflict) as caught:
        drift.repair_drift(acting_user=admin, drift_id=Drift.objects.get(what="volume").pk)
    assert "restore it from a backup" in str(caught.value.remedy)

    assert repair(world, admin, what="edge").state == "done"
    assert set(Drift.objects.values_list("what", flat=True)) == {"domain", "volume"}
    assert getattr(m, volume) not in host.inventory().volumes


def test_what_was_accepted_is_not_repaired_along_the_way(world: World, alpha: Platform, admin: User) -> None:
    host, plan = world.host_of(alpha), alpha.plan
    host.kill_domain(plan.machine("svn").uuid)
    host.kill_domain(plan.machine("www").uuid)
    world.edge.remove_site(SLUG, plan.uuid)
    reconcile.reconcile()
    for row in Drift.objects.exclude(name=plan.machine("www").domain):
        drift.accept_drift(acting_user=admin, drift_id=row.pk)
    world.prober.answers |= {host: 200 for e in plan.endpoints for host in [e.host]}
    run = repair(world, admin, name=plan.machine("www").domain)

    assert run.state == "done"
    assert host.power(plan.machine("www").uuid) is Power.RUNNING
    assert host.power(plan.machine("svn").uuid) is Power.STOPPED
    assert SLUG not in world.edge.served
    assert Drift.objects.filter(accepted_by=admin).count() == Drift.objects.count() == 3


# --- what was left of platforms that have ended ----------------------------------------------------------------------


def test_what_was_left_is_cleared_away_and_the_new_bearer_of_the_name_is_not_touched(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    old = alpha.plan
    world.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)
    new = ready_platform(world, emmy, admin)
    (other,) = {"h1", "h2"} - {alpha.host.name}
    for name in ("h1", "h2"):
        world.hosts[name].ensure_volume(old.machine("www").data_volume, 1)
    before = [f for f in world.audit(SLUG) if old.uuid[:8] not in f.name]
    accounts = world.directory.entries(SLUG)
    run = repair(world, admin, where=other)

    assert (run.state, run.platform_id, run.subject) == ("done", alpha.pk, other)
    assert [row.where for row in Drift.objects.all()] == [alpha.host.name]
    assert repair(world, admin, where=alpha.host.name).state == "done"
    in_order(world, run, new)
    alpha.refresh_from_db()
    assert alpha.state == "retired"
    assert [f for f in world.audit(SLUG) if f.where != "database"] == [
        f for f in before if f.where != "database"
    ]
    assert world.directory.entries(SLUG) == accounts


def test_what_is_not_ours_cannot_be_repaired(world: World, alpha: Platform, admin: User) -> None:
    world.hosts["h2"].define_foreign_domain("placo-like", str(uuid.uuid4()))
    reconcile.reconcile()
    with pytest.raises(Conflict):
        drift.repair_drift(acting_user=admin, drift_id=Drift.objects.get().pk)
    assert not Run.objects.filter(kind="repair").exists()
    drift.accept_drift(acting_user=admin, drift_id=Drift.objects.get().pk)
    assert drift.waiting() == 0


# --- rights, and repairs that are stuck ------------------------------------------------------------------------------


def test_administrators_only(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    world.host_of(alpha).suspend_domain(alpha.plan.machine("www").uuid)
    reconcile.reconcile()
    row, before = Drift.objects.get(), AuditEvent.objects.count()
    for use_case in (drift.accept_drift, drift.repair_drift):
        with pytest.raises(Forbidden):
            use_case(acting_user=emmy, drift_id=row.pk)
        with pytest.raises(NotFound):
            use_case(acting_user=admin, drift_id=row.pk + 1)
    with pytest.raises(Forbidden):
        drift.listed(acting_user=emmy)
    assert AuditEvent.objects.count() == before
    drift.accept_drift(acting_user=admin, drift_id=row.pk)
    drift.repair_drift(acting_user=admin, drift_id=row.pk)
    verbs = list(AuditEvent.objects.order_by("id").values_list("verb", "subject"))[before:]
    assert verbs == [("drift.accept", SLUG), ("drift.repair", SLUG), ("run.repair", SLUG)]
    with pytest.raises(Conflict):
        drift.repair_drift(acting_user=admin, drift_id=row.pk)


def stuck_repair(world: World, alpha: Platform, admin: User) -> Run:
    world.edge.remove_site(SLUG, alpha.plan.uuid)
    world.edge.faults.fail_next("ensure_site", Rejected("never"))
    run = repair(world, admin, what="edge")
    assert run.state == "stuck"
    return run


def test_a_stuck_repair_is_tried_again(world: World, alpha: Platform, admin: User) -> None:
    run = stuck_repair(world, alpha, admin)
    decisions.retry_run(acting_user=admin, run_id=run.pk)
    run = world.finish(run.pk)
    assert run.state == "done"
    reconcile.reconcile()
    in_order(world, run, alpha)


def test_a_stuck_repair_that_is_given_up_takes_nothing_back(
    world: World, alpha: Platform, admin: User
) -> None:
    world.host_of(alpha).remove_domain(alpha.plan.machine("www").uuid)
    run = stuck_repair(world, alpha, admin)
    decisions.undo_run(acting_user=admin, run_id=run.pk)
    run = world.finish(run.pk)
    assert run.state == "undone"
    alpha.refresh_from_db()
    assert alpha.state == "ready"
    assert alpha.subnet_index is not None
    host = world.host_of(alpha)
    assert {d.name for d in host.inventory().domains} == {m.domain for m in alpha.plan.machines}
    assert alpha.plan.network.name in host.inventory().networks
    reconcile.reconcile()
    assert set(Drift.objects.values_list("what", flat=True)) == {"edge", "certificate"}


def test_every_step_of_a_repair_may_fail_once(world: World, alpha: Platform, admin: User) -> None:
    host, plan = world.host_of(alpha), alpha.plan
    host.remove_domain(plan.machine("www").uuid)
    host.remove_network(plan.network.name)
    world.edge.remove_site(SLUG, plan.uuid)
    reconcile.reconcile()
    for operation in ("ensure_network", "ensure_domain", "start_domain", "detach_seed", "remove_volume"):
        host.faults.fail_next(operation, DriverError("once"))
    world.directory.faults.fail_next("ensure_platform", DriverError("once"))
    world.edge.faults.fail_next("ensure_site", DriverError("once"))
    run = repair(world, admin, what="network")
    assert run.state == "done"
    in_order(world, run, alpha)


def test_the_steps_of_a_repair_never_make_a_volume() -> None:
    from placo.domain.lifecycle import PlatformState

    for state in (PlatformState.READY, PlatformState.STOPPED, PlatformState.SUSPENDED):
        names = ("www", "svn")
        mending = saga.Mending(state, names, frozenset(names), names, ("ada",))
        steps = saga.repair_steps(mending)
        assert {s.action for s in steps}.isdisjoint({"system-disk", "data-volume", "seed", "image", "way"})
        known = {step.id for step in steps}
        assert all(need in known for step in steps for need in step.needs)
        assert ("start" in {s.action for s in steps if s.verb is saga.Verb.ENSURE}) == (state == "ready")
