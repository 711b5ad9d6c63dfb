"""What the engine asks for: few queries a step, one transaction, and a doorbell for each free step but for none in vain."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from placo.domain.lifecycle import RunKind
from placo.domain.saga import StepSpec, Verb
from placo.platforms.models import Platform, Project, Run, User
from placo.services import engine, runs, steps
from placo.services.work import Answer, Done, Work
from tests.factories import approve, ready_platform
from tests.fakes import World

LINE = 12
A_STEP = 5
"""Queries: whether the lease holds; the run, its steps; all that is written; the commit is none."""
A_RUN = 12
"""Once: the first claim, what the steps need to know of the platform, what the end means for it."""


def _line(monkeypatch: pytest.MonkeyPatch, platform: Platform, admin: User) -> Run:
    """A run of steps that do nothing but ask, once, whether they still may; each needs the one before."""

    def nothing(work: Work) -> Answer:
        work.guard()
        return Done()

    monkeypatch.setitem(steps.ACTIONS, "nothing", (nothing, nothing))
    names = [f"nothing-{number}" for number in range(LINE)]
    specs = [
        StepSpec(name, "nothing", Verb.ENSURE, "", tuple(names[:number][-1:]))
        for number, name in enumerate(names)
    ]
    with transaction.atomic():
        return runs.start(platform, RunKind.RESTART, specs, acting_user=admin)


def test_a_step_costs_few_queries(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _line(monkeypatch, ready_platform(world, emmy, admin), admin)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert engine.advance(run.pk) == LINE

    assert Run.objects.get(pk=run.pk).state == "done"
    told = [query["sql"] for query in asked if "SAVEPOINT" not in query["sql"]]
    assert len(told) <= A_STEP * LINE + A_RUN, "\n".join(told)


@pytest.mark.django_db(transaction=True)
def test_a_result_and_the_next_claim_are_one_transaction(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that cannot be written takes the result before it along: both are in the journal, or neither."""
    run = _line(monkeypatch, ready_platform(world, emmy, admin), admin)
    first = engine._claim(run.pk)
    assert first is not None

    def broken(*_arguments: object) -> object:
        raise RuntimeError("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_take", broken)
        with pytest.raises(RuntimeError):
            engine._perform(first, go_on=True)
    assert list(run.journal.order_by("id").values_list("event", flat=True)) == ["started", "intended"]

    second = engine._perform(first, go_on=True)
    assert second is not None
    events = list(run.journal.order_by("id").values_list("step__name", "event"))
    assert events[2:] == [("nothing-0", "done"), ("nothing-1", "intended")]


def test_every_free_step_has_a_worker(
    world: World, optics: Project, emmy: User, admin: User, django_capture_on_commit_callbacks: Any
) -> None:
    """Workers come when they are rung for and go on by themselves; nobody sweeps. None comes in vain if all come at once."""
    with django_capture_on_commit_callbacks(execute=True):
        run = approve(emmy, admin)
    working: list[engine.Claim] = []
    vain = 0
    while world.rings or working:
        with django_capture_on_commit_callbacks(execute=True):
            if world.rings:
                world.rings.pop(0)
                claim = engine._claim(run.pk)
                vain += claim is None
            else:
                claim = engine._perform(working.pop(0), go_on=True)
        working += [claim] if claim else []
        if not world.rings:
            now = Run.objects.get(pk=run.pk)
            due = runs.due_steps(now, list(now.steps.all()))
            assert all(step.lease_until for step in due), [step.name for step in due]

    assert Run.objects.get(pk=run.pk).state == "done"
    assert vain == 0


def test_what_waits_is_rung_for_once(
    world: World, optics: Project, emmy: User, admin: User, django_capture_on_commit_callbacks: Any
) -> None:
    """One worker does everything, since nobody else comes: it does not ring again and again for what is ready all the time."""
    with django_capture_on_commit_callbacks(execute=True):
        run = approve(emmy, admin)
        engine.advance(run.pk)

    assert Run.objects.get(pk=run.pk).state == "done"
    assert len(world.rings) <= run.steps.count() / 2
