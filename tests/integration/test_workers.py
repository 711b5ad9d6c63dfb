"""Several workers at one run: no step is done twice, and who lost a lease is not heard."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import connections

from placo.platforms.models import JournalEntry, Project, Run, User
from placo.services import engine, steps
from placo.services.work import Done
from tests.factories import approve
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
