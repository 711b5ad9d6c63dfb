"""A doorman without doors: who may come in is asked of somebody else, for tests of everything above the drivers."""

from __future__ import annotations

import threading
from collections.abc import Callable

from placo.domain.doors import LoginKind
from placo.drivers.doors import Answer, Door, Outcome


class FakeDoorman:
    """`doors.Doorman`. `knows(door, uid, password)` says whether somebody may come in. Hosts in `silent` do not answer, those in
    `wide_open` let everybody in, those in `public` whoever gives no name, those in `shut` nobody; `tried` is what was tried, without passwords.
    A key of ssh says nothing here: whoever knows the password has it, too."""

    def __init__(self, knows: Callable[[Door, str, str], bool]) -> None:
        self.knows = knows
        self._lock = threading.Lock()
        self.silent: set[str] = set()
        self.wide_open: set[str] = set()
        self.public: set[str] = set()
        self.shut: set[str] = set()
        self.tried: list[tuple[str, str | None]] = []

    def try_door(
        self,
        door: Door,
        uid: str | None,
        password: str,
        timeout_s: float,
        *,
        key: str = "",  # noqa: ARG002 - as the others
    ) -> Outcome:
        """As told; at once."""
        with self._lock:
            self.tried.append((door.host, uid))
            if door.host in self.silent:
                return Outcome(Answer.SILENT, f"no answer within {timeout_s:g} s")
            if door.host in self.wide_open or door.login.by is LoginKind.NONE:
                return Outcome(Answer.ADMITTED, "answers 200")
            known = door.host in self.public if uid is None else self.knows(door, uid, password)
            if known and door.host not in self.shut:
                return Outcome(Answer.ADMITTED, "answers 200")
            return Outcome(Answer.REFUSED, "answers 401")
