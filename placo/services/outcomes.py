"""What comes of one attempt at a step, written into the rows of a run that its caller has locked and writes afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.utils import timezone

from placo.domain import places, saga
from placo.domain.drift import SITE_PLACES
from placo.domain.lifecycle import RunKind, RunState, StepState
from placo.platforms.models import Machine, Run, Step, Template
from placo.services import asking, runs
from placo.services.work import NotYet

Outcome = Callable[[Run, Step, list[Step]], str]
"""What becomes of a step of a locked run, given all of its steps; the answer is the event for the journal."""

AWAY = "away"
"""The event of a step whose place does not answer."""

GIVEN_UP = "given up"
"""The event of a step that has nothing to do any more, for what it is about is lost with its host."""


def took_too_long(run: Run, step: Step, _rows: list[Step]) -> str:
    """This worker was slower than its lease, and nobody took over yet: somebody does it again, at once."""
    step.state = _idle(run)
    runs.ring(run.pk)
    return "expired"


def done(run: Run, step: Step, _rows: list[Step], *, message: str) -> str:
    step.state = (StepState.UNDONE if run.state == RunState.UNWINDING.value else StepState.DONE).value
    step.finished_at, step.not_before, step.message, step.failures = timezone.now(), None, message[:300], 0
    return step.state


def given_up(run: Run, step: Step, rows: list[Step], *, message: str) -> str:
    """It counts as done, and the journal says that it was not."""
    done(run, step, rows, message=message)
    return GIVEN_UP


def waiting(run: Run, step: Step, rows: list[Step], *, answer: NotYet) -> str:
    now = timezone.now()
    patience = timedelta(seconds=saga.policy(step.action).deadline * answer.patience)
    if step.started_at is not None and now - step.started_at > patience:
        step.failures, why = saga.policy(step.action).attempts, f"gave up waiting: {answer.message}"
        if run.kind == RunKind.REBUILD.value:  # its old system is there: nobody has to decide
            return rejected(run, step, rows, why=why)
        return failed(run, step, rows, why=why)
    step.state = _idle(run)
    step.not_before, step.message = now + timedelta(seconds=answer.after), answer.message[:300]
    runs.ring(run.pk, after=answer.after)
    return StepState.WAITING.value


def going_cold(run: Run, step: Step, rows: list[Step], *, why: str) -> str:
    """The machine boots instead of being resumed: what depends on the way is to be done again, in this same run."""
    platform = run.platform_id
    Machine.objects.filter(platform=platform, name=step.target).update(
        way=Machine.COLD, template="", way_reason=Template.FELL_BACK, way_detail=why[:300]
    )
    for row in rows:
        if row.target == step.target and row.action in saga.WAY_ACTIONS and row.attempts:
            row.state, row.failures, row.not_before = StepState.PENDING.value, 0, None
            row.started_at, row.message = None, ""
            row.forget_outage()
            if row.pk != step.pk:
                # A worker may still be at it, the old way: its number is void, and nobody else is before its lease ends.
                row.fence = None
                row.save()
    step.message = why[:300]
    runs.ring(run.pk)
    return "cold"


def _idle(run: Run) -> str:
    return (StepState.UNDOING if run.state == RunState.UNWINDING.value else StepState.WAITING).value


def away(run: Run, step: Step, rows: list[Step], *, why: str, place: str) -> str:
    """Its place does not answer: that is waited for, and no failure. Afterwards the step has its whole patience again.

    A step that was rung for because its place answers, and is not heard there all the same, is not let wait for ever.
    """
    now = timezone.now()
    if step.waits_for != place or step.away_since is None:
        step.waits_for, step.away_since, step.unheard = place, now, 0
        asking.ask(None if place in SITE_PLACES else place)  # so that everybody knows
    elif step.not_before is None:
        step.unheard += 1
    if step.unheard >= places.UNHEARD_LIMIT:
        step.failures = saga.policy(step.action).attempts
        return failed(run, step, rows, why=f"{place} answers, but never to this step: {why}")
    wait = places.wait_s((now - step.away_since).total_seconds())
    step.state, step.not_before = _idle(run), now + timedelta(seconds=wait)
    step.error, step.started_at = why[:2000], None
    runs.ring(run.pk, after=wait)
    return AWAY


def failed(run: Run, step: Step, _rows: list[Step], *, why: str) -> str:
    step.failures, step.error = step.failures + 1, why[:2000]
    policy = saga.policy(step.action)
    if step.failures >= policy.attempts:
        step.state, step.not_before = StepState.FAILED.value, None
        return StepState.FAILED.value
    wait = saga.backoff(step.failures)
    step.state, step.not_before = _idle(run), timezone.now() + timedelta(seconds=wait)
    runs.ring(run.pk, after=wait)
    return "retry"


def rejected(run: Run, step: Step, rows: list[Step], *, why: str) -> str:
    step.error = why[:2000]
    final = any(row.final and row.attempts for row in rows)
    if final or run.state == RunState.UNWINDING.value or RunKind(run.kind) not in runs.UNWINDABLE:
        step.state, step.not_before = StepState.FAILED.value, None
        return StepState.FAILED.value
    runs.begin_unwinding(run, rows, why)
    runs.ring(run.pk)
    return "rejected"
