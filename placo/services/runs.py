"""Runs: starting one, and the choices that people have when one is stuck."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from placo import logs, metrics
from placo.celery import ring_for
from placo.domain import saga
from placo.domain.drift import CLEARED, SETTLED
from placo.domain.lifecycle import TRANSITIONS, PlatformState, RequestState, RunKind, RunState, StepState
from placo.domain.plan import Plan
from placo.domain.saga import StepSpec
from placo.platforms.models import Host, JournalEntry, Machine, Membership, Platform, Request, Run, Step, User
from placo.services import asking, auditlog, quota, writing
from placo.services.commits import after_commit
from placo.services.errors import Conflict

log = logs.get_logger("placo.runs")


def ring(run_id: int, *, times: int = 1, after: float = 0) -> None:
    """Ring the workers' doorbell, after the commit. A lost ring is repeated by the sweep."""
    for _i in range(times):
        after_commit(_send, run_id, after)


def _send(run_id: int, after: float) -> None:
    metrics.doorbells.labels("later" if after else "now").inc()
    ring_for("tasks.advance", run_id, countdown=after or None)


def start(
    platform: Platform,
    kind: RunKind,
    steps: Iterable[StepSpec],
    *,
    acting_user: User | None,
    subject: str = "",
    request: Request | None = None,
    plan: Plan | None = None,
) -> Run:
    """Write a run and all of its steps, move the platform into the state that shows it, ring the doorbell.

    Conflict when the platform is in no state for it or another run is under way. The caller is in a transaction.
    `plan`: what the platform will have, where no request says so.
    """
    platform = Platform.objects.select_for_update().get(pk=platform.pk)
    _require_host(platform, kind, subject)
    _take_up(platform, kind)
    try:
        with transaction.atomic():
            run = Run.objects.create(
                platform=platform,
                kind=kind.value,
                started_by=acting_user,
                subject=subject,
                request=request,
                plan_data=plan.as_json() if plan else None,
                web_request=str(logs.known().get("request", ""))[:64],
            )
    except IntegrityError:
        raise Conflict(
            _("Another run is under way on this platform."), _("Wait until it has ended.")
        ) from None
    rows = Step.objects.bulk_create(
        Step(
            run=run,
            position=position,
            name=step.id,
            action=step.action,
            verb=step.verb.value,
            target=step.target,
            needs=list(step.needs),
            final=step.final,
        )
        for position, step in enumerate(steps)
    )
    JournalEntry.objects.create(run=run, event="started")
    log.info("run begins", run=run.pk, kind=kind.value, platform=platform.slug)
    auditlog.record(acting_user, f"run.{kind.value}", platform.slug, run=run.pk, subject=subject)
    settle(run, rows)
    ring(run.pk)
    return run


def _take_up(platform: Platform, kind: RunKind) -> None:
    """Move the platform into the state that shows such a run; Conflict when it is in no state for one."""
    state = PlatformState(platform.state)
    transition = TRANSITIONS.get(kind)
    if transition is not None:
        possible = state in transition.sources
    else:
        possible = kind is not RunKind.REPAIR or state in SETTLED | CLEARED
    if not possible:
        raise Conflict(
            _("The platform is %(state)s: this is not possible now.")
            % {"state": platform.get_state_display()},
            _("Wait until what is under way has ended, then try again."),
        )
    if transition is not None:
        platform.state = transition.during.value
        platform.save(update_fields=["state"])


def _require_host(platform: Platform, kind: RunKind, subject: str) -> None:
    """Conflict for a run that would have something made on a lost host, or cleared away on one that does not answer."""
    if kind in (RunKind.MEMBER, RunKind.RETIRE, RunKind.STOP):
        return
    clearing = kind is RunKind.REPAIR and not platform.alive
    host = (clearing and Host.objects.filter(name=subject).first()) or platform.host
    if host.lost and (not clearing or (host.name == subject and not host.reachable)):
        raise Conflict(
            _("The host %(host)s was declared lost: nothing can be done there.") % {"host": host.name},
            _("An administrator can take it back if it answers again; else the platform can be retired."),
        )


