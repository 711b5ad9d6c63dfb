"""From approval to ready on a running, idle lab: `python -m bench.approval [--n 1] [--together 10] [--root var/lab]`.

Asks for platforms with web and svn, approves them, waits until their runs are done (the last steps of a run ask every
machine through the edge, as a user would), then retires them and waits for the end of that too: one after the other (`--n`),
or all of them approved together (`--together`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from bench.platforms import Platforms, moment
from bench.session import ROOT, SPREAD_TITLES, alone, spread, timed, verdict
from deploy.client import Lab

SERVICES = ["web", "svn"]
BOUND_S = 10.0
BOUND_TOGETHER_S = 6.0
TEMPLATES_WAIT_S = 600


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the bounds hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.approval", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1, help="platforms, one after the other (default 1)")
    parser.add_argument("--together", type=int, default=0, help="platforms approved together (default none)")
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--steps", action="store_true", help="also print when each step was done")
    options = parser.parse_args(arguments)
    if min(options.n, options.together) < 0 or not options.n + options.together:
        parser.error("--n or --together: at least 1")
    root = options.root.resolve()
    try:
        with alone(root):
            platforms = Platforms(Lab.read(root))
            platforms.admin.wait_for_templates(TEMPLATES_WAIT_S)
            with platforms.cleared():
                holds = not options.n or _one_by_one(platforms, options.n, options.steps)
                holds &= not options.together or _together(platforms, options.together)
    except KeyboardInterrupt:
        print("\nstopped; what was made is retired", file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        print(f"bench.approval: {error}: start the lab with `make up`", file=sys.stderr)
        return 1
    except (RuntimeError, TimeoutError, httpx.HTTPError) as error:
        print(f"bench.approval: {error}", file=sys.stderr)
        return 1
    return 0 if holds else 1


def _one_by_one(platforms: Platforms, count: int, steps: bool) -> bool:
    taken = []
    for _ in range(count):
        request = platforms.ask(SERVICES)
        approved = time.time()
        run = platforms.finished(platforms.approve(request))
        taken.append(moment(run["ended_at"]) - approved)
        slug = request["slug"]
        print(f"  {slug}: ready after {taken[-1]:.1f} s, {_ways(platforms, [slug])}", flush=True)
        if steps:
            _show(run, approved)
        with timed(f"{slug}: retired"):
            platforms.retire([slug])
    what = f"approval to ready, {' + '.join(SERVICES)}, seconds"
    print(f"\n{what:<48}{'n':>4}{SPREAD_TITLES}\n{'':<48}{count:>4}{spread(taken)}")
    return verdict(f"within {BOUND_S:g} s (median)", median(taken) <= BOUND_S)


def _together(platforms: Platforms, count: int) -> bool:
    requests = [platforms.ask(SERVICES) for _ in range(count)]
    approved = time.time()
    runs = [platforms.approve(request) for request in requests]
    approvals = time.time() - approved
    done = [moment(platforms.finished(run)["ended_at"]) - approved for run in runs]
    slugs = [request["slug"] for request in requests]
    machines, makespan = count * len(SERVICES), max(done)
    print(f"\n{count} platforms of {' + '.join(SERVICES)} approved together (within {approvals:.1f} s)")
    print(f"  {_ways(platforms, slugs)}")
    print(f"  the first ready after {min(done):.1f} s, all {machines} machines after {makespan:.1f} s")
    with timed("retired together"):
        platforms.retire(slugs)
    each = makespan / machines
    return verdict(f"at most {BOUND_TOGETHER_S:g} s a machine ({each:.2f} s)", each <= BOUND_TOGETHER_S)


def _ways(platforms: Platforms, slugs: Sequence[str]) -> str:
    """How many machines came up which way, and why some booted."""
    found: Counter[str] = Counter()
    for slug in slugs:
        for machine in platforms.machines(slug):
            found[f"{machine['way']} {machine['way_reason']}".strip()] += 1
    return "machines: " + ", ".join(f"{number} {way}" for way, number in sorted(found.items()))


def _show(run: dict[str, Any], approved: float) -> None:
    steps = [step for step in run["steps"] if step["finished_at"]]
    for step in sorted(steps, key=lambda step: str(step["finished_at"])):
        end = moment(step["finished_at"]) - approved
        took = moment(step["finished_at"]) - moment(step["started_at"])
        print(f"    {end:6.2f} s (took {took:5.2f} s) {step['name']}")


if __name__ == "__main__":
    sys.exit(main())
