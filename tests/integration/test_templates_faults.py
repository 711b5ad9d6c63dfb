"""What goes wrong while machines are resumed: tried again, or booted in the same run, and never in between."""

from __future__ import annotations

import pytest

from placo.domain import saga
from placo.drivers.ports import DomainSpec, DriverError, Rejected, TemplateBroken, Unavailable
from placo.platforms.models import AuditEvent, Template, User
from placo.services import audit, engine, outcomes, runs, steps
from tests.factories import approve
from tests.fakes import World
from tests.integration.warm import (
    SLUG,
    WARM_OPERATIONS,
    Death,
    advance_to_death,
    all_,
    assert_complete,
    machines,
    ways,
)

# --- falling back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", WARM_OPERATIONS)
def test_what_fails_once_is_tried_again_warm(operation: str, warm: World, emmy: User, admin: User) -> None:
    run = approve(emmy, admin)
    warm.host_of(run.platform).faults.fail_next(operation, DriverError(f"{operation} failed"))
    run = warm.finish(run.pk)

    assert ways() == all_("warm")
    assert_complete(warm, run)
    assert run.journal.filter(event="retry", message=f"{operation} failed").count() == 1
    assert not AuditEvent.objects.filter(verb="template.broken").exists()


@pytest.mark.parametrize(
    "operation",
    ["ensure_clone_disk", "ensure_clone_memory", "resume_clone", "personalise", "settled"],
)
def test_what_fails_twice_is_booted_in_the_same_run(
    operation: str, warm: World, emmy: User, admin: User
) -> None:
    run = approve(emmy, admin, services=["web"])
    host = warm.host_of(run.platform)
    old = Template.objects.get(host__name=host.name, image__startswith="placo-www-")
    host.faults.fail_next(operation, DriverError("qemu: cannot load"), times=2)
    run = warm.finish(run.pk)

    assert ways() == {"www": ("cold", Template.FELL_BACK)}
    assert "qemu: cannot load" in machines()["www"].way_detail
    assert machines()["www"].template == ""
    assert_complete(warm, run)
    assert run.journal.filter(event="cold", message="qemu: cannot load").count() == 1
    row = Template.objects.get(pk=old.pk)
    assert (row.state, row.reason) == (Template.BROKEN, "qemu: cannot load")
    (event,) = AuditEvent.objects.filter(verb="template.broken")
    assert (event.subject, event.detail["host"], event.detail["run"]) == (old.name, host.name, run.pk)

    warm.warm()
    row = Template.objects.get(pk=old.pk)
    assert (row.state, row.reason) == (Template.READY, "")
    assert row.name == f"{old.name}-1"
    assert not [v for v in host.inventory().volumes if v.startswith(f"{old.name}.")]
    other = approve(emmy, admin, slug="beta", services=["web"])
    if other.platform.host.name != host.name:  # the next one is on the same host again
        other = approve(emmy, admin, slug="gamma", services=["web"])
    warm.finish(other.pk)
    assert machines(other.platform.slug)["www"].template == row.name


@pytest.mark.parametrize(
    "operation",
    [
        "ensure_clone_disk",
        "ensure_clone_memory",
        "upload",
        "resume_clone",
        "restored",
        "personalise",
        "plug",
        "settled",
    ],
)
def test_a_broken_template_is_left_at_once(operation: str, warm: World, emmy: User, admin: User) -> None:
    run = approve(emmy, admin, services=["web"])
    host = warm.host_of(run.platform)
    host.faults.fail_next(operation, TemplateBroken("its memory is damaged"))
    run = warm.finish(run.pk)

    assert ways() == {"www": ("cold", Template.FELL_BACK)}
    assert_complete(warm, run)
    assert not run.journal.filter(event="retry").exists()
    m = run.platform.plan.machines[0]
    assert host.backing(m.system_volume) == f"{m.image}.qcow2"


