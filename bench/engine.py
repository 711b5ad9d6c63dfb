"""What the engine adds to a step: journal, lease, doorbell: `python -m bench.engine [--steps 600]`

On a rehearsed site of its own (PostgreSQL, Redis and a Celery worker on UNIX sockets, fake hosts in a folder) three kinds of runs
are measured, one at a time, by the worker's own record of when effects began and ended. Effects do nothing:

line      each step needs the one before, and takes no time: from the end of an effect to the beginning of the next
lanes     the graph of a creation of two machines, where a step takes 0.1 s (the median of a real creation's): the same, from the
          last effect that a step needed; with doorbells for other threads, and several threads at the run's lock
doorbell  one step: from the commit of the run to the beginning of its effect, through Redis and a waiting worker

To each step is added how long it asked, in its effect, whether it was still its worker's. The processor time of the database is that
of all of its processes but the one that serves this program. As a measure of the machine: one changed row, committed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench import watched
from bench.portal import PATIENCE_S, Begun, Portal, begun, finished
from bench.processor import own_s, tree_s
from bench.session import SPREAD_TITLES, spread, verdict
from deploy.rehearsal.process import wait_for
from deploy.rehearsal.site import Shape, Site, rehearsal

if TYPE_CHECKING:
    from placo.domain.saga import StepSpec

BOUND_MS, BOUND_DATABASE_MS = 30.0, 2.0
LINE, MACHINES, TAKES_S = 60, 2, 0.1
"""Steps of a line; machines of the lanes, and how long a step takes there."""
WARMING = 20
"""Runs of one step before anything is counted: so that each of the worker's connections has been used."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the bounds hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600, help="of each kind (default 600)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="placo-bench-") as folder:
        shape = Shape(workers=1, app="bench.watched", environment={watched.VARIABLE: folder})
        with rehearsal(shape) as site:
            site.workers[0].start()
            bench = _Bench(site, Path(folder))
            found = bench.measure(options.steps)
            commit = median(bench.commits(options.steps))
    return 0 if _judge(found, commit) else 1


def _judge(found: dict[str, Figures], commit: float) -> bool:
    print(f"\n{'milliseconds that the engine adds to a step':<48}{'n':>4}{SPREAD_TITLES}")
    for name, figures in found.items():
        print(f"  {name:<46}{len(figures.added):>4}{spread(figures.added)}")
    print(f"\n{'for each step':<16}{'database':>14}{'worker':>14}{'queries':>10}{'load':>8}")
    for name, f in found.items():
        database, worker, queries = (f.each(total) for total in (f.database_ms, f.worker_ms, f.queries))
        print(f"  {name:<14}{database:>11.2f} ms{worker:>11.2f} ms{queries:>10.1f}{f.load:>8.1f}")
    print(f"\none changed row, committed: median {commit:.2f} ms")
    holds = True
    for name, figures in found.items():
        added, database = median(figures.added), figures.each(figures.database_ms)
        holds &= verdict(
            f"{name}: at most {BOUND_MS:g} ms a step, median ({added:.1f} ms, {added / commit:.1f} commits)",
            added <= BOUND_MS,
        )
        if name != "doorbell":
            holds &= verdict(
                f"{name}: at most {BOUND_DATABASE_MS:g} ms of it in the database's processors ({database:.2f} ms)",
                database <= BOUND_DATABASE_MS,
            )
    return holds


@dataclass
class Figures:
    """Of one kind of run: milliseconds that the engine added to each step, and what all of them took together."""

    added: list[float] = field(default_factory=list)
    database_ms: float = 0.0
    worker_ms: float = 0.0
    queries: int = 0
    load: float = 0.0

    def each(self, total: float) -> float:
        """A sum as what it is for one step."""
        return total / max(1, len(self.added))


def _line(size: int) -> list[StepSpec]:
    from placo.domain.saga import StepSpec, Verb

    names = [f"nothing-{number}" for number in range(size)]
    return [
        StepSpec(name, watched.ACTION, Verb.ENSURE, "", tuple(names[:number][-1:]))
        for number, name in enumerate(names)
    ]


def _lanes() -> list[StepSpec]:
    from placo.domain.saga import create_steps

    shape = create_steps({f"m{number}": f"image{number}" for number in range(MACHINES)})
    return [replace(step, action=watched.ACTION, target=str(TAKES_S)) for step in shape]


class _Bench:
    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.folder, self.portal = site, folder, Portal()
        first = self.portal.approve(self.portal.ask("bench", ["web", "svn"]))
        finished([first.run.pk])
        self.platform = first.run.platform

    def measure(self, steps: int) -> dict[str, Figures]:
        """Each kind, in runs that have at least so many steps together."""
        kinds = {"line": _line(LINE), "lanes": _lanes(), "doorbell": _line(1)}
        for _turn in range(WARMING):
            self._run(kinds["doorbell"])
        found = {}
        for name, specs in kinds.items():
            figures = found[name] = Figures()
            self._run(specs)
            with self._metered(figures):
                runs = [self._run(specs) for _turn in range(-(-steps // len(specs)))]
            figures.added = [added for begun in runs for added in self._added(begun)]
        return found

    def commits(self, count: int) -> list[float]:
        """Milliseconds for one row to be changed and committed."""
        from django.utils import timezone

        from placo.platforms.models import Host

        taken = []
        for _turn in range(count):
            began = time.monotonic()
            Host.objects.filter(name="h1").update(checked_at=timezone.now())
            taken.append(1e3 * (time.monotonic() - began))
        return taken

    def _run(self, specs: Sequence[StepSpec]) -> Begun:
        """One run of these steps, from its beginning to its end."""
        from placo.domain.lifecycle import RunKind
        from placo.services import runs

        kind, admin = RunKind.RESTART, self.portal.admin
        started = begun(lambda: runs.start(self.platform, kind, specs, acting_user=admin))
        self._wait(started)
        return started

    def _wait(self, begun: Begun) -> None:
        """Until the worker has done all steps. The database is not asked meanwhile: that would be measured too."""
        size = begun.run.steps.count()
        wait_for(lambda: len(self._effects(begun)) == size, "the last effect", PATIENCE_S)
        finished([begun.run.pk])

    def _effects(self, begun: Begun) -> dict[str, watched.Effect]:
        return {e.step: e for e in watched.read(self.folder) if e.run == begun.run.pk and e.done}

    def _added(self, begun: Begun) -> list[float]:
        """What the engine added to each step of a run that is done."""
        effects, added = self._effects(begun), []
        for step in begun.run.steps.all():
            effect = effects[step.name]
            due = max((effects[need].ended for need in step.needs), default=begun.at)
            added.append(1e3 * (effect.began - due + effect.asking))
        return added

    @contextmanager
    def _metered(self, figures: Figures) -> Iterator[None]:
        before = self._meters()
        yield
        after = self._meters()
        database, worker, queries = (b - a for a, b in zip(before, after, strict=True))
        figures.database_ms, figures.worker_ms, figures.queries = 1e3 * database, 1e3 * worker, int(queries)
        figures.load = os.getloadavg()[0]

    def _meters(self) -> tuple[float, float, float]:
        """Processor seconds of the database, without what it does for this process, and of the worker; the worker's queries."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            mine = int(cursor.fetchone()[0])
        queries = max((effect.queries for effect in watched.read(self.folder)), default=0)
        database = tree_s(self.site.postgres.server.pid) - own_s(mine)
        return database, tree_s(self.site.workers[0].pid), float(queries)


if __name__ == "__main__":
    raise SystemExit(main())
