"""Drift: where the world is not as the plans and the journal say, and what may be done about it. Pure.

What PLACO does not own is shown and never touched: only what bears a platform's identity that the database knows is repaired.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from placo.domain.lifecycle import PlatformState


class DriftKind(StrEnum):
    """How the world differs."""

    MISSING = "missing"
    EXTRA = "extra"
    CHANGED = "changed"
    PAUSED = "paused"
    UNREACHABLE = "unreachable"


class DriftWhat(StrEnum):
    """What it is about. `HOST`: the place as a whole, also the directory or the edge."""

    DOMAIN = "domain"
    VOLUME = "volume"
    NETWORK = "network"
    DIRECTORY = "directory"
    EDGE = "edge"
    CERTIFICATE = "certificate"
    MAIL = "mail"
    NAMES = "names"
    HOST = "host"


DIRECTORY_PLACE, EDGE_PLACE = "directory", "edge"
SITE_PLACES = (DIRECTORY_PLACE, EDGE_PLACE)
"""Where drift is that is on no host."""

SETTLED = frozenset({PlatformState.READY, PlatformState.STOPPED, PlatformState.SUSPENDED})
"""States in which it is known what a platform has to have in the world."""
CLEARED = frozenset({PlatformState.RETIRED, PlatformState.FAILED})
"""States of platforms that once had something in the world and are to have nothing any more."""

SYSTEM, REBUILT = "-system.qcow2", "-rebuilt.qcow2"
DATA, SEED, MEMORY = "-data.qcow2", "-seed.iso", "-memory.save"
MACHINE_VOLUMES = (SYSTEM, REBUILT, DATA, MEMORY, SEED)
"""How the names of machines' volumes end (placo/domain/plan.py); images and kernels are shared and not counted."""
MEMORY_LOST = "memory-lost"
"""Says of a suspended machine that it was switched off: what it held in memory does not come back."""


class Remedy(StrEnum):
    """What can be done about a piece of drift beside accepting it; the last five say why it is nothing."""

    MEND = "mend"
    RESTART = "restart"
    TIDY = "tidy"
    REMOVE = "remove"
    WAIT = "wait"
    RESTORE = "restore"
    LOST = "lost"
    FOREIGN = "foreign"
    ELSEWHERE = "elsewhere"

    @property
    def repairs(self) -> bool:
        """A repair can be started."""
        return self in (Remedy.MEND, Remedy.RESTART, Remedy.TIDY, Remedy.REMOVE)


def remedy(
    kind: DriftKind, what: DriftWhat, name: str, detail: Mapping[str, Any], state: PlatformState | None
) -> Remedy:
    """What can be done about drift of a platform in this state, None for something that belongs to no known platform."""
    if kind is DriftKind.UNREACHABLE:
        return Remedy.WAIT
    if state is None or "uuid" in detail:
        return Remedy.FOREIGN
    if kind is DriftKind.EXTRA:
        return _of_extra(what, name, detail, state)
    return _of_lack(what, detail, state)


def _of_extra(what: DriftWhat, name: str, detail: Mapping[str, Any], state: PlatformState) -> Remedy:
    if state in CLEARED:
        return Remedy.REMOVE
    leftover = what is DriftWhat.VOLUME and name.endswith((SEED, MEMORY)) and not detail.get("elsewhere")
    return Remedy.TIDY if leftover and state in SETTLED else Remedy.ELSEWHERE


def _of_lack(what: DriftWhat, detail: Mapping[str, Any], state: PlatformState) -> Remedy:
    if state not in SETTLED:
        return Remedy.ELSEWHERE
    if what is DriftWhat.VOLUME:
        return Remedy.RESTORE
    if detail.get("note") == MEMORY_LOST and differences(detail) == {"power"}:
        return Remedy.LOST
    stopping = what is DriftWhat.NETWORK or differences(detail) & {"memory_mib", "vcpus"}
    return Remedy.RESTART if stopping and state is PlatformState.READY else Remedy.MEND


def differences(detail: Mapping[str, Any]) -> set[str]:
    """The properties of which `detail` says what was expected and what was found."""
    return {name for name, value in detail.items() if isinstance(value, (list, tuple)) and len(value) == 2}
