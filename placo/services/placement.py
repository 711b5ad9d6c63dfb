"""Where a platform goes: a host and a subnet."""

from __future__ import annotations

from django.db import connection
from django.db.models import Sum
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from placo import wiring
from placo.domain.plan import Placement, subnet_of
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


def choose(hypervisor: str | None = None) -> tuple[Placement, int]:
    """The enabled host (of that hypervisor) with the least memory promised, and the first free subnet.

    A host that did not answer when it was last asked is taken only when no other one does.

    InvalidInput for a hypervisor that no host has, Conflict when there is no place.
    """
    load = Coalesce(Sum("platforms__ledger__memory_mib"), 0)
    hosts = Host.objects.filter(enabled=True)
    if hypervisor is not None:
        known = sorted(set(hosts.values_list("hypervisor", flat=True)))
        if hypervisor not in known:
            message = _("Unknown hypervisor. There are: %(known)s.") % {"known": ", ".join(known)}
            raise InvalidInput({"hypervisor": [message]})
        hosts = hosts.filter(hypervisor=hypervisor)
    best = hosts.annotate(load=load).order_by("-reachable", "load", "name").first()
    if best is None:
        raise Conflict(_("No host takes platforms at the moment."), _("Ask an administrator to enable one."))
    config = wiring.site()
    taken = set(Platform.objects.exclude(subnet_index=None).values_list("subnet_index", flat=True))
    index = next(i for i in range(len(taken) + 1) if i not in taken)
    try:
        subnet = subnet_of(config.network.pool, config.network.prefix, index)
    except IndexError:
        raise Conflict(
            _("The site has no addresses left for another platform."),
            _("Ask an administrator to widen the pool."),
        ) from None
    place = Placement(
        host=best.name,
        subnet=subnet,
        edge_domain=config.edge.domain,
        edge_port=config.edge.port,
        dns_domain=config.network.dns_domain,
    )
    return place, index
