"""Processor time of a process with all that it started (proc(5)), finer than the kernel's ticks where it can be had."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree_s(pid: int) -> float:
    """Seconds of a processor that a process, its living descendants and those it waited for have taken until now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                children.setdefault(int(_stat(entry)[1]), []).append(int(entry.name))
    total, todo = 0.0, [pid]
    while todo:
        one = todo.pop()
        todo += children.get(one, [])
        with suppress(FileNotFoundError, ProcessLookupError):
            process = Path("/proc") / str(one)
            total += own_s(one)
            total += sum(int(ticks) for ticks in _stat(process)[13:15]) / _TICKS_PER_S
    return total


def machine_s() -> tuple[float, float]:
    """Seconds that all processors together were busy, and idle, since the machine started."""
    first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    user, nice, system, idle, waiting, *more = (int(ticks) / _TICKS_PER_S for ticks in first.split()[1:])
    return user + nice + system + sum(more[:2]), idle + waiting


def _stat(process: Path) -> list[str]:
    """The fields of its `stat` from the third on."""
    return (process / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()


def own_s(pid: int) -> float:
    """The same of one process alone, without those that it started."""
    total = 0.0
    for task in (Path("/proc") / str(pid) / "task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            nanoseconds = (task / "schedstat").read_text(encoding="ascii").split()[0]
            total += int(nanoseconds) / 1e9
    return total
