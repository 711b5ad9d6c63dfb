"""The engine: advances a run by the steps that are due.

PostgreSQL is the truth, Celery a doorbell. A worker claims one due step under the run's row lock: it writes the intention to
the journal with a fencing number and a lease, commits, then acts, then takes the lock again and writes what came of it,
unless its fencing number is no longer the step's: then somebody else has taken over and the late result is dropped.
Steps are short; waiting is NotYet, not sleeping. Any number of workers may ring for one run: each claims another step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from django.db import connection, transaction
from django.utils import timezone

from placo import logs, metrics
from placo.domain import saga
from placo.domain.lifecycle import ACTIVE_RUNS, RunKind, RunState, StepState
from placo.domain.saga import Verb
from placo.drivers.ports import DriverError, Rejected, Unavailable
from placo.platforms.models import JournalEntry, Machine, Run, Step, Template
from placo.services import runs, steps
from placo.services.work import GoCold, Guard, LeaseLost, NotYet

log = logs.get_logger("placo.engine")


@dataclass(frozen=True)
class Claim:
    """One step that this worker may do, under this fencing number."""

    run_id: int
    step_id: int
    fence: int
    verb: Verb
    undoing: bool


def advance(run_id: int) -> int:
    """Do what is due of a run until nothing is; the number of steps tried."""
    tried = 0
    while (claim := _claim(run_id)) is not None:
        _perform(claim)
        tried += 1
    return tried


@transaction.atomic
def due_runs(limit: int = 500) -> list[int]:
    """Runs for which a worker has something to do: what the sweep rings for. Those at which one writes now are left out."""
    due = Run.objects.filter(due_at__lte=timezone.now(), state__in=[s.value for s in ACTIVE_RUNS])
    return list(
        due.select_for_update(skip_locked=True).order_by("due_at").values_list("pk", flat=True)[:limit]
    )


@transaction.atomic
def _claim(run_id: int) -> Claim | None:
    run = runs.lock_run(run_id)
    if RunState(run.state) not in ACTIVE_RUNS:
        return None
    now, rows = timezone.now(), list(run.steps.all())
    ready = [step for step in runs.due_steps(run, rows) if runs.ready_at(step, now) <= now]
    if not ready:
        run.due_at = runs.next_due(run, rows)  # a lease that was renewed meanwhile
        run.save(update_fields=["due_at"])
        return None
    step, undoing = ready[0], run.state == RunState.UNWINDING.value
    run.fence += 1
    step.fence = run.fence
    step.lease_until = now + timedelta(seconds=saga.policy(step.action).lease)
    step.attempts += 1
    step.started_at = step.started_at or now
    if not undoing:
        step.state = StepState.RUNNING.value
    step.save(update_fields=["fence", "lease_until", "attempts", "started_at", "state"])
    verb = Verb(step.verb).inverse if undoing else Verb(step.verb)
    JournalEntry.objects.create(run=run, step=step, event="intended", fence=run.fence, message=verb.value)
    run.version += 1
    run.due_at = runs.next_due(run, rows)
    run.save(update_fields=["fence", "version", "due_at"])
    runs.ring(run.pk, times=min(len(ready) - 1, 3))
    return Claim(run.pk, step.pk, run.fence, verb, undoing)


def _perform(claim: Claim) -> None:
    step = Step.objects.select_related("run__platform__host", "run__platform__project", "run__request").get(
        pk=claim.step_id
    )
    platform = step.run.platform
    with logs.about(
        run=claim.run_id,
        step=step.name,
        verb=claim.verb.value,
        fence=claim.fence,
        host=platform.host.name,
        platform=platform.slug,
    ):
        began = time.monotonic()
        change = _attempt(claim, step)
        metrics.effect_seconds.labels(step.action, claim.verb.value).observe(time.monotonic() - began)
        _write(claim, change)


def _attempt(claim: Claim, step: Step) -> Change:
    """Do the effect of a claim; what has to be written about it."""
    change: Change
    try:
        answer = steps.perform(step, claim.verb, _guard(claim, step.action))
    except LeaseLost:
        change = _took_too_long
    except Rejected as error:
        log.warning("step rejected", why=str(error))
        change = partial(_rejected, why=str(error))
    except DriverError as error:
        log.warning("step failed", why=str(error))
        outage = isinstance(error, Unavailable)
        change = partial(_failed, why=str(error), patience=saga.OUTAGE_PATIENCE if outage else 1)
    except Exception as error:
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
        log.exception("step broke")
        change = partial(_failed, why=f"{type(error).__name__}: {error}")
    else:
        if isinstance(answer, NotYet):
            change = partial(_waiting, answer=answer)
        elif isinstance(answer, GoCold):
            log.warning("step goes on cold", why=answer.why)
            change = partial(_going_cold, why=answer.why)
        else:
            log.info("step done")
            change = partial(_done, message=answer.message)
    return change


def _guard(claim: Claim, action: str) -> Guard:
    """Asked before each effect of a claim: raises LeaseLost once somebody else may be at the step, else keeps the lease young."""
    lease = timedelta(seconds=saga.policy(action).lease)

    def check() -> None:
        now = timezone.now()
        held = Step.objects.filter(pk=claim.step_id, fence=claim.fence, lease_until__gt=now)
        until = held.values_list("lease_until", flat=True).first()
        if until is None or (until - now < lease / 2 and not held.update(lease_until=now + lease)):
            raise LeaseLost

    return check


_OVER = (StepState.DONE.value, StepState.UNDONE.value)

Change = Callable[[Run, Step, list[Step]], str]
"""What to write about a step of a locked run, given all of its steps; the answer is the event for the journal."""


def _write(claim: Claim, change: Change) -> None:
    """Journal what came of a claim, if the fencing number still holds, and bring the run to where its steps stand."""
    with transaction.atomic():
        run = runs.lock_run(claim.run_id)
        rows = list(run.steps.all())
        step = next(s for s in rows if s.pk == claim.step_id)
        if step.fence != claim.fence:
            _late(run, step, rows, claim)
            return
        step.lease_until = step.fence = None
        step.error, step.message = "", ""
        event = change(run, step, rows)
        step.save()
        transaction.on_commit(partial(_count, claim, step, event), robust=True)
        JournalEntry.objects.create(
            run=run, step=step, event=event, fence=claim.fence, message=step.error or step.message
        )
        runs.settle(run, rows)


def _count(claim: Claim, step: Step, result: str) -> None:
    verb = claim.verb.value
    metrics.step_results.labels(step.action, verb, result).inc()
    if result in _OVER and step.started_at is not None and step.finished_at is not None:
        metrics.step_seconds.labels(step.action, verb).observe(
            (step.finished_at - step.started_at).total_seconds()
        )


def _late(run: Run, step: Step, rows: list[Step], claim: Claim) -> None:
    """The step is no longer this worker's: its result does not count. Where nobody took over yet, the way is free now."""
    JournalEntry.objects.create(run=run, step=step, event="fenced", fence=claim.fence)
    transaction.on_commit(partial(_count, claim, step, "fenced"), robust=True)
    log.warning("lease lost")
    if step.fence is None:
        step.lease_until = None
        step.save(update_fields=["lease_until"])
        run.due_at = runs.next_due(run, rows)
        run.save(update_fields=["due_at"])
        runs.ring(run.pk)