def lock_run(run_id: int, *, surroundings: bool = False) -> Run:
    """The run's row, locked until the transaction ends: every change of a run or its steps happens under it.

    With `surroundings` its platform, host and request come along, without being locked: what its steps need to know.
    """
    locked = Run.objects.select_for_update(of=("self",))
    if surroundings:
        locked = locked.select_related("platform__host", "request")
    return locked.get(pk=run_id)


def states_of(steps: Iterable[Step]) -> dict[str, StepState]:
    """Step name -> state, in the order of the plan."""
    return {step.name: StepState(step.state) for step in steps}


def ready_at(step: Step, now: datetime) -> datetime:
    """When a step whose turn it is may be done: after its lease and its wait."""
    return max(step.lease_until or now, step.not_before or now)


def due_steps(run: Run, steps: list[Step]) -> list[Step]:
    """The steps whose turn it is, in the order of the plan, leased and waiting ones among them."""
    by_name = {step.name: step for step in steps}
    specs = {name: step.spec for name, step in by_name.items()}
    return [by_name[name] for name in saga.due(RunState(run.state), specs, states_of(steps))]


def next_due(due: Iterable[Step]) -> datetime | None:
    """When a worker has something to do for a run with these steps due; None when nothing will happen without a decision."""
    now = timezone.now()
    return min((ready_at(step, now) for step in due), default=None)


def settle(run: Run, steps: list[Step]) -> None:
    """Bring the run, and with it the platform, to where its steps stand. The caller holds the run's lock."""
    entries = stand(run, steps)
    keep(run, due_steps(run, steps), entries=entries)
    conclude(run)


def stand(run: Run, steps: list[Step]) -> list[JournalEntry]:
    """Give the run the state in which its steps are; what the journal has to say about that. Nothing is written yet."""
    outcome = saga.outcome(RunState(run.state), states_of(steps))
    if outcome.value == run.state:
        return []
    run.state = outcome.value
    if outcome in (RunState.DONE, RunState.UNDONE):
        run.ended_at = timezone.now()
    return [JournalEntry(run=run, event=f"run {outcome.value}")]


def keep(
    run: Run, due: Iterable[Step], *, changed: Iterable[Step] = (), entries: Iterable[JournalEntry] = ()
) -> None:
    """Write a run whose turn have the steps `due`, the steps that were changed, and what the journal says."""
    run.version += 1
    run.due_at = next_due(due)
    writing.write(run, changed, entries)


def conclude(run: Run) -> None:
    """If a run has ended: what that means for its platform."""
    if run.ended_at is not None:
        _end(run, RunState(run.state))


def _end(run: Run, outcome: RunState) -> None:
    """What the end of a run means for its platform."""
    kind = RunKind(run.kind)
    # The plan is long, and most kinds of runs neither read nor change it.
    platform = Platform.objects.select_for_update().defer("plan_data").get(pk=run.platform_id)
    if kind is RunKind.MEMBER:
        _end_of_membership(run, platform, outcome)
        return
    if kind is RunKind.REPAIR:  # the platform is in the state that it was in
        for host in (run.subject or platform.host.name, None):
            asking.ask(host)
        return
    transition = TRANSITIONS[kind]
    state = transition.done if outcome is RunState.DONE else transition.undone
    platform.state = state.value
    if run.request is not None:
        _end_of_request(run.request, platform, outcome)
    if kind is RunKind.REBUILD and outcome is RunState.DONE:
        _end_of_rebuild(run, platform)
    if kind is RunKind.CREATE and outcome is RunState.DONE:
        platform.ready_at = timezone.now()
    if not platform.alive:
        # What may still be there on a lost host keeps its name and addresses.
        platform.left_on = platform.host if platform.host.lost else None
        platform.subnet_index = platform.subnet_index if platform.left_on else None
        quota.release(platform)
        platform.requests.filter(state=RequestState.SUBMITTED.value).update(
            state=RequestState.WITHDRAWN.value, decided_at=timezone.now()
        )
        platform.memberships.all().delete()
        waiting = platform.runs.filter(kind=RunKind.MEMBER.value, state=RunState.STUCK.value)
        waiting.update(state=RunState.UNDONE.value, ended_at=timezone.now())  # nothing is left to decide
        platform.machines.update(state="gone", answer="", sealed_key="", public_key="")
    changed = {"state", "ready_at", "subnet_index", "left_on", "plan_data"} - platform.get_deferred_fields()
    platform.save(update_fields=changed)


