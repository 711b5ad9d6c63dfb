"""The engine on the fakes: platforms become ready, faults are retried, refusals unwind, nothing is done twice."""

from __future__ import annotations

import pytest

from placo.domain import saga
from placo.drivers.ports import Power, Rejected, Unavailable
from placo.platforms.models import Host, LedgerEntry, Membership, Platform, Project, Run, User
from placo.services import audit, decisions, engine, platforms
from placo.services.errors import Conflict
from tests.factories import approve, ready_platform
from tests.fakes import World

SLUG = "alpha"


def test_a_request_becomes_a_platform(world: World, optics: Project, emmy: User, admin: User) -> None:
    run = world.finish(approve(emmy, admin).pk)

    assert run.state == "done"
    platform = Platform.objects.get(slug=SLUG)
    assert platform.state == "ready"
    assert platform.ready_at is not None
    host = world.hosts[platform.host.name]
    found = host.inventory()
    assert {d.name: (d.power, d.autostart) for d in found.domains} == {
        "placo-alpha-www": (Power.RUNNING, True),
        "placo-alpha-svn": (Power.RUNNING, True),
    }
    assert found.networks == (f"placo-alpha-{Platform.objects.get(slug=SLUG).uuid.hex[:8]}",)
    assert not [v for v in found.volumes if "seed" in v]
    assert dict(world.directory.members(SLUG)) == {"emmy": True}
    assert set(world.edge.sites()) == {SLUG}
    assert {m.name: m.state for m in platform.machines.all()} == {"www": "answering", "svn": "answering"}
    assert LedgerEntry.objects.get(platform=platform).committed


def test_machines_are_given_what_they_need_to_log_people_in(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = approve(emmy, admin)
    world.hosts["h1"].deaf_guests |= {str(m.uuid) for m in run.platform.machines.all()}
    for _round in range(30):
        engine.advance(run.pk)
        world.let_time_pass(run.pk)

    plan = run.platform.plan
    www = plan.machine("www")
    seed = world.hosts["h1"].content(www.seed_volume)
    assert b"CIDATA" in seed
    from placo import wiring

    password = wiring.machine_secret(www.uuid, "directory")
    assert world.directory.visible_to(world.directory.machine_dn(SLUG, "www"), password) == {"emmy"}
    assert world.directory.visible_to(world.directory.machine_dn(SLUG, "svn"), password) is None


def test_every_step_may_fail_once(world: World, optics: Project, emmy: User, admin: User) -> None:
    for operation, faults in world.faults.items():
        faults.fail_next(operation, Unavailable(f"{operation} is out"))
    run = world.finish(approve(emmy, admin).pk)

    assert run.state == "done"
    assert Platform.objects.get(slug=SLUG).state == "ready"
    retried = {e.message for e in run.journal.filter(event="away")}
    assert {f"{operation} is out" for operation in world.faults} <= retried
    assert all(step.error == "" for step in run.steps.all())


def test_a_fault_that_no_driver_foresaw_is_retried_too(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    world.directory.faults.fail_next("ensure_platform", ZeroDivisionError("surprise"))
    run = world.finish(approve(emmy, admin).pk)

    assert run.state == "done"
    assert run.journal.filter(event="retry", message__contains="surprise").exists()


@pytest.mark.parametrize(
    "operation",
    [
        "ensure_network",
        "ensure_platform",
        "ensure_image",
        "ensure_overlay",
        "ensure_content",
        "ensure_domain",
        "ensure_site",
        "ensure_domains",
        "ensure_names",
    ],
)
def test_a_definitive_refusal_leaves_nothing_behind(
    operation: str, world: World, optics: Project, emmy: User, admin: User
) -> None:
    world.faults[operation].fail_next(operation, Rejected(f"never: {operation}"))
    run = world.finish(approve(emmy, admin).pk)

    assert run.state == "undone"
    assert Platform.objects.get(slug=SLUG).state == "failed"
    assert world.audit(SLUG) == []
    assert audit.orphans() == []
    assert run.journal.filter(event="unwinding", message=f"never: {operation}").exists()
    assert not LedgerEntry.objects.exists()


def test_faults_while_unwinding_are_retried(world: World, optics: Project, emmy: User, admin: User) -> None:
    world.edge.faults.fail_next("ensure_site", Rejected("never"))
    world.hosts["h1"].faults.fail_next("remove_domain", Unavailable("busy"), times=2)
    world.directory.faults.fail_next("remove_platform", Unavailable("busy"), times=2)
    run = world.finish(approve(emmy, admin).pk)

    assert run.state == "undone"
    assert world.audit(SLUG) == []


def test_the_name_of_a_failed_platform_is_free_again(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    world.faults["ensure_site"].fail_next("ensure_site", Rejected("never"))
    world.finish(approve(emmy, admin).pk)
    platform = ready_platform(world, emmy, admin)

    assert platform.state == "ready"
    assert platform.subnet_index == 0


def test_retirement_leaves_nothing(world: World, optics: Project, emmy: User, admin: User) -> None:
    ready_platform(world, emmy, admin)
    kinds = {finding.kind for finding in world.audit(SLUG)}
    assert kinds == {
        "domain", "volume", "network", "directory entry", "edge route", "certificate", "addresses", "quota",
        "membership", "machine", "names",
    }  # fmt: skip
    run = world.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)

    assert run.state == "done"
    assert Platform.objects.get(slug=SLUG).state == "retired"
    assert world.audit(SLUG) == []
    assert audit.orphans() == []


def test_every_removal_may_fail_once(world: World, optics: Project, emmy: User, admin: User) -> None:
    platform = ready_platform(world, emmy, admin)
    host = world.hosts[platform.host.name].faults
    for operation in ("shutdown_domain", "remove_domain", "remove_volume", "remove_network"):
        host.fail_next(operation, Unavailable(operation))
    for operation in ("remove_machine_account", "remove_platform"):
        world.directory.faults.fail_next(operation, Unavailable(operation))
    world.edge.faults.fail_next("remove_site", Unavailable("remove_site"))
    run = world.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)

    assert run.state == "done"
    assert world.audit(SLUG) == []


def test_the_audit_finds_what_was_left_behind(world: World, optics: Project, emmy: User, admin: User) -> None:
    ready_platform(world, emmy, admin)
    world.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)
    world.hosts["h2"].ensure_volume("placo-alpha-www-data.qcow2", 1)

    assert world.audit(SLUG) == [audit.Finding("volume", "h2", "placo-alpha-www-data.qcow2")]

    world.hosts["h2"].remove_volume("placo-alpha-www-data.qcow2")
    world.directory.ensure_platform(SLUG, str(Platform.objects.get(slug=SLUG).uuid), ["emmy"])
    assert {f.kind for f in world.audit(SLUG)} == {"directory entry"}
    assert {f.kind for f in audit.orphans()} == {"directory entry"}


