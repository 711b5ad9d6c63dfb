"""The life of a platform: its states and which run leads from which to which. There is no other way to change state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PlatformState(StrEnum):
    """Where a platform stands."""

    REQUESTED = "requested"
    DECLINED = "declined"
    CREATING = "creating"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    STARTING = "starting"
    RESTARTING = "restarting"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    RESUMING = "resuming"
    CHANGING = "changing"
    REBUILDING = "rebuilding"
    RETIRING = "retiring"
    RETIRED = "retired"
    FAILED = "failed"


class RunKind(StrEnum):
    """What a run does to its platform."""

    CREATE = "create"
    RETIRE = "retire"
    CHANGE = "change"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    SUSPEND = "suspend"
    RESUME = "resume"
    MEMBER = "member"
    REPAIR = "repair"
    REBUILD = "rebuild"


class RunState(StrEnum):
    """Where a run stands. UNDONE is the clean end of a run that was refused or undone."""

    RUNNING = "running"
    DONE = "done"
    STUCK = "stuck"
    UNWINDING = "unwinding"
    UNDONE = "undone"


class StepState(StrEnum):
    """Where a step of a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNDOING = "undoing"
    UNDONE = "undone"


class RequestState(StrEnum):
    """Where a request stands."""

    SUBMITTED = "submitted"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Transition:
    """What a kind of run starts from, shows meanwhile, and leads to when done or undone."""

    sources: frozenset[PlatformState]
    during: PlatformState
    done: PlatformState
    undone: PlatformState


_S = PlatformState
TRANSITIONS: dict[RunKind, Transition] = {
    RunKind.CREATE: Transition(frozenset({_S.REQUESTED}), _S.CREATING, _S.READY, _S.FAILED),
    RunKind.STOP: Transition(frozenset({_S.READY}), _S.STOPPING, _S.STOPPED, _S.READY),
    RunKind.START: Transition(frozenset({_S.STOPPED}), _S.STARTING, _S.READY, _S.STOPPED),
    RunKind.RESTART: Transition(frozenset({_S.READY}), _S.RESTARTING, _S.READY, _S.READY),
    RunKind.SUSPEND: Transition(frozenset({_S.READY}), _S.SUSPENDING, _S.SUSPENDED, _S.READY),
    RunKind.RESUME: Transition(frozenset({_S.SUSPENDED}), _S.RESUMING, _S.READY, _S.SUSPENDED),
    RunKind.CHANGE: Transition(frozenset({_S.READY}), _S.CHANGING, _S.READY, _S.READY),
    RunKind.REBUILD: Transition(frozenset({_S.READY}), _S.REBUILDING, _S.READY, _S.READY),
    RunKind.RETIRE: Transition(
        frozenset({_S.READY, _S.STOPPED, _S.SUSPENDED}), _S.RETIRING, _S.RETIRED, _S.STOPPED
    ),
}

ENDED = frozenset({PlatformState.DECLINED, PlatformState.RETIRED, PlatformState.FAILED})
"""States in which a platform is history: its slug is free, nothing of it is left in the world."""

ACTIVE_RUNS = frozenset({RunState.RUNNING, RunState.STUCK, RunState.UNWINDING})
"""States of a run that has not ended."""
