"""One connection to a far side, shared by all threads, opened when first needed and again when it has died."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from placo.drivers.ports import Unavailable

T = TypeVar("T")


class SharedConnection(Generic[T]):
    """Gives out what `opener` returns for as long as `is_alive` says so.

    `opener` runs in a thread of its own, because a library's connect may hang for ever: whoever asks waits `timeout_s`
    at most, and a hanging attempt is waited for again by the next caller instead of piling up threads.
    """

    def __init__(
        self, name: str, opener: Callable[[], T], is_alive: Callable[[T], bool], timeout_s: float
    ) -> None:
        self._name, self._opener, self._is_alive, self._timeout_s = name, opener, is_alive, timeout_s
        self._lock = threading.Lock()
        self._attempt: Future[T] | None = None

    def get(self) -> T:
        """A live connection; raises Unavailable."""
        with self._lock:
            attempt = self._attempt
            if attempt is None or self._is_over(attempt):
                attempt = self._attempt = Future()
                threading.Thread(
                    target=self._open, args=(attempt,), name=f"connect-{self._name}", daemon=True
                ).start()
        try:
            return attempt.result(self._timeout_s)
        except TimeoutError:
            raise Unavailable(f"{self._name} did not answer within {self._timeout_s:g} s") from None
        except Exception as error:
            raise Unavailable(f"{self._name} cannot be reached: {error}") from error

    def is_dead(self) -> bool:
        """The last connection has broken, or none could be made."""
        with self._lock:
            return self._attempt is None or self._is_over(self._attempt)

    def _is_over(self, attempt: Future[T]) -> bool:
        if not attempt.done():
            return False
        return attempt.exception() is not None or not self._is_alive(attempt.result())

    def _open(self, attempt: Future[T]) -> None:
        try:
            attempt.set_result(self._opener())
        except Exception as error:  # noqa: BLE001 - raised again in every get() that waits
            attempt.set_exception(error)
