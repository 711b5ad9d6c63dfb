"""The QEMU guest agent's commands that PLACO needs, over whatever carries one JSON text to it and back.

Protocol: https://qemu.readthedocs.io/en/v7.2.0/interop/qemu-ga-ref.html. What is sent may hold secrets: it is in no error.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

from placo.drivers.ports import DriverError

EXEC_POLL_S = 0.2


class AgentMissing(DriverError):
    """The agent does not answer (not yet, or not any more)."""


class CommandFailed(DriverError):
    """A program of the guest ended with another exit status than 0."""

    def __init__(self, text: str, status: int | None) -> None:
        super().__init__(text)
        self.status = status


class NoSuchFile(DriverError):
    """There is no such file in the guest."""


Ask = Callable[[str], str]
"""Sends a command, returns the answer; raises AgentMissing, NoSuchFile or DriverError."""


class GuestAgent:
    """One guest's agent."""

    def __init__(self, name: str, ask: Ask) -> None:
        self.name = name
        self._ask = ask

    def _call(self, command: str, **arguments: Any) -> Any:
        return json.loads(self._ask(json.dumps({"execute": command, "arguments": arguments})))["return"]

    def ping(self) -> bool:
        """Whether the agent answers."""
        try:
            self._call("guest-ping")
        except AgentMissing:
            return False
        return True

    def read(self, path: str) -> bytes:
        """A small file of the guest; NoSuchFile when there is none."""
        handle = self._call("guest-file-open", path=path, mode="r")
        try:
            answer = self._call("guest-file-read", handle=handle, count=65536)
        finally:
            self._call("guest-file-close", handle=handle)
        return base64.b64decode(answer.get("buf-b64", ""))

    def write(self, path: str, content: bytes) -> None:
        """Write a file of the guest; its folder exists."""
        handle = self._call("guest-file-open", path=path, mode="w")
        try:
            written = self._call(
                "guest-file-write", handle=handle, **{"buf-b64": base64.b64encode(content).decode()}
            )
        finally:
            self._call("guest-file-close", handle=handle)
        if written["count"] != len(content):
            raise DriverError(
                f"{self.name}: {path}: {written['count']} of {len(content)} bytes could be written"
            )

    def run(self, *command: str, timeout_s: float) -> None:
        """Run a program of the guest to its end; CommandFailed with what it said when it fails, DriverError when it takes longer."""
        path, *arguments = command
        pid = self._call("guest-exec", path=path, arg=arguments, **{"capture-output": True})["pid"]
        end = time.monotonic() + timeout_s
        while not (status := self._call("guest-exec-status", pid=pid))["exited"]:
            if time.monotonic() > end:
                raise DriverError(f"{self.name}: {path} has not ended within {timeout_s:.0f} s")
            time.sleep(EXEC_POLL_S)
        if status.get("exitcode") != 0:
            said = base64.b64decode(status.get("err-data", "")).decode(errors="replace").strip()[-500:]
            code = status.get("exitcode")
            raise CommandFailed(f"{self.name}: {path} ended with {code}: {said}", code)
