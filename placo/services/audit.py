"""The world audit: everything in the world that belongs to a platform, counted in the world and in the database.

After a platform has been retired it has to find nothing; while it lives it tells what there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from placo import wiring
from placo.domain.lifecycle import ENDED
from placo.drivers.ports import Hypervisor
from placo.platforms.models import Host, LedgerEntry, Machine, Membership, Platform
from placo.services.work import hypervisor_of


@dataclass(frozen=True, order=True)
class Finding:
    """One thing found: its kind (domain, volume, network, directory entry ...), where, and its name."""

    kind: str
    where: str
    name: str


MACHINE_VOLUMES = ("-system.qcow2", "-data.qcow2", "-memory.save", "-seed.iso")
"""How the names of machines' volumes end (placo/domain/plan.py); images and kernels are shared and not counted."""


def _on_host(name: str, host: Hypervisor, slug: str, uuid: str) -> Iterable[Finding]:
    inventory = host.inventory()
    longer = Platform.objects.filter(slug__startswith=f"{slug}-").values_list("slug", flat=True)
    others = tuple(f"placo-{other}-" for other in longer)

    def ours(thing: str) -> bool:
        """Named after this platform, and not after one whose slug begins with this one's."""
        return thing.startswith(f"placo-{slug}-") and not thing.startswith(others)

    for domain in inventory.domains:
        if domain.platform_uuid == uuid or ours(domain.name):
            yield Finding("domain", name, domain.name)
    for volume in inventory.volumes:
        if ours(volume) and volume.endswith(MACHINE_VOLUMES):
            yield Finding("volume", name, volume)
    for network in inventory.networks:
        if ours(network):
            yield Finding("network", name, network)


def audit_platform(platform: Platform) -> list[Finding]:
    """Everything of the platform, on every host, in the directory, at the edge and in the books, sorted."""
    slug, uuid = platform.slug, str(platform.uuid)
    found: list[Finding] = []
    for host in Host.objects.all():
        found += _on_host(host.name, hypervisor_of(host), slug, uuid)
    found += [Finding("directory entry", "directory", dn) for dn in wiring.directory().entries(slug)]
    edge = wiring.edge()
    found += [Finding("edge route", "edge", name) for name in edge.sites() if name == slug]
    found += [Finding("certificate", "edge", name) for name in edge.certificates() if name == slug]
    if platform.subnet_index is not None:
        found.append(Finding("addresses", "database", platform.plan.network.subnet))
    if LedgerEntry.objects.filter(platform=platform).exists():
        found.append(Finding("quota", "database", slug))
    for row in Membership.objects.filter(platform=platform):
        found.append(Finding("membership", "database", row.uid))
    for machine in Machine.objects.filter(platform=platform).exclude(state="gone"):
        found.append(Finding("machine", "database", machine.name))
    return sorted(found)


def orphans() -> list[Finding]:
    """Everything in the world that PLACO made for a platform that is not, or no longer, alive."""
    living = {str(p.uuid): p.slug for p in Platform.objects.exclude(state__in=[s.value for s in ENDED])}
    slugs = set(living.values())
    plans = [platform.plan for platform in Platform.objects.filter(uuid__in=living)]
    networks = {plan.network.name for plan in plans}
    volumes = {volume for plan in plans for machine in plan.machines for volume in machine.volumes}
    found: list[Finding] = []
    for host in Host.objects.all():
        inventory = hypervisor_of(host).inventory()
        found += [
            Finding("domain", host.name, d.name)
            for d in inventory.domains
            if d.platform_uuid is not None and d.platform_uuid not in living
        ]
        found += [
            Finding("volume", host.name, v)
            for v in inventory.volumes
            if v.startswith("placo-") and v.endswith(MACHINE_VOLUMES) and v not in volumes
        ]
        found += [
            Finding("network", host.name, n)
            for n in inventory.networks
            if n.startswith("placo-") and not n.startswith("placo-bench--") and n not in networks
        ]
    found += [
        Finding("directory entry", "directory", s) for s in wiring.directory().platforms() if s not in slugs
    ]
    found += [Finding("edge route", "edge", s) for s in wiring.edge().sites() if s not in slugs]
    found += [Finding("certificate", "edge", s) for s in wiring.edge().certificates() if s not in slugs]
    return sorted(found)
