"""The lab's supervisord, spoken to over its UNIX socket (XML-RPC)."""

from __future__ import annotations

import http.client
import xmlrpc.client
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from deploy.lab import processes
from deploy.lab.layout import MARKER, Lab
from deploy.lab.programs import SYSTEM_PATH, Program
from deploy.lab.shell import LabError, run, wait_until

_RUNNING = ("STARTING", "RUNNING", "BACKOFF")
_BAD_NAME = 10
_NOT_RUNNING = 70
_ALREADY_STARTED = 60


@dataclass(frozen=True)
class Row:
    """What supervisord knows of one program."""

    name: str
    state: str
    description: str
    pid: int


class Supervisor:
    """The lab's supervisord; every method but `is_running` needs it to run."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def is_running(self) -> bool:
        """Whether it answers."""
        return self.pid() is not None

    def pid(self) -> int | None:
        """Its process id; None when it does not answer."""
        try:
            return int(self._call("getPID"))
        except (OSError, http.client.HTTPException):
            return None

    def launch(self) -> None:
        """Start it as a daemon and wait until it answers."""
        for stale in (self._lab.supervisor_socket, self._lab.run / "supervisord.pid"):
            stale.unlink(missing_ok=True)
        environment = {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": "/root", MARKER: self._lab.id}
        command = [self._lab.python, "-m", "supervisor.supervisord", "-c", self._lab.root / "supervisor.conf"]
        run(command, env=environment)
        if not wait_until(self.is_running, seconds=15):
            raise LabError("supervisord does not answer", f"read {self._lab.logs}/supervisord.log")

    def reread(self) -> None:
        """Take in changed configuration: changed programs are restarted by the next `start`, removed ones stop."""
        [[added, changed, removed]] = self._call("reloadConfig")
        for name in (*changed, *removed):
            self._stop_group(name)
            self._call("removeProcessGroup", name)
        for name in (*added, *changed):
            self._call("addProcessGroup", name)

    def start(self, programs: Sequence[Program]) -> None:
        """Start those that do not run."""
        for program in programs:
            try:
                self._call("startProcess", program.name, False)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != _ALREADY_STARTED:
                    raise LabError(f"{program.name} cannot be started: {fault.faultString}") from fault

    def stop(self, names: Sequence[str]) -> None:
        """Stop those that run and wait for their end."""
        for name in names:
            self._stop_group(name)

    def rows(self) -> list[Row]:
        """All programs it knows, in starting order."""
        found = self._call("getAllProcessInfo")
        return [Row(row["name"], row["statename"], row["description"], row["pid"]) for row in found]

    def shutdown(self) -> None:
        """Stop all programs and itself, and wait for the end."""
        pid = self.pid()
        if pid is None:
            return
        started = processes.start_time(pid)
        self._call("shutdown")
        wait_until(lambda: processes.start_time(pid) != started, seconds=60)

    def _stop_group(self, name: str) -> None:
        try:
            self._call("stopProcessGroup", name, True)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in (_BAD_NAME, _NOT_RUNNING):
                raise LabError(f"{name} cannot be stopped: {fault.faultString}") from fault

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._lab.supervisor_socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)


def is_up(row: Row) -> bool:
    """Whether a program runs or is about to."""
    return row.state in _RUNNING
