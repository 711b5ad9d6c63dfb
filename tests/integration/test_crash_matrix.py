"""Every step of every saga, disturbed in every way: afterwards the platform is complete or nothing of it is left.

The list of steps is the sagas' own, so that a new step is disturbed too. What "complete" is, an undisturbed run of the same
saga says: the same things in the world, the same power, the same books. What is there before a saga is made once and put back for each disturbance.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_django
from django.db import connection, connections, transaction

from placo.domain.lifecycle import RunKind
from placo.domain.saga import Verb
from placo.drivers.ports import DriverError, Rejected
from placo.platforms.models import (
    Run,
    Step,
    User,
)
from placo.services import (
    decisions,
    engine,
    steps,
)
from placo.services.work import Answer, Done, Guard
from tests.factories import make_hosts, make_project, make_user, ready_platform
from tests.fakes import World, make_world
from tests.integration.ended import State, sound_books, state_of
from tests.integration.kept import Kept, keep, put_back
from tests.integration.sagas import SAGAS, Saga

PLACES = [
    pytest.param(name, step.id, id=f"{name}-{step.id}") for name, way in SAGAS.items() for step in way.steps
]


def test_every_kind_of_run_is_disturbed() -> None:
    assert {way.kind for way in SAGAS.values()} == set(RunKind)


def _until(world: World, way: Saga, emmy: User, admin: User) -> None:
    for name in way.before:
        if name == "create":
            ready_platform(world, emmy, admin, services=list(way.services))
        else:
            assert world.finish(SAGAS[name].start(emmy, admin).pk).state == "done"


@dataclass(frozen=True)
class Undisturbed:
    """What there was before a saga, if anything, and after it. From `beginning` on it can be done again."""

    beginning: Kept
    before: State | None
    after: State


@pytest.fixture(scope="module")
def undisturbed(
    django_db_setup: None,
    django_db_blocker: pytest_django.DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Undisturbed]:
    """Every saga once, in worlds of their own that are forgotten afterwards. For tests that have a database."""
    assert str(connection.settings_dict["NAME"]).startswith("test_")
    found = {}
    for name, way in SAGAS.items():
        with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock(), transaction.atomic():
            folder = tmp_path_factory.mktemp(name)
            world = make_world(patch, folder)
            emmy, admin = make_user("emmy"), make_user("ada", administrator=True)
            make_hosts()
            make_project("optics", emmy)
            if way.warm:
                world.warm()
            _until(world, way, emmy, admin)
            beginning = keep(world, folder, tmp_path_factory.mktemp(f"{name}-kept"))
            before = state_of(world) if way.before else None
            run = world.finish(way.start(emmy, admin).pk)
            assert run.state == "done"
            assert {step.name for step in run.steps.all()} == {step.id for step in way.steps}, name
            sound_books(run)
            found[name] = Undisturbed(beginning, before, state_of(world))
            transaction.set_rollback(True)
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("name", SAGAS)
def test_undisturbed(name: str, undisturbed: dict[str, Undisturbed]) -> None:
    """That complete means complete, and gone means gone."""
    state = undisturbed[name].after
    kept = {"addresses"} if name == "retire-lost" else set()  # of what may still be on the lost host
    everything = {"domain", "volume", "network", "directory", "edge", "certificate", "addresses", "quota",
                  "membership", "machine"}  # fmt: skip
    everything |= {"names"}
    everything |= {"mail"} if name in ("mail-added", "other-settings") else set()
    assert {item.split()[0] for item in state.world} == (everything if state.platform != "retired" else kept)
    assert state.orphans == ()
    assert len(state.ledger) == (1 if state.platform != "retired" else 0)


# --- the disturbances ------------------------------------------------------------------------------------------------

Perform = Callable[[Step, Verb, Guard], Answer]


class Disturbed:
    """Stands in for `steps.perform` and disturbs the first `times` executions of one step."""

    def __init__(
        self, real: Perform, place: str, how: Callable[[Perform, Step, Verb, Guard], Answer]
    ) -> None:
        self._real, self._place, self._how = real, place, how
        self.disturbed = 0
        self.times = 1
        self.done: list[str] = []

    def __call__(self, step: Step, verb: Verb, guard: Guard) -> Answer:
        if step.name == self._place and self.disturbed < self.times:
            self.disturbed += 1
            return self._how(self._real, step, verb, guard)
        answer = self._real(step, verb, guard)
        if isinstance(answer, Done):
            self.done.append(step.name)
        return answer


@pytest.fixture
def begin(
    world: World, undisturbed: dict[str, Undisturbed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[Run, Disturbed]]:
    """`begin(saga, step, how)`: a run whose step will be disturbed, and the disturbance."""

    def begun(
        name: str, place: str, how: Callable[[Perform, Step, Verb, Guard], Answer]
    ) -> tuple[Run, Disturbed]:
        put_back(undisturbed[name].beginning, world, tmp_path)
        emmy, admin = (User.objects.get(username=uid) for uid in ("emmy", "ada"))
        disturbed = Disturbed(steps.perform, place, how)
        monkeypatch.setattr(steps, "perform", disturbed)
        return SAGAS[name].start(emmy, admin), disturbed

    return begun


Begin = Callable[..., tuple[Run, Disturbed]]


@pytest.fixture
def complete(undisturbed: dict[str, Undisturbed], world: World) -> Complete:
    """`complete(saga, run, disturbed)`: finish the run; what there is then, and what an undisturbed one leaves."""

    def check(name: str, run: Run, disturbed: Disturbed) -> tuple[State, State]:
        run = world.finish(run.pk)
        assert disturbed.disturbed
        assert run.state == "done", [(s.name, s.state, s.error) for s in run.steps.all()]
        sound_books(run)
        return state_of(world), undisturbed[name].after

    return check


Complete = Callable[[str, Run, Disturbed], tuple[State, State]]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_failing_before_the_effect(name: str, place: str, begin: Begin, complete: Complete) -> None:
    def how(_real: Perform, _step: Step, _verb: Verb, _guard: Guard) -> Answer:
        raise DriverError("before")

    found, wanted = complete(name, *begin(name, place, how))
    assert found == wanted


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_failing_after_the_effect(name: str, place: str, begin: Begin, complete: Complete) -> None:
    def how(real: Perform, step: Step, verb: Verb, guard: Guard) -> Answer:
        real(step, verb, guard)
        raise DriverError("after")

    found, wanted = complete(name, *begin(name, place, how))
    assert found == wanted


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_doing_twice(name: str, place: str, begin: Begin, complete: Complete) -> None:
    def how(real: Perform, step: Step, verb: Verb, guard: Guard) -> Answer:
        real(step, verb, guard)
        step.attempts += 1  # what the engine would have counted
        return real(step, verb, guard)

    found, wanted = complete(name, *begin(name, place, how))
    assert found == wanted


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_two_workers_at_once(name: str, place: str, begin: Begin, complete: Complete) -> None:
    """While one worker is inside the step, another one does whatever else is due: never this step."""
    meanwhile: list[str] = []

    def how(real: Perform, step: Step, verb: Verb, guard: Guard) -> Answer:
        engine.advance(step.run_id)
        meanwhile.extend(disturbed.done)
        return real(step, verb, guard)

    run, disturbed = begin(name, place, how)
    found, wanted = complete(name, run, disturbed)
    assert found == wanted
    assert place not in meanwhile
    assert disturbed.done.count(place) == 0  # once, by the first worker


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_losing_the_lease_in_the_middle(
    name: str, place: str, world: World, begin: Begin, complete: Complete
) -> None:
    """At its first effect the worker's lease is over, and another worker does the step: the first one does nothing more."""
    effects: list[str] = []

    def how(real: Perform, step: Step, verb: Verb, guard: Guard) -> Answer:
        taken_over = False

        def slow() -> None:
            nonlocal taken_over
            if not taken_over:
                taken_over = True
                world.lose_leases(step.run_id)
                engine.advance(step.run_id)
            guard()
            effects.append(step.name)

        return real(step, verb, slow)

    run, disturbed = begin(name, place, how)
    found, wanted = complete(name, run, disturbed)
    assert found == wanted
    assert effects == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("name", "place"), PLACES)
