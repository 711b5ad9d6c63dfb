"""Resident memory of a running lab, by program: `python -m bench.memory [--root var/lab]`. Read it while the lab is idle.

RSS counts a page once for each process that maps it (PostgreSQL's processes share most of theirs: its shared buffers count
once a connection), PSS counts each page once, shared out among those that map it. So the sum of PSS is what the programs
take together and what the bound is about; the sum of RSS is printed beside it. Source: /proc/PID/smaps_rollup (proc(5)), in kB of 1024 bytes;
printed in MB of 10^6.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.lab import processes
from deploy.lab.layout import Lab
from deploy.lab.supervise import Supervisor, is_up

REPOSITORY = Path(__file__).resolve().parents[1]
COUNTED = ("web", "worker", "beat", "watch", "postgres", "redis", "directory", "edge", "front")
BOUND_MB = 800


@dataclass(frozen=True)
class Use:
    """What some processes hold, in bytes."""

    processes: int = 0
    rss: int = 0
    pss: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(self.processes + other.processes, self.rss + other.rss, self.pss + other.pss)


def use_of(pids: Iterable[int]) -> Use:
    """The sum over these processes; those that have ended count nothing."""
    total = Use()
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
            sizes = {words[0]: int(words[1]) * 1024 for words in map(str.split, lines[1:])}
            total += Use(1, sizes["Rss:"], sizes["Pss:"])
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if everything counted runs and keeps the bound."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=REPOSITORY / "var" / "lab")
    lab = Lab.at(parser.parse_args(arguments).root)
    supervisor = Supervisor(lab)
    supervisor_pid = supervisor.pid()
    if supervisor_pid is None:
        print(f"the lab in {lab.root} is down: start it with `make up`", file=sys.stderr)
        return 1
    guests = {process.pid for process in processes.of_lab(lab) if process.is_guest}
    used = {
        row.name: use_of(pid for pid in processes.descendants(row.pid) if pid not in guests)
        for row in supervisor.rows()
        if is_up(row) and row.pid
    }
    missing = [name for name in COUNTED if name not in used]
    print(f"{'':<22}{'processes':>10}{'RSS MB':>10}{'PSS MB':>10}")
    for name in COUNTED:
        if name in used:
            _row(name, used[name])
    total = sum((used[name] for name in COUNTED if name in used), Use())
    _row("together", total)
    print("apart")
    for name in sorted(set(used) - set(COUNTED)):
        _row(f"  {name} (hypervisor)", used[name])
    _row("  guests", use_of(guests))
    _row("  supervisord", use_of([supervisor_pid]))
    if missing:
        print(f"not running, so there is no verdict: {', '.join(missing)}", file=sys.stderr)
        return 1
    holds = total.pss <= BOUND_MB * 1_000_000
    print(
        f"bound: at most {BOUND_MB} MB resident together, each page counted once (PSS): {'holds' if holds else 'DOES NOT HOLD'}"
    )
    return 0 if holds else 1


def _row(name: str, use: Use) -> None:
    print(f"{name:<22}{use.processes:>10}{use.rss / 1e6:>10.1f}{use.pss / 1e6:>10.1f}")


if __name__ == "__main__":
    sys.exit(main())
