"""Which steps a run has, in which order they may go, and what to do when one fails. Pure: the engine asks, this answers.

A run is a graph of steps. Going forward, a step is due when everything that it needs is done. Unwinding, a step's undo is
due when everything that needed it is undone. A step names an action (see placo/services/steps.py), its verb (make sure it
is there, or gone) and its target (a machine or image of the plan, or nothing).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from placo.domain.lifecycle import PlatformState, RunKind, RunState, StepState


class Verb(StrEnum):
    """The two halves of a step pair; and of one that changes what is there: bring it to the new plan, or back to the old one."""

    ENSURE = "ensure"
    REMOVE = "remove"
    CHANGE = "change"
    RESTORE = "restore"

    @property
    def inverse(self) -> Verb:
        return _INVERSE[self]


_INVERSE = {
    Verb.ENSURE: Verb.REMOVE,
    Verb.REMOVE: Verb.ENSURE,
    Verb.CHANGE: Verb.RESTORE,
    Verb.RESTORE: Verb.CHANGE,
}


@dataclass(frozen=True)
class StepSpec:
    """One step of a run; `needs` holds ids of steps of the same run. After a `final` one was tried there is no way back."""

    id: str
    action: str
    verb: Verb
    target: str = ""
    needs: tuple[str, ...] = ()
    final: bool = False


@dataclass(frozen=True)
class Policy:
    """How patient the engine is with an action. All in seconds but `attempts`.

    lease: how long one effect may take before another worker takes the step over (renewed between effects); attempts:
    failures before the run is stuck; deadline: how long NotYet may be answered before that counts as a failure.
    """

    lease: float = 90
    attempts: int = 6
    deadline: float = 120


WARM_TRIES = 2
"""How often resuming is tried before a machine boots instead."""
WAY_ACTIONS = ("system-disk", "data-volume", "seed", "domain", "memory", "power", "personalise")
"""What is done again, the other way, when a machine that cannot be resumed is booted."""

POLICIES: dict[str, Policy] = {
    "image": Policy(lease=600),
    "power": Policy(deadline=900),  # places for resuming are waited for
    "personalise": Policy(deadline=60),
    "health": Policy(deadline=420),
    "file-system": Policy(deadline=420),
    "settings": Policy(lease=300, deadline=600),
    "seed-release": Policy(deadline=180),
    "member": Policy(attempts=10),
}
DEFAULT_POLICY = Policy()


def policy(action: str) -> Policy:
    """The patience for an action; every action that is not in the table gets the default."""
    return POLICIES.get(action, DEFAULT_POLICY)


def backoff(attempt: int) -> float:
    """Seconds to wait after the `attempt`-th failure (counted from 1): 1, 2, 4 ... at most 30."""
    return float(min(2 ** (attempt - 1), 30))


def create_steps(machines: Mapping[str, str]) -> tuple[StepSpec, ...]:
    """The steps that make a platform. `machines` maps each machine's name to the image it is cloned from."""
    e = Verb.ENSURE
    steps = [StepSpec("network", "network", e), StepSpec("directory", "directory", e)]
    steps += _machine_steps(machines)
    steps.append(StepSpec("edge", "edge", e, "", ("network",)))
    return (*steps, *_answer_steps(machines))


def _machine_steps(machines: Mapping[str, str]) -> list[StepSpec]:
    """What brings machines to life, below the steps `network` and `directory`."""
    e = Verb.ENSURE
    steps = [StepSpec(f"image:{image}", "image", e, image) for image in sorted(set(machines.values()))]
    for name, image in machines.items():
        steps += [
            StepSpec(f"way:{name}", "way", e, name, (f"image:{image}",)),
            StepSpec(f"system-disk:{name}", "system-disk", e, name, (f"way:{name}",)),
            StepSpec(f"data-volume:{name}", "data-volume", e, name, (f"way:{name}",)),
            StepSpec(f"account:{name}", "account", e, name, ("directory",)),
            StepSpec(f"seed:{name}", "seed", e, name, (f"account:{name}", f"way:{name}")),
            StepSpec(
                f"domain:{name}",
                "domain",
                e,
                name,
                (f"system-disk:{name}", f"data-volume:{name}", f"seed:{name}"),
            ),
            StepSpec(f"memory:{name}", "memory", e, name, (f"system-disk:{name}",)),
            StepSpec(f"power:{name}", "power", e, name, ("network", f"domain:{name}", f"memory:{name}")),
            StepSpec(f"personalise:{name}", "personalise", e, name, (f"power:{name}",)),
        ]
    return steps


