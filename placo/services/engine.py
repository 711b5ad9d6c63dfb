"""The engine: advances a run by the steps that are due.

PostgreSQL is the truth, Celery a doorbell. A worker claims one due step under the run's row lock: it writes the intention to
the journal with a fencing number and a lease, commits, then acts, then takes the lock again and writes what came of it,
unless its fencing number is no longer the step's: then somebody else has taken over and the late result is dropped. The
same transaction claims the next step for this worker, so that a step costs one commit.
Steps are short; waiting is NotYet, not sleeping. Any number of workers may ring for one run: each claims another step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.db import connection, transaction
from django.utils import timezone

from placo import logs, metrics
from placo.domain import saga
from placo.domain.lifecycle import ACTIVE_RUNS, RunState, StepState
from placo.domain.saga import Verb
from placo.drivers.ports import DriverError, Rejected, Unavailable
from placo.platforms.models import JournalEntry, Run, Step
from placo.services import outcomes, runs, steps, work
from placo.services.commits import after_commit
from placo.services.outage import through_outage
from placo.services.outcomes import Outcome
from placo.services.work import GivenUp, GoCold, Guard, LeaseLost, NotYet
from placo.services.writing import CHANGING

log = logs.get_logger("placo.engine")

FRESH_S = 1.0
"""How old what a worker knows of a run's platform, host and request may be when the next step of the same run begins."""


@dataclass(frozen=True)
class Claim:
    """One step that this worker may do, as its row was then, under this fencing number."""

    step: Step
    fence: int
    verb: Verb

    @property
    def run_id(self) -> int:
        """The step's run."""
        return self.step.run_id

    @property
    def step_id(self) -> int:
        """The step's row."""
        return self.step.pk


class _Surroundings:
    """What a worker knows of a run from one step to the next."""

    def __init__(self, run_id: int) -> None:
        self._run_id, self._read_at = run_id, 0.0
        self._run: Run | None = None
        self._steps: dict[int, Step] = {}

    def lock(self) -> Run:
        """The run's row, locked; its platform, host and request come along."""
        return self._known(runs.lock_run(self._run_id, surroundings=True))

    def run(self) -> Run:
        """With its platform, host and request, as its steps see them: read when first needed, and again when that is long ago."""
        if self._run is None or time.monotonic() - self._read_at > FRESH_S:
            joined = Run.objects.select_related("platform__host", "request")
            return self._known(through_outage(partial(joined.get, pk=self._run_id)))
        return self._run

    def _known(self, run: Run) -> Run:
        self._run, self._read_at = run, time.monotonic()
        if run.request is not None:
            run.request.platform = run.platform  # so that nobody asks for it once more
        return run

    def steps(self, run: Run) -> list[Step]:
        """All steps of the locked run as they stand now, in the order of the plan. What never changes of them is read once."""
        if not self._steps:
            self._steps = {step.pk: step for step in run.steps.all()}
        else:
            for pk, *values in run.steps.order_by().values_list("pk", *CHANGING):
                vars(self._steps[pk]).update(zip(CHANGING, values, strict=True))
        return list(self._steps.values())


def advance(run_id: int) -> int:
    """Do what is due of a run until nothing is; the number of steps tried."""
    tried, surroundings = 0, _Surroundings(run_id)
    claim = _claim(run_id, surroundings)
    while claim is not None:
        tried += 1
        claim = _perform(claim, surroundings, go_on=True)
    return tried


@transaction.atomic
def due_runs(limit: int = 500) -> list[int]:
    """Runs for which a worker has something to do: what the sweep rings for. Those at which one writes now are left out."""
    due = Run.objects.filter(due_at__lte=timezone.now(), state__in=[s.value for s in ACTIVE_RUNS])
    return list(
        due.select_for_update(skip_locked=True).order_by("due_at").values_list("pk", flat=True)[:limit]
    )


