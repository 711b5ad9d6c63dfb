"""A host that is gone for good: what waits for it ends, nothing of it is used again by accident, and there is a way back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from placo.domain import places, saga
from placo.domain.lifecycle import RunKind
from placo.domain.places import Fate
from placo.domain.saga import Verb
from placo.drivers.ports import DriverError
from placo.platforms.models import AuditEvent, Drift, Host, LedgerEntry, Platform, Project, Run, User
from placo.services import (
    books,
    changes,
    decisions,
    drift,
    engine,
    expiry,
    host_views,
    lost,
    members,
    planning,
    platforms,
    reconcile,
    requests,
    templates,
)
from placo.services.errors import Conflict, Forbidden, InvalidInput, NotFound, ServiceError
from tests import factories
from tests.factories import approve, ready_platform
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.losses import SLUG, cut_off, events, lose, retire, sound


@pytest.fixture
def alpha(ready: Callable[..., Platform]) -> Platform:
    return ready()


# --- who may, and when -----------------------------------------------------------------------------------------------


def test_only_an_administrator_may(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    cut_off(world, alpha)
    name, before = alpha.host.name, AuditEvent.objects.count()
    with pytest.raises(Forbidden):
        lost.declare_lost(acting_user=emmy, host_name=name, confirm=name)
    with pytest.raises(Forbidden):
        lost.take_back(acting_user=emmy, host_name=name)
    with pytest.raises(Forbidden):
        host_views.host_view(acting_user=emmy, name=name)
    with pytest.raises(Forbidden):
        host_views.all_reservations(acting_user=emmy)
    for nothing in ("h9", "h\x001"):
        with pytest.raises(NotFound):
            lost.declare_lost(acting_user=admin, host_name=nothing, confirm=nothing)
        with pytest.raises(NotFound):
            host_views.host_view(acting_user=admin, name=nothing)
    assert not Host.objects.get(name=name).lost
    assert AuditEvent.objects.count() == before


def test_only_while_it_does_not_answer_and_by_its_name(world: World, alpha: Platform, admin: User) -> None:
    name = alpha.host.name
    with pytest.raises(Conflict, match="answers"):
        lost.declare_lost(acting_user=admin, host_name=name, confirm=name)
    Host.objects.filter(name=name).update(reachable=False, checked_at=None)
    with pytest.raises(Conflict):
        lost.declare_lost(acting_user=admin, host_name=name, confirm=name)
    cut_off(world, alpha)
    with pytest.raises(InvalidInput):
        lost.declare_lost(acting_user=admin, host_name=name, confirm="h")
    lost.declare_lost(acting_user=admin, host_name=name, confirm=name)
    lost.declare_lost(acting_user=admin, host_name=name, confirm=name)  # nothing happens a second time
    (event,) = AuditEvent.objects.filter(verb="host.lost")
    assert (event.actor, event.subject, event.detail) == ("ada", name, {"platforms": [SLUG]})
    row = Host.objects.get(name=name)
    assert (row.state, row.lost_by) == ("lost", admin)


# --- what is on it ends ----------------------------------------------------------------------------------------------


def test_a_retirement_that_waits_ends(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    cut_off(world, alpha)
    run = retire(world, emmy)
    assert (run.state, run.steps.exclude(waits_for="").exists()) == ("running", True)
    lose(world, alpha, admin)
    run = world.finish(run.pk)
    assert run.state == "done"
    assert "given up" in events(run)
    messages = dict(run.steps.values_list("action", "message"))
    for action, message in messages.items():
        there = places.place_of(action) is places.Place.HOST
        assert (message == "lost with its host") is there, action
    after = Platform.objects.get(pk=alpha.pk)
    assert (after.state, after.left_on) == ("retired", alpha.host)
    assert not LedgerEntry.objects.exists()
    assert world.directory.entries(SLUG) == []
    assert world.edge.sites() == {}
    assert [str(f.where) for f in world.audit(SLUG)] == [f"kept for lost host {alpha.host.name}"]
    sound()


def test_a_stuck_retirement_ends(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    world.host_of(alpha).faults.fail_next("remove_domain", DriverError("no"), times=1000)
    run = retire(world, emmy)
    assert run.state == "stuck"
    with pytest.raises(Conflict):
        decisions.skip_run(acting_user=admin, run_id=run.pk)
    world.host_of(alpha).faults.clear()
    lose(world, alpha, admin)
    assert world.finish(run.pk).state == "done"
    assert not LedgerEntry.objects.exists()
    sound()


def test_without_it_a_removal_is_never_given_up(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    cut_off(world, alpha)
    run = retire(world, emmy)
    for _try in range(100):
        engine.advance(run.pk)
        world.let_time_pass(run.pk)
    assert "given up" not in events(run)
    with pytest.raises(Conflict):
        decisions.skip_run(acting_user=admin, run_id=run.pk)
    assert Platform.objects.get(pk=alpha.pk).state == "retiring"


def test_what_is_being_made_there_is_taken_back(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = approve(emmy, admin)
    world.faults["ensure_domain"].fail_next("ensure_domain", DriverError("no"), times=1000)
    assert world.finish(run.pk).state == "stuck"
    world.hosts["h1"].faults.clear()
    there = world.hosts["h1"].inventory().volumes
    host = lose(world, run.platform, admin)
    run = world.finish(run.pk)
    assert run.state == "undone"
    assert {"rejected", "given up"} <= events(run)
    assert run.journal.filter(event="unwinding", message="its host was declared lost").exists()
    assert world.directory.entries(SLUG) == []
    platform = Platform.objects.get(slug=SLUG)
    assert (platform.state, platform.left_on_id) == ("failed", platform.host_id)
    assert not LedgerEntry.objects.exists()
    host.faults.clear()
    assert host.inventory().volumes == there, "nothing was touched"


def test_an_undo_that_waits_ends(world: World, optics: Project, emmy: User, admin: User) -> None:
    run = approve(emmy, admin)
    world.prober.faults.unreachable = True
    engine.advance(run.pk)
    cut_off(world, run.platform)
    decisions.undo_run(acting_user=emmy, run_id=run.pk)
    assert world.finish(run.pk).state == "unwinding"
    lose(world, run.platform, admin)
    assert world.finish(run.pk).state == "undone"
    assert not LedgerEntry.objects.exists()
    sound()


def test_a_change_goes_back_to_how_it_was(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    cut_off(world, alpha)
    asked = changes.submit_change(
        acting_user=emmy, slug=SLUG, justification="more", sizes={"www": {"memory_mib": 1024}}
    )
    run = requests.approve_request(acting_user=admin, request_id=asked.pk)
    assert world.finish(run.pk).state == "running"
    lose(world, alpha, admin)
    run = world.finish(run.pk)
    assert run.state == "undone"
    platform = Platform.objects.get(pk=alpha.pk)
    assert (platform.state, platform.lost, platform.unknown) == ("ready", True, False)
    assert platform.plan == alpha.plan
    assert LedgerEntry.objects.get().committed
    sound()


@pytest.mark.parametrize("action", ["start", "stop", "restart", "suspend", "resume"])
def test_other_runs_stop_there_and_can_be_given_up(
    action: str, world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    """Visible, and with a way out: what cannot be made is refused, and taking it back ends at once."""
    before = {"start": "stop", "resume": "suspend"}.get(action)
    if before:
        world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action=before).pk)
    state = Platform.objects.get(pk=alpha.pk).state
    cut_off(world, alpha)
    run = world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action=action).pk)
    assert run.state == "running"
    lose(world, alpha, admin)
    run = world.finish(run.pk)
    if action == "stop":
        assert (run.state, Platform.objects.get(pk=alpha.pk).state) == ("done", "stopped")
    else:
        assert run.state == "stuck"
        assert {step.error for step in decisions.failed(run.steps.all())} == {"its host was declared lost"}
        decisions.undo_run(acting_user=emmy, run_id=run.pk)
        assert world.finish(run.pk).state == "undone"
        assert Platform.objects.get(pk=alpha.pk).state == state
    sound()
    assert retire(world, emmy).state == "done"
    sound()


def test_a_clearing_that_waits_ends(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    retire(world, emmy)
    volume = alpha.plan.machine("www").data_volume
    world.host_of(alpha).ensure_volume(volume, 1)
    reconcile.reconcile()
    run = drift.repair_drift(acting_user=admin, drift_id=Drift.objects.get().pk)
    cut_off(world, alpha)
    assert world.finish(run.pk).state == "running"
    host = lose(world, alpha, admin)
    assert world.finish(run.pk).state == "done"
    host.faults.clear()
    assert volume in host.inventory().volumes
    reconcile.reconcile()
    assert Drift.objects.filter(name=volume, kind="extra").exists(), "it is found again"


def test_a_repair_stops_there(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    world.host_of(alpha).suspend_domain(alpha.plan.machine("www").uuid)
    reconcile.reconcile()
    run = drift.repair_drift(acting_user=admin, drift_id=Drift.objects.get().pk)
    lose(world, alpha, admin)
    assert world.finish(run.pk).state == "stuck"
    decisions.undo_run(acting_user=admin, run_id=run.pk)
    assert world.finish(run.pk).state == "undone"
    with pytest.raises(Conflict):
        drift.repair_drift(acting_user=admin, drift_id=Drift.objects.get(kind="paused").pk)


def test_other_hosts_and_memberships_do_not_notice(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    beta = ready_platform(world, emmy, admin, slug="beta")
    assert beta.host != alpha.host
    lose(world, alpha, admin)
    for action in ("stop", "start"):
        run = platforms.power_platform(acting_user=emmy, slug="beta", action=action)
        assert world.finish(run.pk).state == "done"
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    assert world.finish(Run.objects.latest("id").pk).state == "done"
    assert "alan" in world.directory.members(SLUG)


def test_expiry_gets_by(clock: Clock, world: World, alpha: Platform, emmy: User, admin: User) -> None:
    lose(world, alpha, admin)
    clock.forward(90)
    for _look in range(4):
        assert expiry.attend().failed == 0
        for run in Run.objects.filter(ended_at=None):
            assert world.finish(run.pk).state == "done"
        clock.forward(20)
    assert Platform.objects.get(pk=alpha.pk).state == "retired"
    sound()


# --- nothing new there, and nothing that collides --------------------------------------------------------------------


def test_nothing_new_is_placed_there(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    waiting = factories.submit(emmy, slug="beta", services=["svn"])
    lose(world, waiting.platform, admin)
    with pytest.raises(Conflict, match="declared lost"):
        requests.approve_request(acting_user=admin, request_id=waiting.pk)
    requests.replan_request(acting_user=admin, request_id=waiting.pk)
    run = requests.approve_request(acting_user=admin, request_id=waiting.pk)
    assert world.finish(run.pk).state == "done"
    asked = factories.submit(emmy, slug="gamma", services=["svn"])
    assert asked.platform.host == alpha.host
    Host.objects.filter(pk=alpha.host_id).update(enabled=False)
    with pytest.raises(Conflict, match="No host takes platforms"):
        factories.submit(emmy, slug="delta", services=["svn"])
    assert templates.hosts_with_templates() == []


@pytest.mark.parametrize("kind", ["start", "suspend"])
def test_nothing_is_begun_there(kind: str, world: World, alpha: Platform, emmy: User, admin: User) -> None:
    if kind == "start":
        world.finish(platforms.power_platform(acting_user=emmy, slug=SLUG, action="stop").pk)
    lose(world, alpha, admin)
    with pytest.raises(Conflict, match="declared lost"):
        platforms.power_platform(acting_user=emmy, slug=SLUG, action=kind)
    assert Run.objects.filter(ended_at=None).count() == 0


def test_what_may_still_be_there_keeps_its_name_and_addresses(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    lose(world, alpha, admin)
    retire(world, emmy)
    index = alpha.subnet_index
    assert Platform.objects.get(pk=alpha.pk).subnet_index == index
    with pytest.raises(InvalidInput, match="kept for what a former platform"):
        factories.submit(emmy)
    beta = ready_platform(world, emmy, admin, slug="beta")
    assert beta.subnet_index != index
    assert beta.plan.network.subnet != alpha.plan.network.subnet
    with pytest.raises(IntegrityError, match="one_living_platform_per_slug"), transaction.atomic():
        Platform.objects.filter(pk=beta.pk).update(slug=SLUG)
    (kept,) = host_views.all_reservations(acting_user=admin)
    assert (kept.platform.slug, kept.subnet) == (SLUG, alpha.plan.network.subnet)
    assert set(kept.macs) == {alpha.plan.network.mac, *(m.mac for m in alpha.plan.machines)}
    sound()


def test_a_plan_that_would_collide_is_made_again(
    world: World, alpha: Platform, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By chance a new platform would get the MACs of one that was left on a lost host."""
    lose(world, alpha, admin)
    retire(world, emmy)
    given = iter([alpha.uuid])
    real = planning.uuid4
    monkeypatch.setattr(planning, "uuid4", lambda: next(given, None) or real())
    asked = factories.submit(emmy, slug="beta")
    assert asked.platform.uuid != alpha.uuid
    assert next(given, None) is None
    data = asked.platform.plan.as_json()
    data["network"]["mac"] = alpha.plan.network.mac
    Platform.objects.filter(pk=asked.platform_id).update(plan_data=data)
    asked.refresh_from_db()
    asked.platform.refresh_from_db()
    offered = planning.offer(asked)
    assert offered is not None
    assert any("are kept for what alpha" in why for why in offered.problems)
    assert {wrong.code for wrong in books.check()} == {"shared"}


