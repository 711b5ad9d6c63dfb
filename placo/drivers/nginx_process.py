"""A running nginx, reached by its pid file: test its configuration, have it read anew, see that it did."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from placo.drivers.ports import DriverError, Unavailable

_TEST_TIMEOUT_S = 15.0
_POLL_S = 0.02


class Nginx:
    """One nginx master. `binary` is the program that tests its configuration."""

    def __init__(
        self,
        config_file: Path,
        pid_file: Path,
        binary: str = "/usr/sbin/nginx",
        reload_timeout_s: float = 10.0,
    ) -> None:
        self._config_file = config_file
        self._pid_file = pid_file
        self._binary = binary
        self._reload_timeout_s = reload_timeout_s

    def test(self) -> str | None:
        """None if the configuration on disk can be served (warnings of names served twice count), else nginx's words.

        Raises DriverError when nginx cannot be asked.
        """
        command = [self._binary, "-t", "-c", str(self._config_file)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_TEST_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DriverError(f"nginx cannot test its configuration: {error}") from error
        complaints = [
            line
            for line in done.stderr.splitlines()
            if "[emerg]" in line or "conflicting server name" in line
        ]
        if done.returncode == 0 and not complaints:
            return None
        return "; ".join(complaints) or done.stderr.strip() or f"nginx -t ended with status {done.returncode}"

    def running(self) -> bool:
        """Whether its master process is there."""
        try:
            self._master()
        except Unavailable:
            return False
        return True

    def reload(self) -> None:
        """Have the configuration read anew; returns once new workers serve it and no older one takes connections.

        Raises Unavailable when no nginx runs, DriverError when it keeps its old configuration.
        """
        master = self._master()
        before = _children(master)
        try:
            os.kill(master, signal.SIGHUP)
        except ProcessLookupError:
            raise Unavailable("the edge (nginx) is not running") from None
        except PermissionError as error:
            raise DriverError("the portal may not signal the edge (nginx)") from error
        deadline = time.monotonic() + self._reload_timeout_s
        while not self._took_over(master, before):
            if time.monotonic() > deadline:
                raise DriverError(
                    f"the edge did not take its new configuration: {self.test() or 'no reason given'}"
                )
            time.sleep(_POLL_S)

    def _took_over(self, master: int, before: set[int]) -> bool:
        now = _children(master)
        if not now:
            self._master()  # Unavailable if it has died meanwhile
        return bool(now - before) and all(_is_leaving(pid) for pid in now & before)

    def _master(self) -> int:
        """Its pid; a pid file that outlived its nginx may name anybody, so the process's title is checked."""
        try:
            pid = int(self._pid_file.read_text().strip())
        except (OSError, ValueError):
            raise Unavailable("the edge (nginx) is not running") from None
        if not _title(pid).startswith(b"nginx: master"):
            raise Unavailable("the edge (nginx) is not running")
        return pid


def _children(pid: int) -> set[int]:
    """Child processes by /proc/<pid>/task/<pid>/children (proc(5)); none for a process that has gone."""
    try:
        return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return set()


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _is_leaving(pid: int) -> bool:
    """A worker that only finishes what it has begun, or has gone (its title is then empty)."""
    title = _title(pid)
    return not title or b"shutting down" in title
