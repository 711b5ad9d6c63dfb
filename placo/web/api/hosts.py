"""Hosts: looking at them, turning their templates on and off, declaring one lost and taking it back."""

from __future__ import annotations

from django.db.models import Count, Q, QuerySet
from ninja import Router

from placo.domain.lifecycle import ENDED
from placo.platforms.models import Host
from placo.services import access, host_views, hosts, lost, waiting
from placo.web.api.auth import Caller
from placo.web.api.schemas import HostOut, LostIn, Problem, WarmIn, host_out

router = Router()
ERRORS = {401: Problem, 403: Problem}


def _out(rows: QuerySet[Host]) -> list[HostOut]:
    living = Count("platforms", filter=~Q(platforms__state__in=[s.value for s in ENDED]))
    found = list(rows.select_related("lost_by").annotate(living=living).order_by("name"))
    templates, reserved, waited = (
        hosts.templates_of(found),
        host_views.reservations(found),
        waiting.counted(),
    )
    return [
        host_out(host, templates[host.pk], reserved.get(host.pk, ()), waited.get(host.name, 0))
        for host in found
    ]


@router.get("/hosts", response={200: list[HostOut], **ERRORS}, summary="Hosts (administrators)")
def list_hosts(request: Caller) -> list[HostOut]:
    """Every hypervisor with what it last said of itself, and the templates that its machines are resumed from."""
    access.require_administrator(request.auth)
    return _out(Host.objects.all())


@router.post(
    "/hosts/{name}/warm",
    response={200: HostOut, 404: Problem, 422: Problem, **ERRORS},
    summary="Templates of a host on or off (administrators)",
)
def set_warm(request: Caller, name: str, payload: WarmIn) -> HostOut:
    """Off: new machines of this host boot. Templates that were made stay, and are used again when it is turned on."""
    host = hosts.set_warm(acting_user=request.auth, host_name=name, warm=payload.on)
    return _out(Host.objects.filter(pk=host.pk))[0]


@router.post(
    "/hosts/{name}/lost",
    response={200: HostOut, 404: Problem, 409: Problem, 422: Problem, **ERRORS},
    summary="Declare a host lost (administrators)",
)
def declare_lost(request: Caller, name: str, payload: LostIn) -> HostOut:
    """It will not come back, with all that is on it. Runs that wait for it end: what they would remove there counts as gone.

    Only while it does not answer."""
    host = lost.declare_lost(acting_user=request.auth, host_name=name, confirm=payload.confirm)
    return _out(Host.objects.filter(pk=host.pk))[0]


@router.post(
    "/hosts/{name}/take-back",
    response={200: HostOut, 404: Problem, 409: Problem, **ERRORS},
    summary="Use a lost host again (administrators)",
)
def take_back(request: Caller, name: str) -> HostOut:
    """For a lost host that answers again, once nothing is left there of platforms that have ended."""
    host = lost.take_back(acting_user=request.auth, host_name=name)
    return _out(Host.objects.filter(pk=host.pk))[0]