def test_the_audit_tells_platforms_apart_whose_names_begin_alike(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    ready_platform(world, emmy, admin)
    ready_platform(world, emmy, admin, slug="alpha-two")
    world.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)

    assert world.audit(SLUG) == []
    assert {f.name for f in world.audit("alpha-two") if f.kind == "domain"} == {
        "placo-alpha-two-www",
        "placo-alpha-two-svn",
    }


def test_waiting_is_not_failing(world: World, optics: Project, emmy: User, admin: User) -> None:
    run = approve(emmy, admin)
    world.prober.faults.unreachable = True
    for _round in range(10):
        engine.advance(run.pk)
        world.let_time_pass(run.pk)

    health = run.steps.get(name="health:www")
    assert (health.state, health.failures, health.error) == ("waiting", 0, "")
    assert "does not answer" in health.message
    assert health.attempts > 3
    assert Run.objects.get(pk=run.pk).state == "running"
    assert any(after > 0 for _run, after in world.rings) or health.not_before is not None

    world.prober.faults.clear()
    assert world.finish(run.pk).state == "done"


def test_a_step_that_waits_is_not_tried_before_its_time(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = approve(emmy, admin)
    world.prober.faults.unreachable = True
    engine.advance(run.pk)

    assert engine.advance(run.pk) == 0


def test_waiting_for_too_long_is_stuck(world: World, optics: Project, emmy: User, admin: User) -> None:
    run = approve(emmy, admin)
    world.prober.faults.unreachable = True
    engine.advance(run.pk)
    world.make_older(run.pk, saga.policy("health").deadline + 1)
    world.let_time_pass(run.pk)
    engine.advance(run.pk)

    run.refresh_from_db()
    assert run.state == "stuck"
    assert "gave up waiting" in run.steps.get(name="health:www").error
    world.prober.faults.clear()
    decisions.retry_run(acting_user=emmy, run_id=run.pk)
    assert world.finish(run.pk).state == "done"


def test_a_platform_whose_machine_stays_deaf_is_switched_off(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    platform = ready_platform(world, emmy, admin)
    host = world.hosts[platform.host.name]
    deaf = platform.plan.machine("www").uuid
    host.deaf_guests.add(deaf)
    run = platforms.power_platform(acting_user=emmy, slug=SLUG, action="stop")
    engine.advance(run.pk)
    assert host.power(deaf) is Power.RUNNING
    world.make_older(run.pk, 60)

    assert world.finish(run.pk).state == "done"
    assert host.power(deaf) is Power.STOPPED


# --- power -----------------------------------------------------------------------------------------------------------


def test_stop_start_restart(world: World, optics: Project, emmy: User, admin: User) -> None:
    platform = ready_platform(world, emmy, admin)
    host = world.hosts[platform.host.name]

    def powers() -> set[tuple[Power, bool]]:
        return {(d.power, d.autostart) for d in host.inventory().domains}

    for action, state, power in (
        ("stop", "stopped", (Power.STOPPED, False)),
        ("start", "ready", (Power.RUNNING, True)),
        ("restart", "ready", (Power.RUNNING, True)),
    ):
        run = world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action=action).pk)
        assert run.state == "done"
        platform.refresh_from_db()
        assert platform.state == state
        assert powers() == {power}


def test_one_life_cycle_run_at_a_time(world: World, optics: Project, emmy: User, admin: User) -> None:
    ready_platform(world, emmy, admin)
    platforms.power_platform(acting_user=emmy, slug=SLUG, action="stop")
    for action in ("start", "stop", "restart"):
        with pytest.raises(Conflict):
            platforms.power_platform(acting_user=emmy, slug=SLUG, action=action)
    with pytest.raises(Conflict):
        platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG)
    assert Run.objects.exclude(kind="create").count() == 1


def test_two_platforms_share_the_hosts_evenly(world: World, optics: Project, emmy: User, admin: User) -> None:
    first = ready_platform(world, emmy, admin)
    second = ready_platform(world, emmy, admin, slug="beta")

    assert {first.host.name, second.host.name} == {"h1", "h2"}
    assert first.plan.network.subnet != second.plan.network.subnet
    assert Host.objects.count() == 2
    assert Membership.objects.filter(owner=True).count() == 2


def test_whatever_a_driver_says_can_be_written_down(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    """PostgreSQL's text takes neither a nought nor half a character, and guests and servers may say both."""
    world.directory.faults.fail_next("ensure_platform", Rejected("no\0body \udcff knows"))
    run = world.finish(approve(emmy, admin).pk)

    assert run.state == "undone"
    assert run.journal.filter(event="rejected", message="no?body ? knows").exists()
