"""A national site provisioned at once, on fake hosts: `python -m bench.makespan [--platforms 40] [--hosts 8] [--workers 2]`

Platforms of four machines (the catalogue's web and svn, and a copy of each) are approved in one transaction on a rehearsed site of
its own: PostgreSQL, Redis, beat and Celery workers are real, hosts are fakes that take their time for each answer (`DELAYS`: what
the reference machine's hosts take, docs/performance.md). Machines are resumed from templates, which are made before. The makespan
goes from the commit of the approvals to the end of the last run.

The ideal is the longest of three times that no engine can go below, by the delays that the hosts really had in this run:

path    the longest way through the graph of one platform
hands   all delays together, divided by the threads of all workers: a thread waits for one answer at a time
places  the delays of resuming on the busiest host, divided by the machines that it resumes at the same time

Effects cost more than their delays: settings are rendered, certificates signed, files locked. All that is counted as the engine's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import watched
from bench.portal import Portal
from bench.processor import machine_s, tree_s
from bench.session import timed, verdict
from deploy.lab.layout import REPOSITORY
from deploy.rehearsal.site import Shape, Site, rehearsal

if TYPE_CHECKING:
    from placo.platforms.models import Run

BOUND = 1.5
THREADS = 8
PATIENCE_S, LOOK_S = 1200, 0.5
SERVICES = ["web", "svn", "web2", "svn2"]
DELAYS = {
    "ensure_network": 0.1,
    "ensure_image": 0.1,
    "template_key": 0.02,
    "template": 0.03,
    "status": 0.02,
    "ensure_clone_disk": 0.1,
    "ensure_clone_data": 0.1,
    "ensure_clone_memory": 0.1,
    "ensure_domain": 0.07,
    "power": 0.01,
    "resume_clone": 0.8,
    "personalise": 1.9,
    "remove_volume": 0.02,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the bound holds."""
    parser = argparse.ArgumentParser(prog="python -m bench.makespan", description=__doc__.splitlines()[0])
    parser.add_argument("--platforms", type=int, default=40)
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (one a processor)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="placo-bench-") as name:
        folder = Path(name)
        diary = folder / "diary"
        diary.mkdir()
        shape = Shape(
            hosts=tuple(f"h{number}" for number in range(1, options.hosts + 1)),
            workers=options.workers,
            threads=THREADS,
            delays=DELAYS,
            catalogue=_catalogue(folder / "catalogue"),
            app="bench.watched",
            environment={watched.VARIABLE: str(diary)},
        )
        with rehearsal(shape) as site:
            return 0 if _provision(site, diary, options.platforms) else 1


def _catalogue(folder: Path) -> Path:
    """The real one, with its services web and svn also under other names: a second web server, a second repository."""
    shutil.copytree(REPOSITORY / "catalogue", folder)
    for service, machine in (("web", "www"), ("svn", "svn")):
        twin = f"{machine}2"
        shutil.copytree(folder / "machines" / machine, folder / "machines" / twin)
        words = {
            f'"{{slug}}-{service}"': f'"{{slug}}-{service}2"',
            f'service = "{service}"': f'service = "{service}2"',
        }
        _copy(
            folder / "machines" / machine / "machine.toml", folder / "machines" / twin / "machine.toml", words
        )
        words |= {
            f'machines = ["{machine}"]': f'machines = ["{twin}"]',
            f'machine = "{machine}"': f'machine = "{twin}"',
        }
        _copy(folder / "services" / f"{service}.toml", folder / "services" / f"{service}2.toml", words)
    return folder


def _copy(source: Path, target: Path, words: dict[str, str]) -> None:
    text = source.read_text(encoding="utf-8")
    for old, new in words.items():
        text = text.replace(old, new)
    target.write_text(text, encoding="utf-8")


