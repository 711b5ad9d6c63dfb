"""Finding and ending the processes of one lab, however they were left behind.

A process belongs to a lab when it carries the lab's marker in its environment, lives in one of its network
namespaces, or sees one of its host folders as /var/lib/libvirt (QEMU is started by libvirt with a clean
environment, and a namespace's name may be gone).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.lab import network
from deploy.lab.layout import MARKER, Lab
from deploy.lab.shell import wait_until

#: Programs that libvirtd starts and that must outlive it: guests, and the DHCP and DNS of their networks.
_GUEST_PROGRAMS = ("qemu-system-", "dnsmasq")


@dataclass(frozen=True)
class Process:
    """A running process, with its start time so that a reused pid is never mistaken for it."""

    pid: int
    name: str
    started: int
    host: str | None = None

    @property
    def is_guest(self) -> bool:
        """Whether it is a virtual machine."""
        return self.name.startswith("qemu-system-")

    @property
    def outlives_libvirt(self) -> bool:
        return self.name.startswith(_GUEST_PROGRAMS)


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of a live process; None when it is gone or a zombie (proc(5), stat)."""
    try:
        fields = _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def of_lab(lab: Lab) -> list[Process]:
    """Every live process of the lab, this one and those that started it excepted."""
    own = set(_ancestors())
    marker = f"{MARKER}={lab.id}".encode()
    portal = network.inode(lab.namespace)
    hosts = {network.inode(host.namespace): host.name for host in lab.hosts}
    hosts.pop(None, None)
    folders = {_identity(host.folder / "lib"): host.name for host in lab.hosts}
    folders.pop(None, None)
    found: list[Process] = []
    for pid in _pids():
        started = start_time(pid)
        if pid in own or started is None:
            continue
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            namespace = Path(f"/proc/{pid}/ns/net").stat().st_ino
            host = hosts.get(namespace) or folders.get(_identity(Path(f"/proc/{pid}/root/var/lib/libvirt")))
            ours = host or namespace == portal or marker in _environment(pid)
            if ours:
                found.append(Process(pid, _name(pid), started, host))
    return found


def left_by_program(lab: Lab, program: str) -> list[Process]:
    """The processes that a supervised program left behind when its first process was killed.

    supervisord gives each program a process group, which its start script notes in `run/<program>.group`; the
    environment says nothing here, because nginx and others overwrite it with their titles.
    """
    noted = group_file(lab, program)
    group = noted.read_text().strip() if noted.exists() else ""
    return [process for process in of_lab(lab) if group and _stat(process.pid)[2] == group]


def group_file(lab: Lab, program: str) -> Path:
    """Where a start script notes the process group of its program."""
    return lab.run / f"{program}.group"


def descendants(pid: int) -> list[int]:
    """A process and all its children, theirs too."""
    children: dict[int, list[int]] = {}
    for each in _pids():
        with suppress(FileNotFoundError, ProcessLookupError):
            children.setdefault(int(_stat(each)[1]), []).append(each)
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def alive(processes: Iterable[Process]) -> list[Process]:
    """Those that still run."""
    return [process for process in processes if start_time(process.pid) == process.started]


def end(
    processes: Iterable[Process], *, seconds: float = 10, number: signal.Signals = signal.SIGTERM
) -> None:
    """Ask processes to stop, wait up to `seconds`, then kill those that did not."""
    left = alive(processes)
    for each in (number, signal.SIGKILL):
        for process in left:
            with suppress(ProcessLookupError):
                # PostgreSQL's SIGTERM waits for clients; SIGINT is its fast shutdown.
                fast = each == signal.SIGTERM and process.name == "postgres"
                os.kill(process.pid, signal.SIGINT if fast else each)
        ended = list(left)
        wait_until(lambda ended=ended: not alive(ended), seconds=seconds)  # type: ignore[misc]
        left = alive(left)
        if not left:
            return


def _pids() -> Iterator[int]:
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            yield int(path.name)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on: state, parent, process group ... (proc(5)); none after an end."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields or ["X", "0", "0"]


def _ancestors() -> Iterator[int]:
    pid = os.getpid()
    while pid > 0:
        yield pid
        try:
            pid = int(_stat(pid)[1])
        except (FileNotFoundError, ProcessLookupError):
            return


def _environment(pid: int) -> set[bytes]:
    return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
    except FileNotFoundError:
        return ""


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
