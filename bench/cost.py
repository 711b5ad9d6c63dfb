"""What a machine costs its host: processor seconds and bytes written, of its QEMU and of the lab's libvirtd (proc(5))."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.lab.layout import Host

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Use:
    """Processor seconds and bytes written of a process since it started."""

    cpu_s: float = 0.0
    written: int = 0

    def __sub__(self, other: Use) -> Use:
        return Use(self.cpu_s - other.cpu_s, self.written - other.written)


def use_of(pid_file: Path) -> Use:
    """Of the process that a file names and of those it waited for; nothing when there is none.

    `write_bytes` of /proc/PID/io: what it caused to be sent to storage, so also what was deleted again before it got there.
    """
    with suppress(FileNotFoundError, ProcessLookupError, ValueError):
        process = Path("/proc") / str(int(pid_file.read_text(encoding="ascii")))
        fields = (process / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        lines = (process / "io").read_text(encoding="ascii").splitlines()
        counts = dict(line.split(": ") for line in lines)
        # utime, stime, cutime and cstime: the fields 14 to 17; this list begins with the third.
        ticks = sum(int(field) for field in fields[11:15])
        return Use(ticks / _TICKS_PER_S, int(counts["write_bytes"]))
    return Use()


@dataclass(frozen=True)
class Cost:
    """Of one machine until its first answer. `volumes`: what its volumes take then; `written`: by QEMU and libvirtd."""

    qemu_s: float
    libvirtd_s: float
    written: int
    volumes: int = 0

    @property
    def cpu_s(self) -> float:
        """Seconds of a processor of the host."""
        return self.qemu_s + self.libvirtd_s


class Meter:
    """Started before a machine is made on an otherwise idle host, read when it has answered."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.libvirtd = use_of(host.run / "libvirtd.pid")

    def read(self, domain: str) -> Cost:
        """What it has cost until now, its volumes left out."""
        qemu = use_of(self.host.run / "qemu" / f"{domain}.pid")
        libvirtd = use_of(self.host.run / "libvirtd.pid") - self.libvirtd
        return Cost(qemu.cpu_s, libvirtd.cpu_s, qemu.written + libvirtd.written)