@transaction.atomic
def _claim(run_id: int, surroundings: _Surroundings | None = None) -> Claim | None:
    """The first step that is due, for a worker that was rung for. It rings for the next one, if there is more to do."""
    surroundings = surroundings or _Surroundings(run_id)
    run = surroundings.lock()
    if RunState(run.state) not in ACTIVE_RUNS:
        return None
    due = runs.due_steps(run, surroundings.steps(run))
    ready = _ready(due)
    if not ready:
        due_at = runs.next_due(due)  # a lease that was renewed meanwhile
        if due_at != run.due_at:
            run.due_at = due_at
            run.save(update_fields=["due_at"])
        return None
    claim, entry = _take(run, ready[0])
    runs.keep(run, due, changed=[claim.step], entries=[entry])
    if len(ready) > 1:
        runs.ring(run_id)
    return claim


def _ready(due: list[Step]) -> list[Step]:
    """Of the steps whose turn it is those that a worker may take now."""
    now = timezone.now()
    return [step for step in due if runs.ready_at(step, now) <= now and not _renewed(step)]


def _renewed(step: Step) -> bool:
    """Whether the worker of a lease that is over renewed it after the row was read, which needs no lock; from here on it cannot."""
    if step.lease_until is None:
        return False
    over = Step.objects.select_for_update().filter(pk=step.pk, lease_until=step.lease_until)
    return not over.values_list("pk", flat=True)


def _take(run: Run, step: Step) -> tuple[Claim, JournalEntry]:
    """Give a step of a locked run to this worker: its claim, and the intention for the journal. Nothing is written yet."""
    now, undoing = timezone.now(), run.state == RunState.UNWINDING.value
    run.fence += 1
    step.fence = run.fence
    step.lease_until = now + timedelta(seconds=saga.policy(step.action).lease)
    step.attempts += 1
    step.started_at = step.started_at or now
    if not undoing:
        step.state = StepState.RUNNING.value
    verb = Verb(step.verb).inverse if undoing else Verb(step.verb)
    entry = JournalEntry(run=run, step=step, event="intended", fence=run.fence, message=verb.value)
    return Claim(step, run.fence, verb), entry


def _perform(claim: Claim, surroundings: _Surroundings | None = None, *, go_on: bool = False) -> Claim | None:
    """Do a claim and write what came of it; with `go_on` also claim what is due next."""
    surroundings = surroundings or _Surroundings(claim.run_id)
    run, step = surroundings.run(), claim.step
    step.run = run
    with logs.about(
        run=run.pk,
        step=step.name,
        verb=claim.verb.value,
        fence=claim.fence,
        host=run.platform.host.name,
        platform=run.platform.slug,
    ):
        began = time.monotonic()
        outcome = _attempt(claim, step)
        metrics.effect_seconds.labels(step.action, claim.verb.value).observe(time.monotonic() - began)
        attempt = _Written(claim, surroundings)
        return through_outage(partial(_write, claim, outcome, attempt, go_on=go_on))


def _attempt(claim: Claim, step: Step) -> Outcome:
    """Do the effect of a claim; what has to be written about it."""
    outcome: Outcome
    try:
        answer = steps.perform(step, claim.verb, _guard(claim, step.action))
    except LeaseLost:
        outcome = outcomes.took_too_long
    except Rejected as error:
        log.warning("step rejected", why=str(error))
        outcome = partial(outcomes.rejected, why=str(error))
    except DriverError as error:
        log.warning("step failed", why=str(error))
        place = work.place_of(step) if isinstance(error, Unavailable) else None
        if place is not None:
            outcome = partial(outcomes.away, why=str(error), place=place)
        else:
            outcome = partial(outcomes.failed, why=str(error))
    except Exception as error:
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
        log.exception("step broke")
        outcome = partial(outcomes.failed, why=f"{type(error).__name__}: {error}")
    else:
        if isinstance(answer, NotYet):
            outcome = partial(outcomes.waiting, answer=answer)
        elif isinstance(answer, GivenUp):
            log.warning("step given up", why=answer.message)
            outcome = partial(outcomes.given_up, message=answer.message)
        elif isinstance(answer, GoCold):
            log.warning("step goes on cold", why=answer.why)
            outcome = partial(outcomes.going_cold, why=answer.why)
        else:
            log.info("step done")
            outcome = partial(outcomes.done, message=answer.message)
    return outcome


