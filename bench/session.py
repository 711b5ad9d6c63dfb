"""What the benchmarks share: one at a time in a lab, clean ends, how figures are said."""

from __future__ import annotations

import fcntl
import signal
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

REPOSITORY = Path(__file__).resolve().parents[1]
ROOT = REPOSITORY / "var" / "lab"


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """One benchmark at a time in the lab below `root`: a second one would remove what the first one made.

    SIGTERM ends it as Ctrl-C does, by KeyboardInterrupt: what was made is removed.
    """
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with (root / "bench.lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def say(text: str) -> None:
    """A line about what was done."""
    print(f"  {text}", flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say afterwards how long something took."""
    started = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - started:.1f} s")


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median, quartiles, least and most, each formatted."""
    return "".join(f"{format(value, form):>9}" for value in five(values))


def five(values: Sequence[float]) -> tuple[float, float, float, float, float]:
    """Median, lower and upper quartile, least and most."""
    if len(values) == 1:
        return (values[0],) * 5
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high, min(values), max(values)


SPREAD_TITLES = "".join(f"{title:>9}" for title in ("median", "quarter", "3 quart.", "least", "most"))


def verdict(bound: str, holds: bool) -> bool:
    """Say whether a bound holds, and return it."""
    print(f"bound: {bound}: {'holds' if holds else 'DOES NOT HOLD'}")
    return holds
