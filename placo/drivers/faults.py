"""Failure injection for the fake drivers: the one way in which tests make an outside world misbehave."""

from __future__ import annotations

import threading
from collections import defaultdict

from placo.drivers.ports import Unavailable


class Faults:
    """What goes wrong next. An operation is named after the method of the contract: ``"ensure_platform"``.

    A fake calls `check` at the start of each operation, before it changes anything.
    """

    def __init__(self, name: str = "the fake") -> None:
        self.name = name
        self.unreachable = False
        self._lock = threading.Lock()
        self._coming: dict[str, list[BaseException]] = defaultdict(list)

    def fail_next(self, operation: str, error: BaseException, times: int = 1) -> None:
        """The next `times` calls of `operation` raise `error`; what was asked before comes first."""
        with self._lock:
            self._coming[operation].extend([error] * times)

    def clear(self) -> None:
        """All is well again."""
        with self._lock:
            self._coming.clear()
            self.unreachable = False

    def check(self, operation: str) -> None:
        """Raise what was asked for `operation`, else Unavailable while `unreachable`."""
        with self._lock:
            error = self._coming[operation].pop(0) if self._coming[operation] else None
        if error is not None:
            raise error
        if self.unreachable:
            raise Unavailable(f"{self.name} does not answer")
