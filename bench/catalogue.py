"""The figures of the whole catalogue on a running, idle lab: `python -m bench.catalogue [--only PART ...] [--n 1]`.

machines    each kind alone: memory, image, from approval to ready by booting and from a template
everything  a platform with every service: until it is ready, and its machines' memory
refusals    how long each service lets somebody in who was removed
images      nothing is built again when nothing has changed; with --from-nothing also the build of all images (needs no lab)

Services and machines are read from the catalogue that the lab runs on. All that is made is removed again, also after Ctrl-C;
what a killed run left is removed by the next one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench import builds, everything, kinds, refusals
from bench.made import COLD, WARM
from bench.platforms import Platforms
from bench.session import ROOT, alone
from bench.warmth import Warmth
from deploy.client import Lab
from deploy.lab.shell import LabError
from placo import wiring
from placo.drivers.images import ImageCache
from placo.drivers.ports import DriverError

MACHINES, EVERYTHING, REFUSALS, IMAGES = PARTS = ("machines", "everything", "refusals", "images")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the bounds hold, 1 if not or if the measurement failed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.n < 1:
        parser.error("--n: at least 1")
    parts, config = set(options.only), options.config.resolve()
    in_lab = bool(parts - {IMAGES})
    if in_lab and not config.is_file():
        print(f"there is no {config}: start a lab with `make up`", file=sys.stderr)
        return 1
    # The drivers are wired from this file when they are first asked for.
    os.environ["PLACO_CONFIG"] = str(config)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "placo.settings")
    try:
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        print(f"Load of this machine before: {load} ({os.cpu_count()} processors)", flush=True)
        holds = IMAGES not in parts or builds.measure(from_nothing=options.from_nothing)
        if in_lab:
            with alone(config.parent):
                holds &= _in_lab(config, parts, options)
    except KeyboardInterrupt:
        print("\nstopped; what was made is removed", file=sys.stderr)
        return 1
    except (LabError, DriverError, RuntimeError, TimeoutError, OSError, httpx.HTTPError) as error:
        print(f"\nbench.catalogue: {error}", file=sys.stderr)
        return 1
    return 0 if holds else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.catalogue", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts (default all)"
    )
    parser.add_argument("--n", type=int, default=1, help="how often each is measured (default 1)")
    parser.add_argument(
        "--way", nargs="+", choices=(COLD, WARM), default=[COLD, WARM], help="these ways (default both)"
    )
    parser.add_argument(
        "--from-nothing", action="store_true", help="also build all images from nothing (minutes)"
    )
    parser.add_argument("--config", type=Path, default=ROOT / "placo.toml")
    parser.add_argument("--host", default="h1", help="where the platforms are made (default h1)")
    return parser


def _in_lab(config: Path, parts: set[str], options: argparse.Namespace) -> bool:
    platforms = Platforms(Lab.read(config.parent))
    warmth = Warmth(platforms.admin, options.host)
    # Booting first: afterwards no template is left to be made beside it.
    bench = _Bench(config, platforms, warmth, [w for w in (COLD, WARM) if w in options.way], options.n)
    with warmth.kept(), platforms.cleared():
        holds = MACHINES not in parts or bench.machines()
        if parts & {EVERYTHING, REFUSALS}:
            holds &= bench.everything(figures=EVERYTHING in parts, refused=REFUSALS in parts)
    return holds


@dataclass(frozen=True)
class _Bench:
    """Where and how it is measured."""

    config: Path
    platforms: Platforms
    warmth: Warmth
    ways: Sequence[str]
    count: int

    def machines(self) -> bool:
        """Each kind of machine alone."""
        catalogue, site = wiring.catalogue(), wiring.site().site
        chosen = kinds.kinds(catalogue, site.catalogue)
        try:
            kinds.measure(self.platforms, self.warmth, chosen, self.ways, self.count)
        finally:  # what was measured before a failure is not lost
            holds = kinds.report(chosen, ImageCache(site.image_cache, catalogue), self.ways)
        return holds

    def everything(self, *, figures: bool, refused: bool) -> bool:
        """A platform with all services, and people who are removed from the last one that is made."""
        catalogue, holds = wiring.catalogue(), True
        removed = refusals.Refusals(self.platforms, self.config, catalogue)
        found = everything.measure(
            self.platforms,
            self.warmth,
            sorted(catalogue.services),
            ways=self.ways if figures else self.ways[-1:],
            count=self.count if figures else 1,
            visit=(lambda last: removed.measure(last.slug, self.count)) if refused else None,
        )
        if figures:
            holds &= everything.report(found)
        if refused:
            holds &= refusals.report(removed.found, catalogue)
        return holds


if __name__ == "__main__":
    sys.exit(main())
