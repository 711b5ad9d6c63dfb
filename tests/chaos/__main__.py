"""The soak from the command line; see the package. Ends with 0 if every promise was kept (or, unfenced, was broken)."""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.rehearsal.site import Shape, Site, rehearsal
from deploy.rehearsal.stage import Haste
from tests.chaos import careers, unfenced
from tests.chaos.disturber import Disturber

LEASE_S = 4.0
HASTE = Haste(lease=LEASE_S, first_wait=0.3, longest_wait=3.0)
DELAYS = {
    "ensure_network": 0.1,
    "ensure_overlay": 0.15,
    "ensure_volume": 0.1,
    "ensure_content": 0.1,
    "ensure_clone_disk": 0.15,
    "ensure_clone_data": 0.1,
    "ensure_clone_memory": 0.2,
    "ensure_domain": 0.1,
    "resume_clone": 0.3,
    "personalise": 0.3,
    "start_domain": 0.3,
    "shutdown_domain": 0.2,
    "kill_domain": 0.1,
    "remove_domain": 0.1,
    "remove_volume": 0.05,
    "remove_network": 0.05,
    "power": 0.02,
}
"""How long the fake hosts take: a twentieth of real ones."""
REST_S = 240.0
"""How long what is under way may take to end when nothing is disturbed any more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=500, help="for platforms and for changes of them")
    parser.add_argument("--seed", type=int, default=None, help="what people want and what is disturbed")
    parser.add_argument("--seconds", type=float, default=3600, help="give up after so long")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--without-fencing", action="store_true", help="has to break what was promised")
    parser.add_argument("--logs", type=Path, help="keep the logs of all processes in this folder")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    name = " --without-fencing" if options.without_fencing else ""
    print(f"python -m tests.chaos --requests {options.requests} --seed {seed}{name}", flush=True)
    environment = {unfenced.VARIABLE: "yes"} if options.without_fencing else {}
    shape = Shape(
        hosts=("h1", "h2", "h3", "h4"),
        workers=options.workers,
        delays=DELAYS,
        slapd=True,
        haste=HASTE,
        app="tests.chaos.worker",
        environment=environment,
    )
    with rehearsal(shape) as site:
        try:
            return _soak(site, seed, options)
        finally:
            if options.logs:
                _keep(site, options.logs)


def _soak(site: Site, seed: int, options: argparse.Namespace) -> int:
    from tests.chaos import report
    from tests.chaos.people import People

    began = time.monotonic()
    _log_to(site.folder / "logs" / "portal.log")
    _warm("h1", "h2")
    site.start_workers()
    wanted = careers.draw(seed, options.requests)
    people, disturber = People(wanted), Disturber(site, seed, LEASE_S)
    _say(began, f"{len(wanted)} platforms are wanted on {len(site.shape.hosts)} hosts")
    disturber.start()
    told = time.monotonic()
    while not people.over and time.monotonic() - began < options.seconds:
        people.turn()
        disturber.supervise()
        time.sleep(0.25)
        if time.monotonic() - told > 30:
            told = time.monotonic()
            _say(began, f"{len(people.accepted)} requests taken, {people.left} platforms to go")
    disturber.finish()
    _say(began, "nothing is disturbed any more")
    end = time.monotonic() + REST_S
    while not people.quiet() and time.monotonic() < end:
        people.turn()
        disturber.supervise()
        time.sleep(0.25)
    _say(began, "all is quiet" if people.quiet() else f"something goes on after {REST_S:g} s")
    for server in (*site.workers, site.beat):
        server.stop()
    return report.report(site, people, disturber, began, fenced=not options.without_fencing)


def _log_to(path: Path) -> None:
    """What this process has to say as a portal."""
    stream = path.open("a")
    for name in ("", *logging.root.manager.loggerDict):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(stream)


def _warm(*names: str) -> None:
    """Templates on some hosts, so that their machines are resumed; those of the others boot."""
    from placo.platforms.models import Host
    from placo.services import templates

    Host.objects.exclude(name__in=names).update(warm=False)
    for host in Host.objects.filter(name__in=names):
        templates.keep_templates(host.pk)


def _say(began: float, text: str) -> None:
    print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)


def _keep(site: Site, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for log in (*site.folder.glob("logs/*"), *site.folder.glob("*.log"), *site.folder.glob("*.jsonl")):
        shutil.copy(log, folder / log.name)


if __name__ == "__main__":
    sys.exit(main())