@pytest.mark.parametrize("guests", ["failing_guests", "dying_guests"])
def test_a_guest_that_cannot_take_its_settings_is_booted(
    guests: str, warm: World, emmy: User, admin: User
) -> None:
    run = approve(emmy, admin)
    host = warm.host_of(run.platform)
    getattr(host.templates, guests).add(run.platform.plan.machine("www").uuid)
    run = warm.finish(run.pk)

    assert ways() == {"www": ("cold", Template.FELL_BACK), "svn": ("warm", "")}
    assert_complete(warm, run)


def test_a_guest_that_never_takes_its_settings_is_booted(warm: World, emmy: User, admin: User) -> None:
    run = approve(emmy, admin, services=["web"])
    host = warm.host_of(run.platform)
    host.templates.mute_guests.add(run.platform.plan.machine("www").uuid)
    for _round in range(4):
        engine.advance(run.pk)
        warm.let_time_pass(run.pk)
    assert run.steps.get(name="personalise:www").state == "waiting"
    warm.make_older(run.pk, 61)
    for _round in range(4):
        engine.advance(run.pk)
        warm.let_time_pass(run.pk)
    run = warm.finish(run.pk)

    assert ways() == {"www": ("cold", Template.FELL_BACK)}
    assert_complete(warm, run)


