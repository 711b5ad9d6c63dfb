"""Comparing what plans and journal say with what is found in the world: pure, linear in what there is.

First what is expected is looked up and the rest is left over (`leftovers_of`); the caller finds out whose that is; then
everything that differs is named (`compare_host`, `compare_sites`). What belongs to platforms *in flux* (a run is changing
their world, or did so while it was looked at) is neither missed nor too much.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from placo.domain.drift import MACHINE_VOLUMES, MEMORY_LOST, DriftKind, DriftWhat
from placo.domain.lifecycle import PlatformState
from placo.domain.names import Record
from placo.domain.plan import Plan, PlannedMachine
from placo.drivers.ports import DomainInfo, Inventory, PlatformNames, Power

_OURS = re.compile(r"placo-(?!.*--)")
"""How names of what platforms have begin. No slug has two hyphens in a row: templates and benchmarks do."""
_SHORT = re.compile(r"-([0-9a-f]{8})(?:$|-[a-z]+\.)")
"""The beginning of the platform's UUID that names of volumes and networks hold, which proves whose they are."""

POWERS = {
    PlatformState.READY: Power.RUNNING,
    PlatformState.STOPPED: Power.STOPPED,
    PlatformState.SUSPENDED: Power.PAUSED,
}


@dataclass(frozen=True)
class Expected:
    """A platform that is settled: what it is to have is known."""

    pk: int
    state: PlatformState
    plan: Plan


@dataclass(frozen=True)
class Owner:
    """A platform of the database, alive or not, to which something was traced back."""

    pk: int
    slug: str
    uuid: str
    host: str


@dataclass(frozen=True)
class Found:
    """One piece of drift in a place."""

    kind: DriftKind
    what: DriftWhat
    name: str
    platform: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Leftovers:
    """What is on a host and no settled platform there expects."""

    domains: tuple[DomainInfo, ...] = ()
    volumes: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()

    @property
    def uuids(self) -> set[str]:
        """UUIDs of platforms that domains say they belong to."""
        return {domain.platform_uuid for domain in self.domains if domain.platform_uuid}

    @property
    def shorts(self) -> set[str]:
        """The beginnings of platforms' UUIDs in the names of volumes and networks."""
        return {short for name in (*self.volumes, *self.networks) if (short := short_of(name))}


class Owners:
    """Platforms to which leftovers were traced back, by UUID and by the beginning of it."""

    def __init__(self, owners: Iterable[Owner] = ()) -> None:
        self.by_uuid = {owner.uuid: owner for owner in owners}
        self._by_short: dict[str, list[Owner]] = {}
        for owner in self.by_uuid.values():
            self._by_short.setdefault(owner.uuid[:8], []).append(owner)

    def of_name(self, name: str) -> Owner | None:
        """Whose a volume or network is: both slug and UUID are in its name."""
        for owner in self._by_short.get(short_of(name), ()):
            if name.startswith(f"placo-{owner.slug}-"):
                return owner
        return None


def short_of(name: str) -> str:
    """The eight digits of a platform's UUID in the name of a volume or network, if there are such."""
    found = _SHORT.search(name)
    return found[1] if found else ""


def leftovers_of(inventory: Inventory, expected: Iterable[Expected]) -> Leftovers:
    """What nobody expects on this host and what could be PLACO's: by its metadata, or by its name."""
    domains, volumes, networks = set(), set(), set()
    for platform in expected:
        networks.add(platform.plan.network.name)
        for machine in platform.plan.machines:
            domains.add(machine.uuid)
            volumes |= {machine.system_volume, machine.data_volume}
    return Leftovers(
        tuple(
            d for d in inventory.domains if d.uuid not in domains and (d.platform_uuid or _OURS.match(d.name))
        ),
        tuple(
            v
            for v in inventory.volumes
            if v not in volumes and v.endswith(MACHINE_VOLUMES) and _OURS.match(v)
        ),
        tuple(n for n in inventory.networks if n not in networks and _OURS.match(n)),
    )


def compare_host(
    host: str,
    inventory: Inventory,
    expected: Iterable[Expected],
    leftovers: Leftovers,
    *,
    owners: Owners,
    flux: Collection[int],
) -> list[Found]:
    """Everything that is not on a host as it should be, each thing once."""
    found: dict[tuple[DriftWhat, str], Found] = {}
    for drift in (*_too_much(host, leftovers, owners), *_on_host(inventory, expected)):
        if drift.platform not in flux:
            found.setdefault((drift.what, drift.name), drift)
    return list(found.values())


def _too_much(host: str, leftovers: Leftovers, owners: Owners) -> Iterator[Found]:
    def extra(what: DriftWhat, name: str, owner: Owner | None, **detail: Any) -> Found:
        if owner is not None and owner.host != host:
            detail["elsewhere"] = owner.host
        return Found(DriftKind.EXTRA, what, name, owner.pk if owner else None, detail)

    for domain in leftovers.domains:
        owner = owners.by_uuid.get(domain.platform_uuid or "")
        yield extra(DriftWhat.DOMAIN, domain.name, owner, power=domain.power.value)
    for volume in leftovers.volumes:
        yield extra(DriftWhat.VOLUME, volume, owners.of_name(volume))
    for network in leftovers.networks:
        yield extra(DriftWhat.NETWORK, network, owners.of_name(network))


