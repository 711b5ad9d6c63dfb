"""PLACO's clones against the classic way, interleaved in one run: `python -m bench.provision [--n 3] [--config FILE]`.

Each round makes the machine `www` both ways on the same host and network, with the same memory, one virtual processor and
the same emulation, one after the other (the order alternates), and waits until it answers: PLACO's machine over HTTPS
with its own certificate, the classic one over HTTP with Apache's first page. Everything made is removed again, also after
Ctrl-C; what a killed run left is removed by the next.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from bench.probe import NoAnswerError, first_answer_from
from bench.stock import PREFIX, StockImage
from bench.ways import Classic, Ours, Place, Way
from deploy.lab.layout import Lab
from deploy.lab.shell import LabError
from placo import wiring
from placo.drivers.ports import DriverError

REPOSITORY = Path(__file__).resolve().parents[1]
ANSWER_TIMEOUT_S = 600
FASTER_AT_LEAST = 2.0
WRITTEN_AT_MOST_MB = 5.0


@dataclass(frozen=True)
class Sample:
    """One machine made one way: seconds for the clone, seconds from start to answer, MB (10^6 bytes) before first boot."""

    way: str
    clone_s: float
    answer_s: float
    written_mb: float

    @property
    def total_s(self) -> float:
        """Until it can be used."""
        return self.clone_s + self.answer_s


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the bounds hold, 1 if not or if the measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.provision", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--config", type=Path, default=REPOSITORY / "var" / "lab" / "placo.toml")
    parser.add_argument("--host", default="h1", help="name of the host (default h1)")
    options = parser.parse_args(arguments)
    if options.n < 1:
        parser.error("--n: at least 1")
    config = options.config.resolve()
    if not config.is_file():
        print(f"there is no {config}: start a lab with `make up`", file=sys.stderr)
        return 1
    # The drivers are wired from this file when they are first asked for.
    os.environ["PLACO_CONFIG"] = str(config)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "placo.settings")
    signal.signal(signal.SIGTERM, _stop)
    try:
        with _alone(config.parent):
            samples = measure(config, options.host, options.n)
    except KeyboardInterrupt:
        print("\nstopped; what was made is removed", file=sys.stderr)
        return 1
    except (LabError, DriverError, NoAnswerError) as error:
        print(f"\nbench.provision: {error}", file=sys.stderr)
        return 1
    return 0 if report(samples) else 1


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One benchmark at a time in a lab: a second one would remove what the first one made."""
    with (root / "bench.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def measure(config: Path, host: str, rounds: int) -> list[Sample]:
    """All rounds."""
    namespace = Lab.at(config.parent).namespace
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"Load of this machine before: {load} ({os.cpu_count()} processors)", flush=True)
    images = StockImage(wiring.site().site.image_cache, wiring.catalogue())
    stock = images.ensure("www", _say)
    place = Place.on(host)
    place.remove(PREFIX)
    try:
        with _timed("preparing image, network and template"):
            place.make_network()
            ours, classic = Ours(place), Classic(place, stock)
            ours.prepare()
            classic.prepare()
        samples = []
        for number in range(rounds):
            pair: list[Way] = [ours, classic]
            for way in pair if number % 2 == 0 else reversed(pair):
                samples.append(_sample(place, way, namespace))
                _say(f"round {number + 1}: {_line(samples[-1])}")
        return samples
    finally:
        with _timed("removing what was made"):
            place.remove(PREFIX)


def _sample(place: Place, way: Way, namespace: str) -> Sample:
    os.sync()  # nobody's clone shall pay for what the one before it wrote
    began = time.monotonic()
    way.clone()
    cloned = time.monotonic()
    size = place.written(way.prefix)
    started = time.monotonic()
    way.start()
    answered = first_answer_from(namespace, way.target, ANSWER_TIMEOUT_S)
    place.remove(way.prefix)
    return Sample(way.name, cloned - began, answered - started, size / 1e6)


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    _say(f"{what}: {time.monotonic() - started:.1f} s")


def _line(sample: Sample) -> str:
    figures = f"clone {sample.clone_s:.2f} s, start to answer {sample.answer_s:.1f} s"
    return f"{sample.way:<11} {figures}, {sample.written_mb:.2f} MB written before first boot"


def report(samples: Sequence[Sample]) -> bool:
    """Print medians and spread (least to most), the ratio and the bounds; says whether these hold."""
    ways = list(dict.fromkeys(sample.way for sample in samples))
    columns: list[tuple[str, Callable[[Sample], float], str]] = [
        ("clone s", lambda s: s.clone_s, ".2f"),
        ("start to answer s", lambda s: s.answer_s, ".1f"),
        ("together s", lambda s: s.total_s, ".1f"),
        ("written MB", lambda s: s.written_mb, ".2f"),
    ]
    print(f"\nMedian (least to most) of {len(samples) // len(ways)} machines made each way, one at a time")
    print("".join([f"{'':<12}", *(f"{title:>26}" for title, _, _ in columns)]))
    for way in ways:
        cells = []
        for _, figure, form in columns:
            values = [figure(sample) for sample in samples if sample.way == way]
            low, middle, high = (format(f(values), form) for f in (min, statistics.median, max))
            cells.append(f"{f'{middle} ({low} to {high})':>26}")
        print(f"{way:<12}{''.join(cells)}")
    ours, classic = ([s for s in samples if s.way == way] for way in ("PLACO", "virt-clone"))
    ratio = statistics.median(s.total_s for s in classic) / statistics.median(s.total_s for s in ours)
    each = [theirs.total_s / mine.total_s for theirs, mine in zip(classic, ours, strict=True)]
    most = max(s.written_mb for s in ours)
    print(f"\nclassic / PLACO, together: {ratio:.1f} (by round {min(each):.1f} to {max(each):.1f})")
    return _verdict(f"at least {FASTER_AT_LEAST:g} times as fast", ratio >= FASTER_AT_LEAST) & _verdict(
        f"at most {WRITTEN_AT_MOST_MB:g} MB written before first boot", most <= WRITTEN_AT_MOST_MB
    )


def _verdict(bound: str, holds: bool) -> bool:
    print(f"bound: {bound}: {'holds' if holds else 'DOES NOT HOLD'}")
    return holds


if __name__ == "__main__":
    sys.exit(main())