def test_a_machine_that_booted_finds_no_half_of_its_data(
    warm: World, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest may have written to its data volume before it could not go on."""
    run = approve(emmy, admin, services=["web"])
    host = warm.host_of(run.platform)
    m = run.platform.plan.machines[0]
    host.templates.failing_guests.add(m.uuid)
    written: list[bool] = []
    start = host.start_domain

    def start_domain(uuid: str) -> None:
        written.append(host.was_written(m.data_volume))
        start(uuid)

    monkeypatch.setattr(host, "start_domain", start_domain)
    run = warm.finish(run.pk)

    assert ways() == {"www": ("cold", Template.FELL_BACK)}
    assert written == [False]


def test_an_outage_never_sends_a_machine_the_cold_way(warm: World, emmy: User, admin: User) -> None:
    run = approve(emmy, admin)
    host = warm.host_of(run.platform)
    for operation in WARM_OPERATIONS:
        host.faults.fail_next(operation, Unavailable(f"{operation} is out"), times=5)
    run = warm.finish(run.pk)

    assert ways() == all_("warm")
    assert_complete(warm, run)
    assert not AuditEvent.objects.filter(verb="template.broken").exists()
    waited = set(run.journal.filter(event=outcomes.AWAY).values_list("message", flat=True))
    assert {f"{operation} is out" for operation in WARM_OPERATIONS} <= waited


def test_a_copy_of_the_data_volume_may_fail_for_good(warm: World, emmy: User, admin: User) -> None:
    run = approve(emmy, admin)
    warm.host_of(run.platform).faults.fail_next("ensure_clone_data", TemplateBroken("no blank"), times=2)
    run = warm.finish(run.pk)

    assert ways() == all_("warm")
    assert_complete(warm, run)


def test_a_clone_that_stopped_is_resumed_over_a_new_disk(
    warm: World, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ran for a moment may have written: its memory no longer knows that disk."""
    run = approve(emmy, admin)
    host = warm.host_of(run.platform)
    resume, died = host.resume_clone, set()

    def resume_clone(spec: DomainSpec, memory: str) -> None:
        resume(spec, memory)
        if spec.uuid not in died:
            died.add(spec.uuid)
            host.kill_domain(spec.uuid)
            raise DriverError("the host lost it")

    monkeypatch.setattr(host, "resume_clone", resume_clone)
    run = warm.finish(run.pk)

    assert len(died) == 2
    assert ways() == all_("warm")
    assert_complete(warm, run)


# --- workers that die, runs that turn back ----------------------------------------------------------------------------


@pytest.mark.parametrize("operation", WARM_OPERATIONS)
def test_a_worker_dies_in_each_operation(operation: str, warm: World, emmy: User, admin: User) -> None:
    run = approve(emmy, admin)
    warm.host_of(run.platform).faults.fail_next(operation, Death())

    assert advance_to_death(warm, run) == 1
    assert_complete(warm, warm.finish(run.pk))
    assert ways() == all_("warm")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_dies_before_and_after_each_step(
    when: str, warm: World, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, dead = steps.perform, set()

    def perform(step: object, verb: object, guard: object) -> object:
        name = step.name  # type: ignore[attr-defined]
        answer = None if when == "before" and name not in dead else real(step, verb, guard)  # type: ignore[arg-type]
        if name not in dead:
            dead.add(name)
            raise Death
        return answer

    monkeypatch.setattr(steps, "perform", perform)
    run = approve(emmy, admin)

    assert advance_to_death(warm, run) == run.steps.count()
    assert_complete(warm, warm.finish(run.pk))
    assert ways() == all_("warm")


@pytest.mark.parametrize(
    "operation",
    [
        "ensure_clone_disk",
        "ensure_clone_data",
        "ensure_clone_memory",
        "upload",
        "resume_clone",
        "restored",
        "personalise",
        "settled",
    ],
)
def test_an_unwinding_leaves_nothing_of_a_warm_machine(
    operation: str, warm: World, emmy: User, admin: User
) -> None:
    """A worker dies in the middle; then the platform is refused, wherever its machines are."""
    run = approve(emmy, admin)
    host = warm.host_of(run.platform)
    templates_there = {v for v in host.inventory().volumes if "--" in v}
    host.faults.fail_next(operation, Death())
    try:
        while engine.advance(run.pk):
            warm.let_time_pass(run.pk)
    except Death:
        warm.lose_leases(run.pk)
    else:
        raise AssertionError("nobody died")
    run.refresh_from_db()
    runs.begin_unwinding(run, list(run.steps.all()), "changed my mind")
    run.save()
    run = warm.finish(run.pk)

    assert run.state == "undone"
    assert warm.audit(SLUG) == []
    assert audit.orphans() == []
    assert {v for v in host.inventory().volumes if "--" in v} == templates_there


def test_a_refusal_turns_a_warm_creation_back(warm: World, emmy: User, admin: User) -> None:
    warm.edge.faults.fail_next("ensure_site", Rejected("never"))
    run = approve(emmy, admin)
    for name in ("remove_domain", "remove_volume"):
        warm.host_of(run.platform).faults.fail_next(name, Unavailable("busy"), times=2)
    run = warm.finish(run.pk)

    assert run.state == "undone"
    assert warm.audit(SLUG) == []


def test_nothing_of_the_warm_attempt_is_left_when_taking_it_away_fails(
    warm: World, emmy: User, admin: User
) -> None:
    for times in (1, 2, 3):
        run = approve(emmy, admin, slug=f"alpha{times}", services=["web"])
        host = warm.host_of(run.platform)
        host.faults.fail_next("resume_clone", TemplateBroken("damaged"))
        for name in ("remove_domain", "remove_volume"):
            host.faults.fail_next(name, DriverError("busy"), times=times)
        run = warm.finish(run.pk)
        assert run.state == "done"
        volumes = {f.name for f in warm.audit(f"alpha{times}") if f.kind == "volume"}
        m = run.platform.plan.machines[0]
        assert volumes == {m.system_volume, m.data_volume}


def test_a_second_failure_of_the_first_kind_is_counted_from_the_start_for_the_cold_way(
    warm: World, emmy: User, admin: User
) -> None:
    """The tries of the cold way are its own: power may fail as often as for any cold machine."""
    run = approve(emmy, admin, services=["web"])
    host = warm.host_of(run.platform)
    host.faults.fail_next("resume_clone", DriverError("no"), times=saga.WARM_TRIES)
    host.faults.fail_next("start_domain", DriverError("no"), times=5)

    assert_complete(warm, warm.finish(run.pk))
    assert ways() == {"www": ("cold", Template.FELL_BACK)}
