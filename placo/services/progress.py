"""Reading a run while it happens: its lanes, what is being done now, how far it is, how long it usually takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from django.db.models import Count, Exists, OuterRef
from django.utils import timezone

from placo.domain.catalogue import Text
from placo.domain.lifecycle import ACTIVE_RUNS, RunKind, RunState, StepState
from placo.platforms.models import JournalEntry, Machine, Run, Step, User
from placo.services import access, decisions, waiting
from placo.services.change_views import change_view
from placo.services.selectors import Address, addresses_of

_BUSY = {StepState.RUNNING.value, StepState.WAITING.value}
_FORWARD_OVER = {StepState.DONE.value, StepState.SKIPPED.value}
_BACK_OVER = {StepState.UNDONE.value, StepState.SKIPPED.value}
HISTORY = 20
"""How many earlier runs the usual duration is taken from."""


@dataclass(frozen=True)
class Lane:
    """The steps of one machine; `name` is empty for what concerns the whole platform.

    `machine` is what is known of it, where this run brings it to life.
    """

    name: str
    title: Text | None
    steps: tuple[Step, ...]
    machine: Machine | None = None

    @property
    def over(self) -> bool:
        """Nothing left to do in this lane."""
        return all(step.state in _FORWARD_OVER | _BACK_OVER for step in self.steps)

    @property
    def failed(self) -> bool:
        """A step of this lane needs a decision."""
        return any(step.state == StepState.FAILED.value for step in self.steps)


@dataclass(frozen=True)
class Progress:
    """A run as it stands."""

    run: Run
    lanes: tuple[Lane, ...]
    now: tuple[Step, ...]
    failed: tuple[Step, ...]
    done: int
    total: int
    ended: bool
    stuck: bool
    can_skip: bool
    can_undo: bool
    addresses: tuple[Address, ...]
    waits: tuple[waiting.Wait, ...] = ()

    @property
    def ways(self) -> dict[str, str]:
        """How the machines that this run brings to life come up, as far as that is decided."""
        return {lane.name: lane.machine.way for lane in self.lanes if lane.machine and lane.machine.way}

    @property
    def pace(self) -> str:
        """How the slowest machine of this run comes up; empty while one is undecided, and where nothing is made."""
        ways = {lane.machine.way for lane in self.lanes if lane.machine}
        if Machine.COLD in ways:
            return Machine.COLD
        return Machine.WARM if ways == {Machine.WARM} else ""

    @property
    def elapsed_s(self) -> float:
        """Seconds from the start of the run to its end, or to now."""
        end: datetime = self.run.ended_at or timezone.now()
        return (end - self.run.created_at).total_seconds()


def version(run_id: int) -> int:
    """The number that changes with every change of a run; -1 for a run that is gone."""
    found = Run.objects.filter(pk=run_id).values_list("version", flat=True).first()
    return -1 if found is None else found


def versions(run_ids: Iterable[int]) -> dict[int, int]:
    """The same for many runs at once."""
    return dict(Run.objects.filter(pk__in=list(run_ids)).values_list("pk", "version"))


def progress(*, acting_user: User, run_id: int) -> Progress:
    """A run that the user may see."""
    run = access.get_run(acting_user, run_id)
    steps = list(run.steps.all())
    unwinding = run.state in (RunState.UNWINDING.value, RunState.UNDONE.value)
    over = _BACK_OVER if unwinding else _FORWARD_OVER
    stuck = decisions.stuck(run, steps)
    created = run.kind == RunKind.CREATE.value and run.state == RunState.DONE.value
    return Progress(
        run=run,
        lanes=_lanes(run, steps),
        now=_now(steps, unwinding),
        failed=tuple(decisions.failed(steps)),
        done=sum(step.state in over for step in steps),
        total=len(steps),
        ended=RunState(run.state) not in ACTIVE_RUNS,
        stuck=stuck,
        can_skip=stuck and acting_user.is_administrator and decisions.skippable(run, steps),
        can_undo=decisions.undoable(run),
        addresses=addresses_of(run.platform.plan) if created else (),
        waits=waiting.waits_of(steps),
    )


def _now(steps: list[Step], unwinding: bool) -> tuple[Step, ...]:
    """The steps at which somebody works or which wait for something."""
    if unwinding:
        return tuple(s for s in steps if s.state == StepState.UNDOING.value and (s.started_at or s.waits_for))
    return tuple(s for s in steps if s.state in _BUSY)


def _lanes(run: Run, steps: list[Step]) -> tuple[Lane, ...]:
    plans = [run.platform.plan]
    if run.request is not None:
        change = change_view(run.request)
        plans += [change.old, change.new] if change else [run.request.plan]
    titles = {m.name: Text(m.title_en, m.title_fr) for plan in plans for m in plan.machines}
    shared = [step for step in steps if step.target not in titles]
    lanes = [Lane("", None, tuple(shared))] if shared else []
    made = {step.target for step in steps if step.action == "way"}
    rows = {machine.name: machine for machine in run.platform.machines.filter(name__in=made)}
    for name, title in titles.items():
        own = tuple(step for step in steps if step.target == name)
        if own:
            lanes.append(Lane(name, title, own, rows.get(name)))
    return tuple(lanes)


def usual_seconds(run: Run, pace: str = "") -> float | None:
    """The median duration of the latest finished runs of the same kind, size and pace; None before there is one."""
    size = run.steps.count()
    earlier = Run.objects.filter(kind=run.kind, state=RunState.DONE.value, ended_at__isnull=False).exclude(
        pk=run.pk
    )
    booted = Machine.objects.filter(platform=OuterRef("platform")).exclude(way=Machine.WARM)
    if pace:
        earlier = earlier.filter(Exists(booted) if pace == Machine.COLD else ~Exists(booted))
    rows = (
        earlier.annotate(size=Count("steps"))
        .filter(size=size)
        .values_list("created_at", "ended_at")[:HISTORY]
    )
    durations = [(end - start).total_seconds() for start, end in rows if end is not None]
    return median(durations) if durations else None


def journal(run: Run, limit: int = 300) -> list[JournalEntry]:
    """What was written about a run, latest first."""
    return list(run.journal.select_related("step").order_by("-id")[:limit])
