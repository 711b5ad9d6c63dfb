"""What can be seen of a lab: its programs and their memory, its addresses, its logs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from deploy.lab import hosts, processes, state
from deploy.lab.layout import Lab
from deploy.lab.shell import LabError, say
from deploy.lab.state import State
from deploy.lab.supervise import Supervisor, is_up


def status(lab: Lab) -> bool:
    """Print what runs; says whether everything that was started does."""
    supervisor = Supervisor(lab)
    if not supervisor.is_running():
        left = processes.of_lab(lab)
        kept = "" if lab.root.is_dir() else " (it was never started)"
        say(f"lab {lab.id} in {lab.root}: down{kept}")
        if left:
            say(f"  but {len(left)} of its processes run: `make up` takes them over, `make down` ends them")
        return False
    settled = known_state(lab)
    rows = supervisor.rows()
    memory = _memory_by_program(lab)
    say(f"lab {lab.id} in {lab.root}: up")
    for row in rows:
        used = memory.get(row.name)
        say(f"  {row.name:<10} {row.state:<8} {f'{used:6.1f} MB' if used else '':<10} {row.description}")
    for host in lab.hosts:
        guests = (
            hosts.running_guests(host) if any(row.name == host.name and is_up(row) for row in rows) else []
        )
        say(
            f"  {host.name}: {len(guests)} guest{'s' if len(guests) != 1 else ''} running {' '.join(guests)}".rstrip()
        )
    addresses(lab, settled, [] if any(row.name == "web" for row in rows) else ["app"])
    return all(row.state == "RUNNING" for row in rows)


def logs(lab: Lab, names: Sequence[str], *, follow: bool) -> None:
    """Show the ends of the lab's log files, or follow them."""
    files = [lab.logs / f"{name}.log" for name in names] or sorted(lab.logs.glob("*.log"))
    missing = [str(path) for path in files if not path.exists()]
    if missing or not files:
        raise LabError(f"no log at {', '.join(missing) or lab.logs}", "start the lab with `make up`")
    os.execvp("tail", ["tail", *(["-F"] if follow else ["-n", "20"]), *(str(path) for path in files)])  # noqa: S606


def addresses(lab: Lab, settled: State, without: Sequence[str]) -> None:
    """Where the portal, the edge, the accounts and the logs are."""
    portal = (
        settled.portal_url if "app" not in without else f"{settled.portal_url} (not started: --without app)"
    )
    say(f"  portal       {portal}")
    say(
        f"  edge         https://<slug>-<service>.placo.localhost:{settled.edge_port}/  (CA: {lab.ca_certificate})"
    )
    say(f"  accounts     {lab.credentials}")
    say(f"  configuration {lab.configuration}; logs {lab.logs}")


def known_state(lab: Lab) -> State:
    """The state of a lab that was started once."""
    found = state.load(lab)
    if found is None:
        raise LabError(f"{lab.root}/state.json is missing", "run `make up`")
    return found


def _memory_by_program(lab: Lab) -> dict[str, float]:
    """Resident memory in MB by program: the proportional share (PSS), so that shared pages count once."""
    used: dict[str, float] = {}
    for row in Supervisor(lab).rows():
        total = 0
        for pid in processes.descendants(row.pid) if row.pid else []:
            with suppress(FileNotFoundError, ProcessLookupError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        used[row.name] = total / 1024
    return used
