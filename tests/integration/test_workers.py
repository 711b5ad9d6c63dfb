"""Several workers at one run: no step is done twice, and who lost a lease is not heard."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from placo.domain import saga
from placo.platforms.models import JournalEntry, Machine, Project, Run, Step, User
from placo.services import engine, platforms, runs, steps
from placo.services.work import Done, LeaseLost
from tests.factories import approve, ready_platform
from tests.fakes import World

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*tasks: Callable[[], object]) -> None:
    """Run these in a thread each, with database connections of their own; the first fault of any is raised."""
    faults: list[BaseException] = []

    def work(task: Callable[[], object]) -> None:
        try:
            task()
        except BaseException as fault:  # noqa: BLE001 - told to the test below
            faults.append(fault)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    if faults:
        raise faults[0]


def test_workers_at_once_do_each_step_once(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: Counter[str] = Counter()
    real, lock = steps.perform, threading.Lock()

    def counted(step: object, verb: object, guard: object) -> object:
        answer = real(step, verb, guard)  # type: ignore[arg-type]
        if isinstance(answer, Done):
            with lock:
                done[step.name] += 1  # type: ignore[attr-defined]
        return answer

    monkeypatch.setattr(steps, "perform", counted)
    run = approve(emmy, admin)
    at_once(*[lambda: [engine.advance(run.pk) for _turn in range(5)]] * 4)
    run = world.finish(run.pk)

    assert run.state == "done"
    assert set(done.values()) == {1}
    assert set(done) == set(run.steps.values_list("name", flat=True))
    fences = list(JournalEntry.objects.filter(run=run, event="intended").values_list("fence", flat=True))
    assert len(fences) == len(set(fences))


def test_independent_machines_advance_in_parallel(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers meet inside the steps of two machines: neither waits for the other to finish."""
    real, meeting = steps.perform, threading.Barrier(2)
    met: set[str] = set()

    def perform(step: object, verb: object, guard: object) -> object:
        name = step.name  # type: ignore[attr-defined]
        if name.startswith("data-volume:"):
            meeting.wait(timeout=30)
            met.add(name)
        return real(step, verb, guard)  # type: ignore[arg-type]

    monkeypatch.setattr(steps, "perform", perform)
    run = approve(emmy, admin)
    at_once(lambda: engine.advance(run.pk), lambda: engine.advance(run.pk))

    assert met == {"data-volume:www", "data-volume:svn"}
    assert world.finish(run.pk).state == "done"


def test_a_worker_that_lost_its_lease_is_not_heard(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker sleeps inside a step; its lease ends; another one does the step; then the first wakes up."""
    real, asleep, wake = steps.perform, threading.Event(), threading.Event()
    slept: list[str] = []

    def perform(step: object, verb: object, guard: object) -> object:
        if step.name == "network" and not slept:  # type: ignore[attr-defined]
            slept.append("network")
            asleep.set()
            assert wake.wait(timeout=30)
            raise RuntimeError("a result that comes too late")
        return real(step, verb, guard)  # type: ignore[arg-type]

    monkeypatch.setattr(steps, "perform", perform)
    run = approve(emmy, admin)

    def second() -> None:
        assert asleep.wait(timeout=30)
        world.lose_leases(run.pk)
        engine.advance(run.pk)
        wake.set()

    at_once(lambda: engine.advance(run.pk), second)

    network = run.steps.get(name="network")
    assert (network.state, network.failures, network.error) == ("done", 0, "")
    assert run.journal.filter(step=network, event="fenced").count() == 1
    assert run.journal.filter(step=network, event="done").count() == 1
    assert world.finish(run.pk).state == "done"


def test_a_worker_that_was_stopped_while_it_asked_for_its_lease_has_lost_it(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it then reads was true before it was stopped; another worker may be at the step since."""
    run = approve(emmy, admin)
    claim = engine._claim(run.pk)
    assert claim is not None
    step = run.steps.get(pk=claim.step_id)
    guard = engine._guard(claim, step.action)
    guard()

    began, late = timezone.now(), timezone.now() + timedelta(seconds=saga.policy(step.action).lease + 1)
    clock = iter([began])
    monkeypatch.setattr(engine.timezone, "now", lambda: next(clock, late))
    with pytest.raises(LeaseLost):
        guard()


def test_a_lease_that_was_renewed_after_it_was_looked_at_is_not_taken_over(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers renew their leases without the run's lock: also while another one holds it and finds them over."""
    run = approve(emmy, admin)
    claim = engine._claim(run.pk)
    assert claim is not None
    world.lose_leases(run.pk)
    step, look = run.steps.filter(pk=claim.step_id), runs.due_steps

    def looked(run: Run, rows: list[Step]) -> list[Step]:
        step.update(lease_until=timezone.now() + timedelta(seconds=60))
        return look(run, rows)

    monkeypatch.setattr(runs, "due_steps", looked)
    other = engine._claim(run.pk)
    assert other is not None and other.step_id != claim.step_id
    assert step.get().fence == claim.fence


def test_what_a_late_worker_has_to_say_of_a_machine_is_not_written(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps right after it has switched a machine off; meanwhile others retire the whole platform."""
    platform = ready_platform(world, emmy, admin, services=["web"])
    run = platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha")
    host, slept = world.host_of(platform), list[str]()
    real = host.kill_domain

    def kill(uuid: str) -> None:
        real(uuid)
        if not slept:
            slept.append(uuid)
            world.lose_leases(run.pk)
            assert world.finish(run.pk).state == "done"

    monkeypatch.setattr(host, "kill_domain", kill)
    engine.advance(run.pk)
    assert slept
    assert set(Machine.objects.values_list("state", flat=True)) == {"gone"}
    assert run.journal.filter(event="fenced").count() == 1
    assert world.audit("alpha") == []


def test_a_worker_that_died_is_replaced_when_its_lease_is_over(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = approve(emmy, admin)
    claim = engine._claim(run.pk)
    assert claim is not None
    dead = run.steps.get(pk=claim.step_id)

    engine.advance(run.pk)
    assert run.steps.get(pk=dead.pk).state == "running"  # nobody touches it while its lease holds

    world.lose_leases(run.pk)
    assert world.finish(run.pk).state == "done"
    assert run.steps.get(pk=dead.pk).attempts == 2


def test_a_refusal_voids_the_claims_of_other_workers(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker is inside a step while another one's refusal turns the run round: what it made is undone all the same."""
    from placo.drivers.ports import Rejected

    real, inside, turned = steps.perform, threading.Event(), threading.Event()

    def perform(step: object, verb: object, guard: object) -> object:
        name = step.name  # type: ignore[attr-defined]
        if name == "network" and verb.value == "ensure":  # type: ignore[attr-defined]
            inside.set()
            assert turned.wait(timeout=30)
        if name == "directory" and verb.value == "ensure":  # type: ignore[attr-defined]
            assert inside.wait(timeout=30)
            raise Rejected("never")
        return real(step, verb, guard)  # type: ignore[arg-type]

    monkeypatch.setattr(steps, "perform", perform)
    run = approve(emmy, admin)

    def second() -> None:
        assert inside.wait(timeout=30)
        engine.advance(run.pk)
        assert Run.objects.get(pk=run.pk).state == "unwinding"
        turned.set()

    at_once(lambda: engine.advance(run.pk), second)

    assert world.finish(run.pk).state == "undone"
    assert world.audit("alpha") == []


def test_the_sweep_finds_every_run_that_has_something_to_do(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = approve(emmy, admin)
    assert world.rings == [(run.pk, 0)]
    assert engine.due_runs() == [run.pk]
    world.finish(run.pk)
    assert engine.due_runs() == []