def _end_of_request(request: Request, platform: Platform, outcome: RunState) -> None:
    """The platform is what was asked for, or what it was before."""
    new = request.plan
    if outcome is RunState.DONE:
        quota.commit(request, new.cost)
        if request.kind == Request.CHANGE:  # what the platform came from stays what was asked for
            _keep_first_plan(platform)
        platform.plan_data = new.as_json()
    else:
        quota.give_up(request)
    platform.machines.exclude(name__in=[m.name for m in platform.plan.machines]).delete()


def _keep_first_plan(platform: Platform) -> None:
    first = platform.requests.filter(kind=Request.CREATE, plan_data__isnull=True)
    first.update(plan_data=platform.plan_data)


def _end_of_rebuild(run: Run, platform: Platform) -> None:
    """The platform has its new system disks; these were booted."""
    new = run.new_plan
    if new is None:
        return
    before = platform.plan.images
    names = [name for name, image in new.images.items() if image != before[name]]
    _keep_first_plan(platform)
    platform.plan_data = new.as_json()
    platform.machines.filter(name__in=names).update(
        way=Machine.COLD, template="", way_reason="", way_detail="", took_s=None
    )


def _end_of_membership(run: Run, platform: Platform, outcome: RunState) -> None:
    """A refused membership goes, a refused ownership becomes a membership; a wish that changed after the step had looked at it is followed by another run.

    Whoever changes a wish holds the platform's lock, as this does: none is overlooked.
    """
    row = Membership.objects.filter(platform=platform, uid=run.subject).first()
    if row is not None and outcome is RunState.UNDONE:
        if not (row.wanted and row.appointed):
            row.delete()
            return
        row.owner = row.appointed = row.settled = False
        row.version += 1
        row.save(update_fields=["owner", "appointed", "settled", "version"])
        steps = saga.member_steps(run.subject)
        start(platform, RunKind.MEMBER, steps, acting_user=run.started_by, subject=run.subject)
    elif row is not None and not row.settled and platform.alive:
        steps = saga.member_steps(run.subject)
        start(platform, RunKind.MEMBER, steps, acting_user=run.started_by, subject=run.subject)


def begin_unwinding(run: Run, steps: list[Step], why: str) -> None:
    """Turn the run round. The caller holds the run's lock and settles afterwards."""
    # A repair that is given up takes nothing back: what it mended belongs to a platform that goes on.
    touched = [step.name for step in steps if step.attempts and run.kind != RunKind.REPAIR.value]
    for name, state in saga.start_of_unwinding(states_of(steps), touched).items():
        step = next(s for s in steps if s.name == name)
        step.state, step.not_before, step.failures = state.value, None, 0
        # A worker may still be at it: its number is void, but nothing touches the step before its lease is over.
        step.fence = None
        step.started_at = None if state is StepState.UNDOING else step.started_at
        step.forget_outage()
    Step.objects.bulk_update(
        steps, ["state", "not_before", "failures", "fence", "started_at", *writing.OUTAGE]
    )
    run.state = RunState.UNWINDING.value
    JournalEntry.objects.create(run=run, event="unwinding", message=writing.plain(why))


UNWINDABLE = frozenset({RunKind.CREATE, RunKind.CHANGE, RunKind.MEMBER, RunKind.REBUILD})
"""Kinds of run that a definitive refusal turns round; the others stand stuck until somebody chooses."""
