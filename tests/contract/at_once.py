"""The same call from several threads at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


def at_once(call: Callable[[_T], object], values: Sequence[_T]) -> None:
    """A thread for each value, all of which begin together; the first failure is raised when all have ended."""
    begin = threading.Barrier(len(values))

    def one(value: _T) -> None:
        begin.wait(30)
        call(value)

    with ThreadPoolExecutor(len(values)) as pool:
        for done in [pool.submit(one, value) for value in values]:
            done.result()
