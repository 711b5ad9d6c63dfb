"""Runs that are stuck, and what people choose then."""

from __future__ import annotations

import pytest

from placo.domain import saga
from placo.drivers.ports import DriverError, Power, Rejected
from placo.platforms.models import Platform, Project, Run, User
from placo.services import decisions, engine, platforms
from placo.services.errors import Conflict, Forbidden, NotFound
from tests.factories import approve, ready_platform
from tests.fakes import World

SLUG = "alpha"


def stuck_run(world: World, emmy: User, admin: User) -> Run:
    """A creation whose edge refuses to go on, more often than the engine is patient."""
    world.edge.faults.fail_next("ensure_site", DriverError("edge is out"), saga.policy("edge").attempts)
    run = world.finish(approve(emmy, admin).pk)
    assert run.state == "stuck"
    step = run.steps.get(name="edge")
    assert (step.state, step.error) == ("failed", "edge is out")
    assert Platform.objects.get(slug=SLUG).state == "creating"
    return run


def test_stuck_then_retried(world: World, optics: Project, emmy: User, admin: User) -> None:
    run = stuck_run(world, emmy, admin)
    decisions.retry_run(acting_user=emmy, run_id=run.pk)

    assert world.finish(run.pk).state == "done"
    assert Platform.objects.get(slug=SLUG).state == "ready"
    with pytest.raises(Conflict):
        decisions.retry_run(acting_user=emmy, run_id=run.pk)


def test_stuck_then_undone(world: World, optics: Project, emmy: User, admin: User) -> None:
    run = stuck_run(world, emmy, admin)
    decisions.undo_run(acting_user=emmy, run_id=run.pk)

    assert world.finish(run.pk).state == "undone"
    assert Platform.objects.get(slug=SLUG).state == "failed"
    assert world.audit(SLUG) == []


def test_stuck_then_skipped_by_an_administrator(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = stuck_run(world, emmy, admin)
    with pytest.raises(Forbidden):
        decisions.skip_run(acting_user=emmy, run_id=run.pk)
    decisions.skip_run(acting_user=admin, run_id=run.pk)
    world.prober.answers |= {
        f"alpha-{name}.{_domain()}": status for name, status in (("web", 200), ("svn", 401))
    }

    assert world.finish(run.pk).state == "done"
    assert run.steps.get(name="edge").state == "skipped"


def test_a_removal_is_never_skipped(world: World, optics: Project, emmy: User, admin: User) -> None:
    ready_platform(world, emmy, admin)
    limit = saga.policy("domain").attempts
    for host in world.hosts.values():
        host.faults.fail_next("remove_domain", DriverError("no"), 2 * limit)  # two machines
    run = world.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)
    assert run.state == "stuck"
    with pytest.raises(Conflict):
        decisions.skip_run(acting_user=admin, run_id=run.pk)
    assert Platform.objects.get(slug=SLUG).subnet_index is not None
    for host in world.hosts.values():
        host.faults.clear()
    decisions.retry_run(acting_user=admin, run_id=run.pk)
    assert world.finish(run.pk).state == "done"
    assert world.audit(SLUG) == []


def _domain() -> str:
    from placo import wiring

    return wiring.site().edge.domain


def test_a_run_that_is_not_stuck_has_nothing_to_decide(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = approve(emmy, admin)
    with pytest.raises(Conflict):
        decisions.retry_run(acting_user=emmy, run_id=run.pk)
    world.finish(run.pk)
    with pytest.raises(Conflict):
        decisions.undo_run(acting_user=emmy, run_id=run.pk)


def test_a_creation_can_be_called_off_while_it_is_under_way(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = approve(emmy, admin)
    world.prober.faults.unreachable = True
    engine.advance(run.pk)
    assert Run.objects.get(pk=run.pk).state == "running"
    decisions.undo_run(acting_user=emmy, run_id=run.pk)

    assert world.finish(run.pk).state == "undone"
    assert Platform.objects.get(slug=SLUG).state == "failed"
    assert world.audit(SLUG) == []


def test_a_platform_that_never_came_to_exist_can_be_deleted(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = stuck_run(world, emmy, admin)
    same = platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG)

    assert same.pk == run.pk
    assert world.finish(run.pk).state == "undone"
    assert world.audit(SLUG) == []


def test_strangers_neither_see_nor_decide(
    world: World, optics: Project, emmy: User, sofia: User, admin: User
) -> None:
    run = stuck_run(world, emmy, admin)
    for choice in (decisions.retry_run, decisions.skip_run, decisions.undo_run):
        with pytest.raises(NotFound):
            choice(acting_user=sofia, run_id=run.pk)
    run.refresh_from_db()
    assert run.state == "stuck"


def test_a_stuck_retirement_cannot_be_undone_but_retried(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    platform = ready_platform(world, emmy, admin)
    host = world.hosts[platform.host.name].faults
    host.fail_next("remove_network", Rejected("in use"))
    run = world.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)
    assert run.state == "stuck"
    with pytest.raises(Conflict):
        decisions.undo_run(acting_user=emmy, run_id=run.pk)
    decisions.retry_run(acting_user=emmy, run_id=run.pk)

    assert world.finish(run.pk).state == "done"
    assert world.audit(SLUG) == []


@pytest.mark.parametrize(
    ("before", "action", "operation", "power", "state"),
    [
        ("", "stop", "shutdown_domain", Power.RUNNING, "ready"),
        ("stop", "start", "start_domain", Power.STOPPED, "stopped"),
        ("", "suspend", "suspend_domain", Power.RUNNING, "ready"),
        ("suspend", "resume", "start_domain", Power.PAUSED, "suspended"),
        ("", "restart", "shutdown_domain", Power.RUNNING, "ready"),
    ],
)
def test_a_stuck_change_of_power_can_be_undone(
    before: str,
    action: str,
    operation: str,
    power: Power,
    state: str,
    world: World,
    optics: Project,
    emmy: User,
    admin: User,
) -> None:
    """The host says no too often: everything is back where it was."""
    platform = ready_platform(world, emmy, admin)
    if before:
        world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action=before).pk)
    host = world.host_of(platform)
    host.faults.fail_next(operation, DriverError("no"), 2 * saga.policy("power").attempts)  # two machines
    run = world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action=action).pk)
    assert run.state == "stuck"
    decisions.undo_run(acting_user=emmy, run_id=run.pk)

    assert world.finish(run.pk).state == "undone"
    platform.refresh_from_db()
    assert platform.state == state
    assert {d.power for d in host.inventory().domains} == {power}
