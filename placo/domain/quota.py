"""Quota arithmetic: what a platform costs, what a project may use, what is missing."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Cost:
    """Amounts of the five resources that a quota counts; memory in MiB, disk in GiB."""

    platforms: int = 0
    machines: int = 0
    vcpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))

    def shortages(self, wanted: Cost) -> dict[str, int]:
        """Of `self` as what is free: the resources of which `wanted` takes too much, and how much is missing."""
        missing = {f.name: getattr(wanted, f.name) - max(getattr(self, f.name), 0) for f in fields(self)}
        return {name: amount for name, amount in missing.items() if amount > 0}


RESOURCES = tuple(f.name for f in fields(Cost))