def _answer_steps(machines: Iterable[str]) -> list[StepSpec]:
    """What waits until machines answer, above the step `edge`."""
    steps = []
    for name in machines:
        steps += [
            StepSpec(f"health:{name}", "health", Verb.ENSURE, name, (f"personalise:{name}", "edge")),
            StepSpec(f"seed-release:{name}", "seed-release", Verb.ENSURE, name, (f"health:{name}",)),
        ]
    return steps


def change_steps(
    *,
    added: Mapping[str, str],
    removed: Iterable[str],
    resized: Iterable[str],
    grown: Iterable[str],
    told: Iterable[str],
    routes: bool,
    end: bool,
) -> tuple[StepSpec, ...]:
    """The steps that change a platform; `added` maps machines that come new to the image they are cloned from, `routes` says
    whether there are others to serve, `end` whether the platform has another end date.

    What cannot be undone comes last and needs all the rest: a machine's removal, a file system that is made larger.
    """
    steps = []
    removed, change = list(removed), Verb.CHANGE
    if added or removed:
        steps.append(StepSpec("network", "network", change))
    if added or removed or routes:
        steps.append(StepSpec("edge", "edge", change, "", tuple(s.id for s in steps)))
        steps.append(StepSpec("directory", "directory", change))
    steps += [*_machine_steps(added), *_answer_steps(added)]
    for name in resized:
        steps += [
            StepSpec(f"stop:{name}", "start", Verb.REMOVE, name),
            StepSpec(f"size:{name}", "size", change, name, (f"stop:{name}",)),
            StepSpec(f"start:{name}", "start", Verb.ENSURE, name, (f"size:{name}",)),
            StepSpec(f"health:{name}", "health", Verb.ENSURE, name, (f"start:{name}",)),
        ]
    for name in told:
        after = (f"health:{name}",) if f"health:{name}" in {s.id for s in steps} else ()
        steps.append(StepSpec(f"settings:{name}", "settings", change, name, after))
        steps.append(StepSpec(f"answered:{name}", "health", Verb.ENSURE, name, (f"settings:{name}",)))
    for name in grown:
        after = (f"health:{name}",) if f"health:{name}" in {s.id for s in steps} else ()
        steps.append(StepSpec(f"volume:{name}", "volume", change, name, after))
    revocable = tuple(step.id for step in steps)
    steps += [
        StepSpec(f"file-system:{name}", "file-system", change, name, revocable, final=True) for name in grown
    ]
    if end:
        steps.append(StepSpec("end", "end", change, "", revocable, final=True))
    for name in removed:
        steps.append(StepSpec(f"off:{name}", "start", Verb.REMOVE, name, revocable))
        steps += [
            StepSpec(s.id, s.action, s.verb, s.target, s.needs or (f"off:{name}",), final=True)
            for s in reverse(_remains(name))
        ]
    return tuple(steps)


def _remains(name: str) -> list[StepSpec]:
    """What a machine that is switched off has left, in the order in which it was made."""
    e = Verb.ENSURE
    volumes = [StepSpec(f"{v}:{name}", v, e, name) for v in ("system-disk", "data-volume", "seed", "memory")]
    needs = tuple(step.id for step in volumes)
    return [
        *volumes,
        StepSpec(f"account:{name}", "account", e, name),
        StepSpec(f"domain:{name}", "domain", e, name, needs),
    ]


def reverse(steps: Iterable[StepSpec]) -> tuple[StepSpec, ...]:
    """The same graph the other way round: what was made last goes first."""
    steps = list(steps)
    needed_by: dict[str, list[str]] = {step.id: [] for step in steps}
    for step in steps:
        for need in step.needs:
            needed_by[need].append(step.id)
    return tuple(
        StepSpec(s.id, s.action, s.verb.inverse, s.target, tuple(needed_by[s.id]), s.final)
        for s in reversed(steps)
    )


