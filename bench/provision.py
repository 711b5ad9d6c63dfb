"""One machine from a template, by booting, and the classic way, interleaved: `python -m bench.provision --n 20`.

`warm` and `cold` go through the portal and its engine: a platform with a web site alone is asked for and approved; the
time goes from the beginning of the run's first step until somebody has logged in over HTTPS with the directory's password.
The classic way is `virt-clone` of a stock image with cloud-init, until Apache shows its first page over plain HTTP. Each
round makes one machine each way on the same host, in an order that alternates. All of it is removed again, also after Ctrl-C;
what a killed run left is removed by the next.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django
import httpx

from bench import figures, rounds
from bench.platforms import Platforms
from bench.probe import NoAnswerError
from bench.session import ROOT, alone, say, timed
from bench.stock import PREFIX, StockImage
from bench.ways import Classic, Place
from deploy import client
from deploy.lab.layout import Lab
from deploy.lab.shell import LabError
from placo import wiring
from placo.drivers.ports import DriverError


@dataclass
class Measured:
    """All that a run of the benchmark found out."""

    samples: list[rounds.Sample] = field(default_factory=list)
    templates: list[dict[str, Any]] = field(default_factory=list)
    written_before_boot: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the bounds hold, 1 if not or if the measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.provision", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=20, help="rounds (default 20)")
    parser.add_argument(
        "--classic-n", type=int, default=3, help="rounds with the classic way, 100 s each (default 3)"
    )
    parser.add_argument("--config", type=Path, default=ROOT / "placo.toml")
    parser.add_argument("--host", default="h1", help="name of the host (default h1)")
    options = parser.parse_args(arguments)
    if options.n < 1 or not 0 <= options.classic_n <= options.n:
        parser.error("--n: at least 1; --classic-n: from 0 to as many")
    config = options.config.resolve()
    if not config.is_file():
        print(f"there is no {config}: start a lab with `make up`", file=sys.stderr)
        return 1
    # The drivers are wired from this file when they are first asked for.
    os.environ["PLACO_CONFIG"] = str(config)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "placo.settings")
    django.setup()
    measured = Measured()
    status = 0
    try:
        with alone(config.parent):
            measure(config.parent, options.host, options.n, options.classic_n, measured)
    except KeyboardInterrupt:
        print("\nstopped; what was made is removed", file=sys.stderr)
        status = 1
    except (LabError, DriverError, NoAnswerError, RuntimeError, OSError, httpx.HTTPError) as error:
        print(f"\nbench.provision: {error}", file=sys.stderr)
        status = 1
    if not any(sample.way == rounds.WARM for sample in measured.samples):
        return 1
    return status if report(measured) else 1


def measure(root: Path, host_name: str, count: int, classic_count: int, measured: Measured) -> None:
    """All rounds, into `measured`: what was measured before a failure is not lost."""
    host = next((h for h in Lab.at(root).hosts if h.name == host_name), None)
    if host is None:
        raise LabError(f"the lab has no host {host_name}")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"Load of this machine before: {load} ({os.cpu_count()} processors)", flush=True)
    place, platforms = Place.on(host_name), Platforms(client.Lab.read(root))
    ours = rounds.Ours(platforms, host, place)
    place.remove(PREFIX)
    with ours.switched(), platforms.cleared():
        try:
            measured.templates = ours.templates()
            classic = _classic(place) if classic_count else None
            measured.written_before_boot = place.written_before_boot()
            for number in range(count):
                ways = [rounds.WARM, rounds.COLD]
                # Spread over all rounds: the k-th as soon as k/classic_count of them have begun.
                if classic and number * classic_count // count != (number - 1) * classic_count // count:
                    ways.append(rounds.CLASSIC)
                for way in ways if number % 2 == 0 else reversed(ways):
                    if classic and way == rounds.CLASSIC:
                        sample = rounds.make_classic(classic, host.lab.namespace, host)
                    else:
                        sample = ours.make(way)
                    measured.samples.append(sample)
                    say(f"round {number + 1}: {_line(sample)}")
        finally:
            place.remove(PREFIX)


def _classic(place: Place) -> Classic:
    stock = StockImage(wiring.site().site.image_cache, wiring.catalogue()).ensure("www", say)
    with timed("preparing the classic way: image, network and template"):
        place.make_network()
        classic = Classic(place, stock)
        classic.prepare()
    return classic


def _line(sample: rounds.Sample) -> str:
    cost = sample.cost
    spent = f"{cost.cpu_s:.1f} processor seconds, {cost.volumes / 1e6:.1f} MB in volumes"
    return f"{sample.way:<11} {sample.seconds:7.2f} s, {spent} {sample.fell_back}".rstrip()


def report(measured: Measured) -> bool:
    """Print all figures; says whether the bounds hold."""
    figures.show(measured.samples)
    figures.show_templates(measured.templates)
    figures.show_steps(measured.samples, rounds.WARM)
    figures.show_steps(measured.samples, rounds.COLD)
    return figures.judge(measured.samples, measured.written_before_boot)


if __name__ == "__main__":
    sys.exit(main())
