"""Where a platform goes: a host and a subnet."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Network

from django.db import connection
from django.db.models import Sum
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from placo import wiring
from placo.domain.plan import Placement, Plan, identities, subnet_of
from placo.domain.protocols import ssh_ports
from placo.platforms.models import Host, Platform
from placo.services.errors import Conflict, InvalidInput

_LOCK = 0x706C6163  # "plac": the advisory lock of subnet allocation


def lock() -> None:
    """One allocation at a time, until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def host(name: str) -> Host:
    """The host of that name."""
    return Host.objects.get(name=name)


def collides(plan: Plan) -> Platform | None:
    """A platform that has ended and may have left a UUID, MAC, address or bridge of this plan on a lost host."""
    wanted = set(identities(plan))
    left = Platform.objects.filter(left_on__isnull=False).select_related("left_on")
    return next((platform for platform in left if wanted & set(identities(platform.plan))), None)


def choose(hypervisor: str | None = None, *, staying: Platform | None = None) -> tuple[Placement, int]:
    """The enabled host (of that hypervisor) with the least memory promised, and the first free subnet.

    A host that did not answer when it was last asked is taken only when no other one does. A platform that is `staying` keeps
    its host while that takes platforms and answers, and its subnet while the site has it.

    InvalidInput for a hypervisor that no host has, Conflict when there is no place.
    """
    load = Coalesce(Sum("platforms__ledger__memory_mib"), 0)
    hosts = Host.objects.filter(enabled=True, lost_at=None)
    if hypervisor is not None:
        known = sorted(set(hosts.values_list("hypervisor", flat=True)))
        if hypervisor not in known:
            message = _("Unknown hypervisor. There are: %(known)s.") % {"known": ", ".join(known)}
            raise InvalidInput({"hypervisor": [message]})
        hosts = hosts.filter(hypervisor=hypervisor)
    best: Host | None = hosts.annotate(load=load).order_by("-reachable", "load", "name").first()
    if staying is not None and staying.host.enabled and staying.host.reachable and not staying.host.lost:
        best = staying.host
    if best is None:
        raise Conflict(_("No host takes platforms at the moment."), _("Ask an administrator to enable one."))
    config = wiring.site()
    index, subnet = _subnet(staying)
    place = Placement(
        host=best.name,
        subnet=subnet,
        edge_domain=config.edge.domain,
        edge_port=config.edge.port,
        dns_domain=config.network.dns_domain,
        ssh_ports=ports_of(index),
    )
    return place, index


def ports_of(index: int | None) -> tuple[int, ...]:
    """The ports of the edge, for ssh, of the platform with this subnet: as it has no other's subnet, it has no other's ports."""
    return () if index is None else ssh_ports(wiring.site().edge.first_ssh_port, index)


def _subnet(staying: Platform | None) -> tuple[int, IPv4Network]:
    network = wiring.site().network
    if staying is not None and staying.subnet_index is not None:
        with suppress(IndexError):
            return staying.subnet_index, subnet_of(network.pool, network.prefix, staying.subnet_index)
    taken = set(Platform.objects.exclude(subnet_index=None).values_list("subnet_index", flat=True))
    index = next(i for i in range(len(taken) + 1) if i not in taken)
    try:
        return index, subnet_of(network.pool, network.prefix, index)
    except IndexError:
        raise Conflict(
            _("The site has no addresses left for another platform."),
            _("Ask an administrator to widen the pool."),
        ) from None
