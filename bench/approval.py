"""From approval to ready on a running, idle lab: `python -m bench.approval [--n 1] [--root var/lab]`.

Asks for a platform with web and svn, approves it, waits until its run is done (the last steps of a run ask every machine
through the edge, as a user would), then retires it and waits for the end of that too.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from deploy.client import Api, Lab

REPOSITORY = Path(__file__).resolve().parents[1]
SERVICES = ["web", "svn"]
BOUND_S = 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the median keeps the bound."""
    parser = argparse.ArgumentParser(prog="python -m bench.approval", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1, help="platforms, one after the other (default 1)")
    parser.add_argument("--root", type=Path, default=REPOSITORY / "var" / "lab")
    parser.add_argument("--steps", action="store_true", help="also print when each step was done")
    options = parser.parse_args(arguments)
    if options.n < 1:
        parser.error("--n: at least 1")
    try:
        lab = Lab.read(options.root.resolve())
        owner, admin = lab.api("owner"), lab.api("admin")
        taken = [_approval_to_ready(lab, owner, admin, options.steps) for _ in range(options.n)]
    except FileNotFoundError as error:
        print(f"bench.approval: {error}: start the lab with `make up`", file=sys.stderr)
        return 1
    except (RuntimeError, TimeoutError, httpx.HTTPError) as error:
        print(f"bench.approval: {error}", file=sys.stderr)
        return 1
    middle = statistics.median(taken)
    holds = middle <= BOUND_S
    print(
        f"approval to ready, {' + '.join(SERVICES)}: median {middle:.1f} s ({min(taken):.1f} to {max(taken):.1f})"
    )
    print(f"bound: within {BOUND_S:.0f} s: {'holds' if holds else 'DOES NOT HOLD'}")
    return 0 if holds else 1


def _approval_to_ready(lab: Lab, owner: Api, admin: Api, steps: bool) -> float:
    """Seconds; the platform is retired again, also when it did not become ready or somebody pressed Ctrl-C."""
    slug = f"bench-{secrets.token_hex(3)}"
    request = owner(
        "POST",
        "/requests",
        project=lab.project,
        slug=slug,
        title="Benchmark",
        services=SERVICES,
        days=1,
        justification="To measure from approval to ready.",
    )
    approved = time.monotonic()
    run_id = admin("POST", f"/requests/{request['id']}/approve", plan_hash=request["plan"]["hash"])["run_id"]
    try:
        shown: set[str] = set()

        def show(run: dict[str, Any]) -> None:
            for step in run["steps"] if steps else []:
                if step["state"] == "done" and step["name"] not in shown:
                    shown.add(step["name"])
                    print(f"    {time.monotonic() - approved:6.1f} s {step['name']}", flush=True)

        run = owner.wait_for_run(run_id, seen=show)
        seconds = time.monotonic() - approved
        if run["state"] != "done":
            raise RuntimeError(f"{slug}: the run ended {run['state']}")
        print(f"  {slug}: ready after {seconds:.1f} s", flush=True)
        return seconds
    finally:
        _retire(owner, slug)


def _retire(owner: Api, slug: str) -> None:
    started = time.monotonic()
    if owner("GET", f"/platforms/{slug}")["state"] == "failed":
        return  # an unwound run leaves nothing behind
    owner.wait_for_run(owner("DELETE", f"/platforms/{slug}")["run_id"])
    print(f"  {slug}: retired in {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