def retire_steps(machines: Mapping[str, str], without: Iterable[str] = ()) -> tuple[StepSpec, ...]:
    """Creation in reverse, without what leaves nothing behind. Images are shared by all platforms and stay."""
    shared = {"image", "way", "personalise", "health", "seed-release", *without}
    kept = [step for step in create_steps(machines) if step.action not in shared]
    ids = {step.id for step in kept}
    trimmed = [
        StepSpec(s.id, s.action, s.verb, s.target, tuple(n for n in s.needs if n in ids)) for s in kept
    ]
    return reverse(trimmed)


def power_steps(kind: RunKind, machines: Iterable[str]) -> tuple[StepSpec, ...]:
    """Stop, start, restart, suspend or resume every machine of a platform; what goes on is probed.

    A resumed machine that its host has lost meanwhile (a suspended one lives in memory) is started.
    """
    steps: list[StepSpec] = []
    for name in machines:
        needs: tuple[str, ...] = ()
        if kind in (RunKind.STOP, RunKind.RESTART):
            steps.append(StepSpec(f"stop:{name}", "start", Verb.REMOVE, name))
            needs = (f"stop:{name}",)
        if kind is RunKind.SUSPEND:
            steps.append(StepSpec(f"suspend:{name}", "suspend", Verb.ENSURE, name))
        if kind in (RunKind.START, RunKind.RESTART):
            steps.append(StepSpec(f"start:{name}", "start", Verb.ENSURE, name, needs))
        if kind is RunKind.RESUME:
            steps.append(StepSpec(f"start:{name}", "suspend", Verb.REMOVE, name))
        if kind in (RunKind.START, RunKind.RESTART, RunKind.RESUME):
            steps.append(StepSpec(f"health:{name}", "health", Verb.ENSURE, name, (f"start:{name}",)))
    return tuple(steps)


def clear_steps(machines: Mapping[str, str]) -> tuple[StepSpec, ...]:
    """Remove what was left of a platform that has ended. Everything goes by its UUID but the machines' accounts, which go with
    the subtree: the slug may be another platform's by now."""
    return retire_steps(machines, without=("account",))


@dataclass(frozen=True)
class Mending:
    """What a repair of a living platform is about: `machines` are brought to where `state` wants them, those in `restart` by
    way of being off; `accounts` are those of machines in the directory, `members` are let in again."""

    state: PlatformState
    machines: tuple[str, ...] = ()
    restart: frozenset[str] = frozenset()
    accounts: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    network: bool = True
    directory: bool = True
    edge: bool = True


def repair_steps(mending: Mending) -> tuple[StepSpec, ...]:
    """Bring back what a living platform lacks, in the state that it has. Never a volume: an empty one is no repair of data."""
    e, r = Verb.ENSURE, Verb.REMOVE
    shared = (("network", mending.network), ("directory", mending.directory))
    steps = [StepSpec(name, name, e) for name, wanted in shared if wanted]
    if mending.directory:
        steps += [
            StepSpec(f"account:{name}", "account", e, name, ("directory",)) for name in mending.accounts
        ]
        steps += [StepSpec(f"member:{uid}", "member", e, uid, ("directory",)) for uid in mending.members]
    network = ("network",) if mending.network else ()
    if mending.edge:
        steps.append(StepSpec("edge", "edge", e, "", network))
    for name in mending.machines:
        domain: tuple[str, ...] = network
        if mending.directory and name in mending.accounts:
            domain += (f"account:{name}",)
        if mending.state is PlatformState.STOPPED or name in mending.restart:
            steps.append(StepSpec(f"stop:{name}", "start", r, name))
            domain += (f"stop:{name}",)
        steps.append(StepSpec(f"domain:{name}", "domain", e, name, domain))
        last = f"domain:{name}"
        if mending.state is PlatformState.SUSPENDED:
            steps.append(StepSpec(f"suspend:{name}", "suspend", e, name, (last,)))
            last = f"suspend:{name}"
        if mending.state is PlatformState.READY:
            edge = ("edge",) if mending.edge else ()
            steps.append(StepSpec(f"start:{name}", "start", e, name, (last,)))
            steps.append(StepSpec(f"health:{name}", "health", e, name, (f"start:{name}", *edge)))
            last = f"health:{name}"
        steps.append(StepSpec(f"seed-release:{name}", "seed-release", e, name, (last,)))
        steps.append(StepSpec(f"memory:{name}", "memory", r, name, (last,)))
    return tuple(steps)