def _provision(site: Site, diary: Path, platforms: int) -> bool:
    from django.db import transaction

    from placo.platforms.models import Host, Run
    from placo.services import templates

    portal = Portal()
    with timed("templates of all hosts made"):
        for host in Host.objects.all():
            templates.keep_templates(host.pk)
    with timed("requests made"):
        requests = [portal.ask(f"bench{number}", SERVICES) for number in range(platforms)]
    site.start_workers()
    before = _meters(site)
    with transaction.atomic():
        runs = [portal.approved(request) for request in requests]
        committing = time.time()
    keys = [run.pk for run in runs]
    while Run.objects.filter(pk__in=keys, ended_at=None).exists():
        if time.time() - committing > PATIENCE_S:
            raise SystemExit(f"runs have not ended within {PATIENCE_S} s")
        time.sleep(LOOK_S)
    after = _meters(site)
    ended = Run.objects.filter(pk__in=keys)
    states = Counter(ended.values_list("state", flat=True))
    if set(states) != {"done"}:
        raise SystemExit(f"runs ended as {dict(states)}")
    makespan = max(run.ended_at.timestamp() for run in ended if run.ended_at) - committing
    effects = [effect for effect in watched.read(diary) if effect.run in keys]
    ideal = _ideal(runs, effects, threads=THREADS * len(site.workers))
    _show(site, effects, [b - a for a, b in zip(before, after, strict=True)])
    print(f"  ideal: path {ideal.path:.1f} s, hands {ideal.hands:.1f} s, places {ideal.places:.1f} s")
    ratio = makespan / ideal.seconds
    return verdict(
        f"makespan at most {BOUND:g} times the ideal ({makespan:.1f} s, {ratio:.2f} times)", ratio <= BOUND
    )


@dataclass(frozen=True)
class Ideal:
    """Seconds that no engine can go below, for three reasons."""

    path: float
    hands: float
    places: float

    @property
    def seconds(self) -> float:
        return max(self.path, self.hands, self.places)


def _ideal(runs: Sequence[Run], effects: Sequence[watched.Effect], threads: int) -> Ideal:
    from placo.platforms.models import Step

    slept = {(effect.run, effect.step): effect.slept for effect in effects if effect.done}
    places: defaultdict[str, float] = defaultdict(float)
    path = 0.0
    for run in runs:
        reached: dict[str, float] = {}
        todo = {step.name: step for step in Step.objects.filter(run=run)}
        while todo:
            for step in [s for s in todo.values() if all(need in reached for need in s.needs)]:
                begin = max((reached[need] for need in step.needs), default=0.0)
                reached[step.name] = begin + slept[run.pk, step.name]
                del todo[step.name]
        path = max(path, *reached.values())
        host = run.platform.host
        power = (
            seconds for (pk, name), seconds in slept.items() if pk == run.pk and name.startswith("power:")
        )
        places[host.name] += sum(power) / host.resumes_at_once
    return Ideal(path, sum(slept.values()) / threads, max(places.values()))


def _meters(site: Site) -> list[float]:
    """Processor seconds of all workers, of the database, and of the whole machine, busy and idle."""
    workers = sum(tree_s(server.pid) for server in site.workers)
    return [workers, tree_s(site.postgres.server.pid), *machine_s()]


def _show(site: Site, effects: Sequence[watched.Effect], taken: Sequence[float]) -> None:
    from placo.platforms.models import Machine

    ways = Counter(Machine.objects.values_list("way", flat=True))
    workers, database, busy, idle = taken
    platforms = Machine.objects.values("platform").distinct().count()
    hosts = len(site.shape.hosts)
    print(f"\n{platforms} platforms of {len(SERVICES)} machines at once on {hosts} fake hosts")
    print(f"  {len(site.workers)} workers of {site.shape.threads} threads; machines: {dict(ways)}")
    done = sum(effect.done for effect in effects)
    print(f"  {done} steps done, {len(effects) - done} times a step had to wait")
    print(f"  processor seconds: workers {workers:.1f}, database {database:.1f}, everything else", end=" ")
    print(f"on this machine {busy - workers - database:.1f}, idle {idle:.1f}")
    print(f"  load average of the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    raise SystemExit(main())
