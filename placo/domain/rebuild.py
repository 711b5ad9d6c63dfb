"""The plan of a platform some of whose machines get a new system disk. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from placo.domain.drift import REBUILT, SYSTEM
from placo.domain.plan import Plan, PlannedMachine


def rebuilt_plan(old: Plan, images: Mapping[str, str]) -> Plan:
    """The same platform, with these machines (name -> image) on a new system disk beside the old one; all else stays."""
    machines = tuple(_rebuilt(m, images[m.name]) if m.name in images else m for m in old.machines)
    return replace(old, machines=machines)


def _rebuilt(machine: PlannedMachine, image: str) -> PlannedMachine:
    """Two names take turns: no host can rename a volume, and the old disk has to stay untouched until the new one is proved."""
    old = machine.system_volume
    now, then = (SYSTEM, REBUILT) if old.endswith(SYSTEM) else (REBUILT, SYSTEM)
    return replace(machine, image=image, system_volume=f"{old.removesuffix(now)}{then}")
