"""What people decide about a run: to retry, skip or undo what it did. The rest of a run's life is `runs`."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.utils.translation import gettext as _

from placo.domain.lifecycle import RunKind, RunState, StepState
from placo.domain.saga import Verb
from placo.platforms.models import JournalEntry, Run, Step, User
from placo.services import access, auditlog, runs, writing
from placo.services.errors import Conflict


def failed(steps: Iterable[Step]) -> list[Step]:
    """The steps that need a decision."""
    return [step for step in steps if step.state == StepState.FAILED.value]


def stuck(run: Run, steps: Iterable[Step]) -> bool:
    """Whether somebody has to decide, on the way there or on the way back."""
    return run.state == RunState.STUCK.value or (
        run.state == RunState.UNWINDING.value and bool(failed(steps))
    )


def undoable(run: Run) -> bool:
    """Whether everything that the run did may be undone now: what an administrator approved at any time, the rest once it is stuck.

    Never a retirement, nor after a final step was tried: data that is gone does not come back. Undoing a repair is giving it up.
    """
    if run.kind == RunKind.RETIRE.value or run.steps.filter(final=True, attempts__gt=0).exists():
        return False
    return run.state == RunState.STUCK.value or (
        run.state == RunState.RUNNING.value and run.request_id is not None
    )


def skippable(run: Run, steps: Iterable[Step]) -> bool:
    """Whether the run can go on without its failed steps: never without a removal, for what is not gone is not free."""
    back = run.state == RunState.UNWINDING.value
    verbs = {Verb(step.verb).inverse if back else Verb(step.verb) for step in failed(steps)}
    return bool(verbs) and Verb.REMOVE not in verbs


def _locked(acting_user: User, run_id: int) -> tuple[Run, list[Step]]:
    access.get_run(acting_user, run_id)
    run = runs.lock_run(run_id)
    return run, list(run.steps.all())


def _stuck(acting_user: User, run_id: int) -> tuple[Run, list[Step]]:
    run, steps = _locked(acting_user, run_id)
    if not stuck(run, steps):
        raise Conflict(_("This run is not stuck."), _("Only a stuck run has something to decide."))
    return run, steps


def _again(steps: list[Step], state: StepState) -> None:
    for step in steps:
        if step.state == StepState.FAILED.value:
            step.state, step.failures, step.not_before, step.started_at = state.value, 0, None, None
            step.lease_until = step.fence = None
            step.forget_outage()
    fields = ["state", "failures", "not_before", "started_at", "lease_until", "fence", *writing.OUTAGE]
    Step.objects.bulk_update(steps, fields)


def revive(run: Run) -> None:
    """Give the failed steps of a stuck run another chance. The caller holds the run's lock."""
    steps = list(run.steps.all())
    _again(steps, StepState.PENDING)
    runs.settle(run, steps)
    runs.ring(run.pk)


@transaction.atomic
def retry_run(*, acting_user: User, run_id: int) -> Run:
    """Try the failed steps of a stuck run again."""
    run, steps = _stuck(acting_user, run_id)
    unwinding = run.state == RunState.UNWINDING.value
    _again(steps, StepState.UNDOING if unwinding else StepState.PENDING)
    return _resume(run, steps, acting_user, "retry")


@transaction.atomic
def skip_run(*, acting_user: User, run_id: int) -> Run:
    """Go on without the failed steps of a stuck run (administrators): they count as done."""
    run, steps = _stuck(acting_user, run_id)
    access.require_administrator(acting_user)
    if not skippable(run, steps):
        raise Conflict(
            _(
                "What has to go cannot be skipped: its quota and addresses would be given to others while it is there."
            ),
            _("Mend the cause, then retry."),
        )
    _again(steps, StepState.SKIPPED)
    return _resume(run, steps, acting_user, "skip")


@transaction.atomic
def undo_run(*, acting_user: User, run_id: int) -> Run:
    """Undo everything that a stuck run did, or a creation or change that is still under way."""
    run, steps = _locked(acting_user, run_id)
    if run.kind == RunKind.RETIRE.value or any(step.final and step.attempts for step in steps):
        raise Conflict(
            _("This cannot be undone any more: what is removed does not come back."),
            _("Mend the cause, then retry."),
        )
    if not undoable(run):
        raise Conflict(_("There is nothing to undo now."), _("Wait until the run has ended or is stuck."))
    runs.begin_unwinding(run, steps, _("asked for by %(who)s") % {"who": acting_user.username})
    return _resume(run, steps, acting_user, "undo")


def _resume(run: Run, steps: list[Step], acting_user: User, verb: str) -> Run:
    JournalEntry.objects.create(run=run, event=verb, message=acting_user.username)
    auditlog.record(acting_user, f"run.{verb}", run.platform.slug, run=run.pk)
    runs.settle(run, steps)
    runs.ring(run.pk)
    return run
