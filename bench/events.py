"""How soon the portal knows what a machine does: `python -m bench.events [--n 20] [--root var/lab]`, on a running, idle lab.

A platform of web is made. Its machine is destroyed past the portal (virDomainDestroy) and started again (virDomainCreate), n times; each
time is measured from the call, which is part of it, until the state is in the machine's row of the portal's database: by way of
libvirt's event, the listener (manage.py watch) and a transaction.
"""

from __future__ import annotations

import argparse
import time
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import median

import psycopg

from bench.platforms import Platforms
from bench.session import ROOT, SPREAD_TITLES, alone, spread, verdict
from deploy.client import Lab, wait_for
from placo import wiring
from placo.drivers.ports import Hypervisor

BOUND_S, PATIENCE_S, LOOK_S = 1.0, 30.0, 0.005
UP = frozenset({"starting", "answering", "silent"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the bound holds."""
    parser = argparse.ArgumentParser(prog="python -m bench.events", description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=20, help="times that the machine is destroyed (default 20)")
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args(arguments)
    with alone(options.root):
        platforms = Platforms(Lab.read(options.root))
        with platforms.cleared():
            request = platforms.ask(["web"])
            platforms.admin.wait_for_templates(600, machines={"www"})
            platforms.finished(platforms.approve(request))
            row = Row(options.root, request["slug"])
            found = [row.told(wiring_of(request["plan"]["host"])) for _time in range(options.n)]
    print(f"\n{'seconds from the call to the row':<34}{'n':>4}{SPREAD_TITLES}")
    times = {"destroyed": [d for d, _s in found], "started": [s for _d, s in found]}
    for name, taken in times.items():
        print(f"  {name:<32}{len(taken):>4}{spread(taken)}")
    worst = max(median(taken) for taken in times.values())
    return 0 if verdict(f"within {BOUND_S:g} s, median ({worst:.2f} s)", worst <= BOUND_S) else 1


def wiring_of(name: str) -> Hypervisor:
    """The driver of a host of the site in force."""
    host = next(host for host in wiring.site().hosts if host.name == name)
    return wiring.hypervisor(host.name, host.uri, host.storage_pool, host.domain_type)


class Row:
    """The row of a platform's machine www in a lab's database, read past the portal."""

    def __init__(self, root: Path, slug: str) -> None:
        database = tomllib.loads((root / "placo.toml").read_text())["database"]
        self._connection = psycopg.connect(
            host=database["host"], dbname=database["name"], user=database["user"], autocommit=True
        )
        found = self._connection.execute(
            "SELECT machine.id, machine.uuid::text FROM platforms_machine AS machine JOIN platforms_platform AS platform "
            "ON platform.id = platform_id WHERE slug = %s AND name = 'www' ORDER BY platform.id DESC",
            [slug],
        ).fetchone()
        if found is None:
            raise RuntimeError(f"{slug} has no machine www")
        self._pk, self.uuid = found

    def state(self) -> str:
        """What the portal knows."""
        found = self._connection.execute("SELECT state FROM platforms_machine WHERE id = %s", [self._pk])
        return str((found.fetchone() or ("",))[0])

    def told(self, hypervisor: Hypervisor) -> tuple[float, float]:
        """Destroy the machine and start it again: seconds from each call until the row says so."""
        began = time.monotonic()
        hypervisor.kill_domain(self.uuid)
        destroyed = self._until(began, {"stopped"})
        began = time.monotonic()
        hypervisor.start_domain(self.uuid)
        return destroyed, self._until(began, UP)

    def _until(self, began: float, states: Collection[str]) -> float:
        wait_for(lambda: self.state() in states or None, PATIENCE_S, f"one of {states} in the row", LOOK_S)
        return time.monotonic() - began


if __name__ == "__main__":
    raise SystemExit(main())
