"""One connection to a far side, shared by all threads, opened when first needed and again when it has died.

Nobody waits long for a far side that hangs, and nobody waits at all for one that just failed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from placo.drivers.ports import Unavailable

T = TypeVar("T")

PAUSE_S = 3.0
"""How long a far side that could not be reached is not tried again: whoever asks is told at once."""
GIVEN_UP_S = 60.0
"""An attempt that hangs for so long is left to itself, and another one is made."""


def _in_thread(name: str, work: Callable[[], T]) -> Future[T]:
    """What comes of `work`, done in a thread of its own: a library's call may hang for ever."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - raised again in everybody who waits
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


class Patience:
    """Calls that may hang for ever, each waited for `timeout_s` at most."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name, self._timeout_s = name, timeout_s

    def call(self, work: Callable[[], T]) -> T:
        """Raises TimeoutError, and what `work` raises. What hangs goes on hanging in its thread."""
        return _in_thread(self._name, work).result(self._timeout_s)


class SharedConnection(Generic[T]):
    """Gives out what `opener` returns for as long as `is_alive` says so.

    Whoever asks first waits for an attempt, `timeout_s` at most; once it is known to hang, or has failed just now, all others
    are told at once, so that a dead host holds nobody who could do something else. A hanging attempt is not repeated
    before `GIVEN_UP_S`, so that threads do not pile up.
    """

    def __init__(
        self, name: str, opener: Callable[[], T], is_alive: Callable[[T], bool], timeout_s: float
    ) -> None:
        self._name, self._opener, self._is_alive, self._timeout_s = name, opener, is_alive, timeout_s
        self._lock = threading.Lock()
        self._attempt: Future[T] | None = None
        self._began = 0.0
        self._failed: float | None = None

    def get(self) -> T:
        """A live connection; raises Unavailable."""
        with self._lock:
            attempt = self._attempt
            if attempt is None or self._is_to_repeat(attempt):
                attempt = self._attempt = _in_thread(f"connect-{self._name}", self._opener)
                self._began, self._failed = time.monotonic(), None
            patience = self._timeout_s if self._failed is None else 0
        try:
            return attempt.result(patience)
        except TimeoutError:
            self._note_failure(attempt)
            raise Unavailable(f"{self._name} did not answer within {self._timeout_s:g} s") from None
        except Exception as error:
            self._note_failure(attempt)
            raise Unavailable(f"{self._name} cannot be reached: {error}") from error

    def is_dead(self) -> bool:
        """The last connection has broken, or none could be made."""
        with self._lock:
            return self._attempt is None or self._is_over(self._attempt)

    def _note_failure(self, attempt: Future[T]) -> None:
        with self._lock:
            if self._attempt is attempt and self._failed is None:
                self._failed = time.monotonic()

    def _is_to_repeat(self, attempt: Future[T]) -> bool:
        now = time.monotonic()
        if not attempt.done():
            return now - self._began > GIVEN_UP_S
        if attempt.exception() is not None:
            return self._failed is not None and now - self._failed > PAUSE_S
        return not self._is_alive(attempt.result())

    def _is_over(self, attempt: Future[T]) -> bool:
        if not attempt.done():
            return False
        return attempt.exception() is not None or not self._is_alive(attempt.result())