def _guard(claim: Claim, action: str) -> Guard:
    """Asked before each effect of a claim: raises LeaseLost once somebody else may be at the step, else keeps the lease young."""
    lease = timedelta(seconds=saga.policy(action).lease)

    def ask() -> datetime | None:
        """Until when nobody else takes the step over."""
        now = timezone.now()
        held = Step.objects.filter(pk=claim.step_id, fence=claim.fence, lease_until__gt=now).order_by()
        until = next(iter(held.values_list("lease_until", flat=True)), None)
        if until is None or until - now >= lease / 2:
            return until
        return now + lease if held.update(lease_until=now + lease) else None

    def check() -> None:
        until = through_outage(ask)
        # The answer may have come too late: this worker was stopped meanwhile.
        if until is None or timezone.now() >= until:
            raise LeaseLost

    return check


_OVER = (StepState.DONE.value, StepState.UNDONE.value)


@dataclass
class _Written:
    """What the transaction that ended a claim has written: the result, and this worker's next claim. It may have been in vain."""

    claim: Claim
    surroundings: _Surroundings
    result: JournalEntry | None = None
    following: Claim | None = None

    def holds(self) -> bool:
        """Whether the commit took place although it was interrupted. Nobody else wrote that result at that moment."""
        if self.result is None:
            return False
        same = {"fence": self.claim.fence, "event": self.result.event, "at": self.result.at}
        of_step = JournalEntry.objects.filter(run=self.claim.run_id, step=self.claim.step_id)
        return of_step.filter(**same).exists()


def _write(claim: Claim, outcome: Outcome, written: _Written, *, go_on: bool) -> Claim | None:
    """Journal what came of a claim, if the fencing number still holds, and bring the run to where its steps stand.

    With `go_on` the worker takes another step in the same transaction. It rings for others if there are steps that this one
    had kept waiting. Called again with the same `written` when the database went away in the middle.
    """
    with transaction.atomic():
        run = runs.lock_run(claim.run_id)
        rows = written.surroundings.steps(run)
        step = next(s for s in rows if s.pk == claim.step_id)
        if step.fence == claim.fence:
            _result(run, step, rows, outcome, written, go_on=go_on)
            return written.following
        if written.holds():
            runs.ring(run.pk)  # what was to be told after that commit may not have been
            return written.following
        _late(run, step, rows, claim)
    return _claim(claim.run_id, written.surroundings) if go_on else None


def _result(
    run: Run, step: Step, rows: list[Step], outcome: Outcome, written: _Written, *, go_on: bool
) -> None:
    claim = written.claim
    step.lease_until = step.fence = None
    step.error, step.message = "", ""
    event = outcome(run, step, rows)
    if event != outcomes.AWAY:
        step.forget_outage()
    after_commit(_count, claim, step, event)
    message = step.error or step.message
    written.result = JournalEntry(run=run, step=step, event=event, fence=claim.fence, message=message)
    entries = [written.result, *runs.stand(run, rows)]
    written.following, changed = None, [step]
    due = runs.due_steps(run, rows)
    ready = _ready(due)
    if any(_was_waiting_for(other, step, run) for other in (ready[1:] if go_on else ready)):
        runs.ring(run.pk)  # for one more worker; who comes rings for the next one
    if go_on and ready:
        written.following, intended = _take(run, ready[0])
        changed += [ready[0]] if ready[0] is not step else []
        entries.append(intended)
    runs.keep(run, due, changed=changed, entries=entries)
    runs.conclude(run)


def _was_waiting_for(waiting: Step, step: Step, run: Run) -> bool:
    """Whether what came of a step made another one ready. What was ready before has been rung for, by whoever made it so."""
    unwinding = run.state == RunState.UNWINDING.value
    return waiting.name in step.needs if unwinding else step.name in waiting.needs


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
    after_commit(_count, claim, step, "fenced")
    log.warning("lease lost")
    if step.fence is None:
        step.lease_until = None
        step.save(update_fields=["lease_until"])
        run.due_at = runs.next_due(runs.due_steps(run, rows))
        run.save(update_fields=["due_at"])
        runs.ring(run.pk)