# --- the table -------------------------------------------------------------------------------------------------------


def test_what_becomes_of_each_step() -> None:
    for action in places.PLACES:
        for verb in Verb:
            for unwinding in (False, True):
                found = places.fate(action, verb, unwinding=unwinding)
                if places.place_of(action) is not places.Place.HOST:
                    assert found is Fate.DONE
                elif unwinding:
                    assert found is Fate.GIVEN_UP
    for step in saga.retire_steps({"www": "image"}):
        assert places.fate(step.action, step.verb, unwinding=False) is not Fate.REFUSED
    for kind in (RunKind.START, RunKind.RESUME, RunKind.SUSPEND):
        (first, *_rest) = saga.power_steps(kind, ["www"])
        assert places.fate(first.action, first.verb, unwinding=False) is Fate.REFUSED


def test_no_command_is_half_done(world: World, alpha: Platform, emmy: User, admin: User) -> None:
    lose(world, alpha, admin)
    before = list(Run.objects.values())
    for command in ("start", "restart", "resume"):
        with pytest.raises(ServiceError), transaction.atomic():
            platforms.power_platform(acting_user=emmy, slug=SLUG, action=command)
    assert list(Run.objects.values()) == before
    assert Platform.objects.get(pk=alpha.pk).expires_on == alpha.expires_on
    assert alpha.expires_on is not None
    assert alpha.expires_on - timedelta(days=90) == alpha.term_from