def test_killed_between_effect_and_journal(
    name: str, place: str, world: World, begin: Begin, complete: Complete
) -> None:
    """A worker of its own process gets SIGKILL when the effect is there and nobody has heard of it."""

    def how(real: Perform, step: Step, verb: Verb, guard: Guard) -> Answer:
        real(step, verb, guard)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")

    run, disturbed = begin(name, place, how)
    assert _in_a_process(lambda: world.finish(run.pk)) == -signal.SIGKILL
    disturbed.disturbed = 1
    assert run.steps.get(name=place).lease_until is not None
    world.lose_leases(run.pk)
    found, wanted = complete(name, run, disturbed)
    assert found == wanted
    assert run.steps.get(name=place).attempts >= 2


def _in_a_process(work: Callable[[], Any]) -> int:
    """Do `work` in a child of this process; its exit status, negative for a signal, as subprocess has it."""
    connections.close_all()
    connection.close_pool()  # type: ignore[attr-defined] # of the PostgreSQL backend: its threads do not survive a fork
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    _pid, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


UNDOABLE = [
    pytest.param(name, step.id, id=f"{name}-{step.id}")
    for name, way in SAGAS.items()
    for step in way.steps
    if way.kind not in (RunKind.RETIRE, RunKind.REPAIR)
    and not step.final  # an undone repair has mended all the same
]


@pytest.mark.parametrize(("name", "place"), UNDOABLE)
def test_undoing_everything_twice(
    name: str,
    place: str,
    world: World,
    begin: Begin,
    undisturbed: dict[str, Undisturbed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The step did its effect and is then refused for good; every undo happens twice: nothing is left of the run."""

    def how(real: Perform, step: Step, verb: Verb, guard: Guard) -> Answer:
        real(step, verb, guard)
        raise Rejected("never")

    run, disturbed = begin(name, place, how)
    run = world.finish(run.pk)
    if run.state == "stuck":
        decisions.undo_run(acting_user=User.objects.get(username="emmy"), run_id=run.pk)
    once = steps.perform

    def twice(step: Step, verb: Verb, guard: Guard) -> Answer:
        once(step, verb, guard)
        return once(step, verb, guard)

    monkeypatch.setattr(steps, "perform", twice)
    run = world.finish(run.pk)

    assert disturbed.disturbed
    assert run.state == "undone", [(s.name, s.state, s.error) for s in run.steps.all()]
    sound_books(run)
    found = state_of(world)
    assert found.orphans == ()
    if SAGAS[name].kind is RunKind.CREATE:
        assert (found.platform, found.world, found.powers, found.members, found.ledger) == (
            "failed",
            (),
            (),
            (),
            (),
        )
    elif name not in ("remove", "step-down"):  # who could not be removed is no member afterwards all the same
        assert found == undisturbed[name].before