def _on_host(inventory: Inventory, expected: Iterable[Expected]) -> Iterator[Found]:
    domains = {domain.uuid: domain for domain in inventory.domains}
    volumes, networks = set(inventory.volumes), set(inventory.networks)
    for platform in expected:
        network = platform.plan.network.name
        if network not in networks:
            yield Found(DriftKind.MISSING, DriftWhat.NETWORK, network, platform.pk)
        elif network in inventory.idle_networks:
            detail = {"active": [True, False]}
            yield Found(DriftKind.CHANGED, DriftWhat.NETWORK, network, platform.pk, detail)
        for machine in platform.plan.machines:
            for volume in (machine.system_volume, machine.data_volume):
                if volume not in volumes:
                    yield Found(
                        DriftKind.MISSING, DriftWhat.VOLUME, volume, platform.pk, {"machine": machine.name}
                    )
            drift = _of_domain(platform, machine, domains.get(machine.uuid))
            if drift is not None:
                yield drift


def _of_domain(platform: Expected, machine: PlannedMachine, domain: DomainInfo | None) -> Found | None:
    detail: dict[str, Any] = {}
    kind = DriftKind.CHANGED
    wanted = POWERS[platform.state]
    if domain is None:
        kind = DriftKind.MISSING
    else:
        autostart = wanted is Power.RUNNING
        for name, planned, seen in (
            ("power", wanted.value, domain.power.value),
            ("autostart", autostart, domain.autostart),
            ("memory_mib", machine.memory_mib, domain.memory_mib or machine.memory_mib),
            ("vcpus", machine.vcpus, domain.vcpus or machine.vcpus),
        ):
            if planned != seen:
                detail[name] = [planned, seen]
        if not detail:
            return None
        if wanted is Power.RUNNING and domain.power is Power.PAUSED:
            kind = DriftKind.PAUSED
        if wanted is Power.PAUSED and domain.power is Power.STOPPED:
            detail["note"] = MEMORY_LOST
    detail["machine"] = machine.name
    return Found(kind, DriftWhat.DOMAIN, machine.domain, platform.pk, detail)


def compare_sites(
    what: DriftWhat,
    there: Mapping[str, str],
    expected: Iterable[Expected],
    *,
    owners: Owners,
    flux: Collection[int],
    busy: Collection[str] = (),
) -> list[Found]:
    """The directory's subtrees, or the edge's sites (slug -> UUID of its platform). `busy`: slugs of platforms in flux."""
    found: list[Found] = []
    settled = {platform.plan.slug: platform for platform in expected}
    for slug, uuid in there.items():
        platform, owner = settled.get(slug), owners.by_uuid.get(uuid)
        if platform is not None and uuid == platform.plan.uuid:
            continue
        if slug in busy or (owner is not None and owner.pk in flux):
            continue
        if platform is None or owner is not None:
            found.append(Found(DriftKind.EXTRA, what, slug, owner.pk if owner else None))
        else:
            detail = {"uuid": [platform.plan.uuid, uuid]}
            found.append(Found(DriftKind.CHANGED, what, slug, platform.pk, detail))
    missing = [platform for slug, platform in settled.items() if slug not in there]
    return found + [Found(DriftKind.MISSING, what, platform.plan.slug, platform.pk) for platform in missing]


def compare_names(
    there: Mapping[str, PlatformNames], wanted: Mapping[str, frozenset[Record]], expected: Iterable[Expected]
) -> list[Found]:
    """Records that are not as they should be, of platforms that the zone knows; the detail has "name type" -> both sides."""
    found = []
    for platform in expected:
        slug = platform.plan.slug
        names = there.get(slug)
        if names is None or names.uuid != platform.plan.uuid or names.records == wanted[slug]:
            continue
        detail: dict[str, list[str]] = {}
        for side, records in enumerate((wanted[slug] - names.records, names.records - wanted[slug])):
            for record in sorted(records):
                both = detail.setdefault(f"{record.name} {record.type}", ["", ""])
                both[side] = f"{both[side]}, {record.value}" if both[side] else record.value
        found.append(Found(DriftKind.CHANGED, DriftWhat.NAMES, slug, platform.pk, detail))
    return found


def compare_certificates(
    there: Collection[str], expected: Iterable[Expected], last: Mapping[str, Owner], busy: Collection[str]
) -> list[Found]:
    """Certificates say no more than a slug: one too many belongs to the `last` platform that had this slug."""
    settled = {platform.plan.slug: platform.pk for platform in expected}
    what, present = DriftWhat.CERTIFICATE, set(there)
    found = [Found(DriftKind.MISSING, what, slug, pk) for slug, pk in settled.items() if slug not in present]
    for slug in there:
        if slug not in settled and slug not in busy:
            owner = last.get(slug)
            found.append(Found(DriftKind.EXTRA, what, slug, owner.pk if owner else None))
    return found
