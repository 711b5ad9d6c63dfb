"""The world audit: everything in the world that belongs to a platform, counted in the world and in the database.

After a platform has been retired it has to find nothing; while it lives it tells what there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from placo import wiring
from placo.domain.drift import MACHINE_VOLUMES, DriftWhat
from placo.drivers.ports import Inventory, Unavailable
from placo.platforms.models import Host, LedgerEntry, Machine, Membership, Platform
from placo.services import reconcile
from placo.services.work import hypervisor_of


@dataclass(frozen=True, order=True)
class Finding:
    """One thing found: its kind (domain, volume, network, directory entry ...), where, and its name."""

    kind: str
    where: str
    name: str


def _on_host(name: str, inventory: Inventory, slug: str, uuid: str) -> Iterable[Finding]:
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
        try:
            inventory = hypervisor_of(host).inventory()
        except Unavailable:
            if host.lost:
                continue  # what it may still have is told by the addresses that are kept for it
            raise
        found += _on_host(host.name, inventory, slug, uuid)
    found += [Finding("directory entry", "directory", dn) for dn in wiring.directory().entries(slug)]
    edge = wiring.edge()
    found += [Finding("edge route", "edge", name) for name in edge.sites() if name == slug]
    found += [Finding("certificate", "edge", name) for name in edge.certificates() if name == slug]
    gateway = wiring.gateway()
    found += [
        Finding("mail domain", "edge", name)
        for name in (gateway.domains() if gateway else ())
        if name == slug
    ]
    zone = wiring.zone()
    found += [Finding("names", "edge", name) for name in (zone.names() if zone else ()) if name == slug]
    if platform.subnet_index is not None:
        where = f"kept for lost host {platform.left_on}" if platform.left_on else "database"
        found.append(Finding("addresses", where, platform.plan.network.subnet))
    if LedgerEntry.objects.filter(platform=platform).exists():
        found.append(Finding("quota", "database", slug))
    for row in Membership.objects.filter(platform=platform):
        found.append(Finding("membership", "database", row.uid))
    for machine in Machine.objects.filter(platform=platform).exclude(state="gone"):
        found.append(Finding("machine", "database", machine.name))
    return sorted(found)


_KINDS = {
    DriftWhat.DIRECTORY: "directory entry",
    DriftWhat.EDGE: "edge route",
    DriftWhat.MAIL: "mail domain",
    DriftWhat.NAMES: "names",
}
"""Where an audit calls something by another name than reconciliation does."""


def orphans() -> list[Finding]:
    """Everything in the world that PLACO made and no living platform is to have, looked up now."""
    return sorted(
        Finding(_KINDS.get(drift.what, drift.what.value), place, drift.name)
        for place, drift in reconcile.too_much()
    )
