"""Comparing a big site with its plans, on fake hosts: `python -m bench.reconcile [--machines 10000] [--hosts 20]`.

Makes platforms of two machines in a database of its own (beside the site's, removed at the end) and everything that they have
on fake hosts, in a fake directory and at a fake edge, whose objects are files; then reconciles all of it, one host after the
other, three times: in order, after one machine in a hundred was taken away, and once more. The same with a tenth of the machines.
Needs PostgreSQL (PLACO_CONFIG or var/lab/placo.toml); touches no host.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import UUID, uuid5

from bench.session import ROOT, verdict

if TYPE_CHECKING:
    from placo.domain.plan import Plan
    from placo.drivers.fake_hypervisor import FakeHypervisor
    from placo.drivers.ports import PlatformNames

BOUND_S, BOUND_RATIO, BOUND_CALLS = 10.0, 12.0, 2
MACHINES_EACH = 2
LOST = 100
"""One machine in so many is taken away."""
NAMESPACE = UUID("2b1c8a52-55d4-5d2f-9df4-0a2c52a0a3de")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the bounds hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.reconcile", description=__doc__.splitlines()[0])
    parser.add_argument("--machines", type=int, default=10_000)
    parser.add_argument("--hosts", type=int, default=20)
    options = parser.parse_args(arguments)
    if options.hosts < 1 or options.machines < 10 * options.hosts * MACHINES_EACH:
        parser.error("at least 20 machines a host")
    os.environ.setdefault("PLACO_CONFIG", str(ROOT / "placo.toml"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "placo.settings")
    import django

    django.setup()
    few = options.machines // 10
    with _database():
        times = {number: _measure(number, options.hosts) for number in (few, options.machines)}
    busy = os.getloadavg()[0]
    print(f"\nload average of the last minute: {busy:.1f} on {os.cpu_count()} processors")
    holds = True
    slowest = {number: max(seconds) for number, (seconds, _calls) in times.items()}
    most = max(calls for _seconds, calls in times.values())
    ratio = max(a / b for a, b in zip(times[options.machines][0], times[few][0], strict=True))
    holds &= verdict(f"at most {BOUND_CALLS} calls a host ({most})", most <= BOUND_CALLS)
    took = slowest[options.machines]
    holds &= verdict(f"{options.machines} machines within {BOUND_S:g} s ({took:.2f} s)", took <= BOUND_S)
    text = f"T({options.machines})/T({few}) at most {BOUND_RATIO:g} ({ratio:.1f})"
    return 0 if holds & verdict(text, ratio <= BOUND_RATIO) else 1


@contextmanager
def _database() -> Iterator[None]:
    """A database of this run's own; the site's is not touched."""
    from django.db import connection

    name = connection.settings_dict["NAME"]
    connection.settings_dict["TEST"]["NAME"] = f"bench_reconcile_{os.getpid()}"
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


def _measure(machines: int, hosts: int) -> tuple[list[float], int]:
    """Seconds of each comparison, and the most calls that one of them made at one host."""
    from placo.platforms.models import Drift, Platform
    from placo.services import reconcile

    Drift.objects.all().delete()
    Platform.objects.all().delete()
    seconds, most = [], 0
    with tempfile.TemporaryDirectory(prefix="placo-bench-") as folder, ExitStack() as stack:
        site = _Site(Path(folder), hosts, machines // MACHINES_EACH)
        for name, double in site.doubles().items():
            stack.enter_context(patch(f"placo.wiring.{name}", double))
        print(f"\n{machines} machines of {machines // MACHINES_EACH} platforms on {hosts} hosts")
        for what in ("in order", f"one machine in {LOST} gone", "the same again"):
            if "gone" in what:
                site.lose()
            site.calls.clear()
            began = time.perf_counter()
            reconcile.reconcile()
            seconds.append(time.perf_counter() - began)
            calls = max(number for place, number in site.calls.items() if place.startswith("host-"))
            most = max(most, calls)
            drift = Drift.objects.count()
            print(f"  {what:<28}{seconds[-1]:>8.2f} s{calls:>4} calls a host{drift:>7} pieces of drift")
            expected = 0 if what == "in order" else len(site.lost)
            if drift != expected:
                raise SystemExit(f"{drift} pieces of drift were found instead of {expected}")
    return seconds, most


class _Site:
    """Hosts, directory and edge in a folder, with all that so many platforms have, and the rows of these."""

    def __init__(self, folder: Path, hosts: int, platforms: int) -> None:
        from placo.drivers.fake_directory import FakeDirectory
        from placo.drivers.fake_edge import FakeEdge
        from placo.drivers.fake_hypervisor import FakeHypervisor

        names = [f"host-{number:02d}" for number in range(hosts)]
        self.hosts = {name: FakeHypervisor(folder / name, name) for name in names}
        self.directory, self.edge = FakeDirectory(folder / "directory"), FakeEdge(folder / "edge")
        self.names: dict[str, PlatformNames] = {}
        self.calls: Counter[str] = Counter()
        self.lost: list[str] = []
        for name, thing in {**self.hosts, "directory": self.directory, "edge": self.edge}.items():
            self._count(name, thing)
        self.plans = _rows(names, platforms)
        for plan in self.plans:
            self._furnish(plan)

    def _count(self, name: str, thing: Any) -> None:
        real = thing.faults.check

        def check(operation: str) -> None:
            self.calls[name] += 1
            real(operation)

        thing.faults.check = check

    def doubles(self) -> dict[str, Any]:
        """What stands in for the functions of `placo.wiring`."""
        return {
            "hypervisor": lambda name, *_rest: self.hosts[name],
            "directory": lambda: self.directory,
            "edge": lambda: self.edge,
            "zone": lambda: SimpleNamespace(names=lambda: self.names),
        }

    def _furnish(self, plan: Plan) -> None:
        """Everything as if it had been made, without the time that it takes."""
        from placo.drivers.ports import PlatformNames
        from placo.services.names import names_of

        host: FakeHypervisor = self.hosts[plan.host]
        shelf = host._shelf
        shelf.put("networks", plan.network.name, asdict(plan.network))
        for m in plan.machines:
            spec: dict[str, Any] = {"name": m.domain, "uuid": m.uuid, "platform_uuid": plan.uuid}
            spec |= {"memory_mib": m.memory_mib, "vcpus": m.vcpus}
            shelf.put("domains", m.uuid, {"spec": spec, "power": "running", "autostart": True})
            for volume in (m.system_volume, m.data_volume):
                shelf.put("volumes", volume, {"name": volume})
        subtree = {"slug": plan.slug, "uuid": plan.uuid, "owners": [], "members": [], "machines": {}}
        self.directory._shelf.put("platforms", plan.slug, subtree)
        site = {"slug": plan.slug, "uuid": plan.uuid, "routes": [], "certificate": ""}
        self.edge._shelf.put("sites", plan.slug, site)
        self.names[plan.slug] = PlatformNames(plan.uuid, names_of(plan))

    def lose(self) -> None:
        """Take one machine in `LOST` away."""
        machines = [(plan.host, m.uuid) for plan in self.plans for m in plan.machines]
        for host, uuid in machines[::LOST]:
            self.hosts[host].remove_domain(uuid)
            self.lost.append(uuid)


def _rows(hosts: Sequence[str], platforms: int) -> list[Plan]:
    """The rows of platforms that are ready, on these hosts in turn."""
    from placo import wiring
    from placo.domain.plan import Placement, make_plan
    from placo.platforms.models import Host, Machine, Platform, Project

    project, _new = Project.objects.get_or_create(slug="bench", defaults={"title": "Bench"})
    for name in hosts:
        Host.objects.get_or_create(
            name=name, defaults={"uri": f"fake://{name}", "hypervisor": "kvm", "storage_pool": "placo"}
        )
    rows = {host.name: host for host in Host.objects.filter(name__in=hosts)}
    pool, plans = int(IPv4Network("10.0.0.0/8").network_address), []
    for number in range(platforms):
        slug = f"bench{number}"
        subnet = IPv4Network((pool + number * 16, 28))
        place = Placement(hosts[number % len(hosts)], subnet, "placo.test", 443, "placo.internal")
        plan = make_plan(
            wiring.catalogue(),
            platform_uuid=uuid5(NAMESPACE, slug),
            slug=slug,
            title=slug,
            project=project.slug,
            owners=[],
            services=["web", "svn"],
            options={},
            days=90,
            placement=place,
            images={name: f"placo-{name}-0" for name in wiring.catalogue().machines},
        )
        plans.append(plan)
    made = Platform.objects.bulk_create(
        Platform(
            uuid=plan.uuid,
            slug=plan.slug,
            title=plan.title,
            project=project,
            host=rows[plan.host],
            state="ready",
            plan_data=plan.as_json(),
        )
        for plan in plans
    )
    Machine.objects.bulk_create(
        Machine(platform=row, name=m.name, uuid=m.uuid, address=m.address, state="answering")
        for row, plan in zip(made, plans, strict=True)
        for m in plan.machines
    )
    return plans


if __name__ == "__main__":
    raise SystemExit(main())