def rebuild_steps(machines: Mapping[str, str]) -> tuple[StepSpec, ...]:
    """Give machines new system disks; `machines` maps each one's name to its new image. The old disks go last, when every machine
    has answered from its new one. The undo of `answered` is the last thing on the way back: the old system answers again."""
    e, r = Verb.ENSURE, Verb.REMOVE
    steps = [StepSpec(f"image:{image}", "image", e, image) for image in sorted(set(machines.values()))]
    for name, image in machines.items():
        steps += [
            StepSpec(f"answered:{name}", "health", r, name, (f"image:{image}",)),
            StepSpec(f"system-disk:{name}", "system-disk", e, name, (f"answered:{name}",)),
            StepSpec(f"stop:{name}", "start", r, name, (f"system-disk:{name}",)),
            StepSpec(f"seed:{name}", "seed", e, name, (f"stop:{name}",)),
            StepSpec(f"exchange:{name}", "exchange", Verb.CHANGE, name, (f"seed:{name}",)),
            StepSpec(f"start:{name}", "start", e, name, (f"exchange:{name}",)),
            StepSpec(f"health:{name}", "health", e, name, (f"start:{name}",)),
            StepSpec(f"seed-release:{name}", "seed-release", e, name, (f"health:{name}",)),
        ]
    proved = tuple(step.id for step in steps)
    return (
        *steps,
        *(StepSpec(f"old-disk:{name}", "system-disk", r, name, proved, final=True) for name in machines),
    )


def member_steps(uid: str) -> tuple[StepSpec, ...]:
    """Bring one person's membership in the directory to what the portal wants."""
    return (StepSpec(f"member:{uid}", "member", Verb.ENSURE, uid),)


_OVER = {StepState.DONE, StepState.SKIPPED}
_UNDO_OVER = {StepState.UNDONE, StepState.SKIPPED}
_GOING = {StepState.PENDING, StepState.RUNNING, StepState.WAITING}


def due(run: RunState, steps: Mapping[str, StepSpec], states: Mapping[str, StepState]) -> list[str]:
    """Ids of the steps whose turn it is, in the order of the plan; timing and leases are the engine's business."""
    if run in (RunState.RUNNING, RunState.STUCK):
        return [
            id_
            for id_, step in steps.items()
            if states[id_] in _GOING and all(states[need] in _OVER for need in step.needs)
        ]
    if run is RunState.UNWINDING:
        needed_by: dict[str, list[str]] = {id_: [] for id_ in steps}
        for id_, step in steps.items():
            for need in step.needs:
                needed_by[need].append(id_)
        return [
            id_
            for id_ in reversed(list(steps))
            if states[id_] is StepState.UNDOING and all(states[n] in _UNDO_OVER for n in needed_by[id_])
        ]
    return []


def start_of_unwinding(states: Mapping[str, StepState], started: Iterable[str]) -> dict[str, StepState]:
    """The states with which unwinding begins: what was ever started is undone, the rest is skipped."""
    touched = set(started)
    return {id_: StepState.UNDOING if id_ in touched else StepState.SKIPPED for id_ in states}


def outcome(run: RunState, states: Mapping[str, StepState]) -> RunState:
    """The state of a run whose steps stand like this."""
    values = set(states.values())
    if run is RunState.UNWINDING:
        return RunState.UNDONE if values <= _UNDO_OVER else run
    if run in (RunState.RUNNING, RunState.STUCK):
        if values <= _OVER:
            return RunState.DONE
        return RunState.STUCK if StepState.FAILED in values else RunState.RUNNING
    return run