def _took_too_long(run: Run, step: Step, _rows: list[Step]) -> str:
    """This worker was slower than its lease, and nobody took over yet: somebody does it again, at once."""
    step.state = _idle(run)
    runs.ring(run.pk)
    return "expired"


def _done(run: Run, step: Step, _rows: list[Step], *, message: str) -> str:
    step.state = (StepState.UNDONE if run.state == RunState.UNWINDING.value else StepState.DONE).value
    step.finished_at, step.not_before, step.message, step.failures = timezone.now(), None, message[:300], 0
    return step.state


def _waiting(run: Run, step: Step, rows: list[Step], *, answer: NotYet) -> str:
    now = timezone.now()
    patience = timedelta(seconds=saga.policy(step.action).deadline)
    if step.started_at is not None and now - step.started_at > patience:
        step.failures = saga.policy(step.action).attempts
        return _failed(run, step, rows, why=f"gave up waiting: {answer.message}")
    step.state = _idle(run)
    step.not_before, step.message = now + timedelta(seconds=answer.after), answer.message[:300]
    runs.ring(run.pk, after=answer.after)
    return StepState.WAITING.value


def _going_cold(run: Run, step: Step, rows: list[Step], *, why: str) -> str:
    """The machine boots instead of being resumed: what depends on the way is to be done again, in this same run."""
    platform = run.platform_id
    Machine.objects.filter(platform=platform, name=step.target).update(
        way=Machine.COLD, template="", way_reason=Template.FELL_BACK, way_detail=why[:300]
    )
    for row in rows:
        if row.target == step.target and row.action in saga.WAY_ACTIONS and row.attempts:
            row.state, row.failures, row.not_before = StepState.PENDING.value, 0, None
            row.started_at, row.message = None, ""
            if row.pk != step.pk:
                # A worker may still be at it, the old way: its number is void, and nobody else is before its lease ends.
                row.fence = None
                row.save()
    step.message = why[:300]
    runs.ring(run.pk)
    return "cold"


def _idle(run: Run) -> str:
    return (StepState.UNDOING if run.state == RunState.UNWINDING.value else StepState.WAITING).value


def _failed(run: Run, step: Step, _rows: list[Step], *, why: str, patience: int = 1) -> str:
    step.failures, step.error = step.failures + 1, why[:2000]
    policy = saga.policy(step.action)
    if step.failures >= policy.attempts * patience:
        step.state, step.not_before = StepState.FAILED.value, None
        return StepState.FAILED.value
    wait = saga.backoff(step.failures)
    step.state, step.not_before = _idle(run), timezone.now() + timedelta(seconds=wait)
    runs.ring(run.pk, after=wait)
    return "retry"


def _rejected(run: Run, step: Step, rows: list[Step], *, why: str) -> str:
    step.error = why[:2000]
    final = any(row.final and row.attempts for row in rows)
    if final or run.state == RunState.UNWINDING.value or RunKind(run.kind) not in runs.UNWINDABLE:
        step.state, step.not_before = StepState.FAILED.value, None
        return StepState.FAILED.value
    runs.begin_unwinding(run, rows, why)
    runs.ring(run.pk)
    return "rejected"
