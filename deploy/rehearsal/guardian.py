"""Whoever starts processes and makes folders may be killed: a small process of its own waits for that and clears away.

It is told what there is over a pipe, and learns from the pipe's end that nobody needs it any more.
"""

from __future__ import annotations

import atexit
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_FAREWELL_S = 3.0


class _Guardian:
    """The other end of the pipe; started when first needed, one for each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def tell(self, *words: object) -> None:
        with self._lock:
            if self._process is None or self._owner != os.getpid():
                command = [sys.executable, "-S", "-E", __file__]
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, text=True, start_new_session=True
                )
                self._owner = os.getpid()
                atexit.register(self.dismiss)
            if self._process.stdin is not None:
                self._process.stdin.write("\t".join(map(str, words)) + "\n")
                self._process.stdin.flush()

    def dismiss(self) -> None:
        """All that it still knows of goes now."""
        with self._lock:
            if self._process is None or self._owner != os.getpid() or self._process.stdin is None:
                return
            self._process.stdin.close()
            self._process.wait()
            self._process = None


_guardian = _Guardian()


def process_began(pid: int, farewell: signal.Signals = signal.SIGKILL) -> None:
    """A process group that gets this signal when its starter is no more."""
    _guardian.tell("process", pid, farewell.value)


def process_ended(pid: int) -> None:
    """There is nothing to clear away: its number may be somebody else's from now on."""
    _guardian.tell("ended", pid)


def folder_made(folder: Path) -> None:
    """A folder that goes when its maker is no more."""
    _guardian.tell("folder", folder)


def folder_removed(folder: Path) -> None:
    """It is gone."""
    _guardian.tell("removed", folder)


def _watch(lines: Iterable[str]) -> None:
    processes: dict[int, int] = {}
    folders: set[str] = set()
    for line in lines:
        what, name, *more = line.rstrip("\n").split("\t")
        if what == "process":
            processes[int(name)] = int(more[0])
        elif what == "ended":
            processes.pop(int(name), None)
        elif what == "folder":
            folders.add(name)
        elif what == "removed":
            folders.discard(name)
    ends = []
    for pid, farewell in processes.items():
        with suppress(ProcessLookupError):
            ends.append(os.pidfd_open(pid))  # readable once the process has ended: pidfd_open(2)
            for number in (farewell, signal.SIGCONT):
                os.killpg(pid, number)
    last = time.monotonic() + _FAREWELL_S
    while ends and (left := last - time.monotonic()) > 0:
        ended, _writable, _odd = select.select(ends, [], [], left)
        ends = [end for end in ends if end not in ended]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _watch(sys.stdin)
