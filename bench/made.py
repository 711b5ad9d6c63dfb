"""A platform that was made to be measured: how long that took, and what its machines hold and cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.cost import Cost, Meter
from bench.platforms import Platforms, moment
from bench.session import timed
from deploy.lab.layout import Host, Lab
from deploy.lab.shell import run

COLD, WARM = "cold", "warm"


@dataclass(frozen=True)
class Holding:
    """One machine of it: memory that it was promised (MiB) and bytes of its QEMU that are resident, as libvirt reports them; what it
    cost until its platform was ready (libvirtd's part is that of the whole platform); seconds from its first step to its first answer.
    """

    memory_mib: int
    resident: int
    cost: Cost
    took_s: float


@dataclass(frozen=True)
class Ready:
    """`seconds`: from just before the approval to the end of the run. `plan` is the request's."""

    slug: str
    seconds: float
    plan: dict[str, Any]
    machines: dict[str, Holding]


def make(platforms: Platforms, host: str, services: Sequence[str], way: str) -> Ready:
    """A platform on that host, all machines of which came to life that way; RuntimeError if they did not."""
    request = platforms.ask_on(host, services)
    place = next(h for h in Lab.at(platforms.lab.root).hosts if h.name == host)
    meter = Meter(place)
    approved = time.time()
    made = platforms.finished(platforms.approve(request))
    seconds = moment(made["ended_at"]) - approved
    rows = {row["name"]: row for row in platforms.machines(request["slug"])}
    others = [f"{name}: {r['way_reason']} {r['way_detail']}" for name, r in rows.items() if r["way"] != way]
    if others:
        raise RuntimeError(f"{request['slug']}: machines that are not {way}: {'; '.join(others)}")
    found = {
        machine["name"]: _holding(place, meter, machine, rows[machine["name"]])
        for machine in request["plan"]["machines"]
    }
    return Ready(request["slug"], seconds, request["plan"], found)


def retire(platforms: Platforms, ready: Ready) -> None:
    """All of it, and what made weight on other hosts."""
    with timed(f"{ready.slug}: retired"):
        platforms.clear()


def _holding(place: Host, meter: Meter, machine: dict[str, Any], row: dict[str, Any]) -> Holding:
    told = run(["virsh", "-q", "-c", place.uri, "dommemstat", machine["domain"]])
    facts = dict(line.split() for line in told.splitlines() if line.strip())
    cost = meter.read(machine["domain"])
    return Holding(machine["memory_mib"], int(facts["rss"]) * 1024, cost, row["took_s"] or 0.0)
