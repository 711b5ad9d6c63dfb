"""Hosts: looking at them, and turning their templates on and off."""

from __future__ import annotations

from django.db.models import Count, Q, QuerySet
from ninja import Router

from placo.domain.lifecycle import ENDED
from placo.platforms.models import Host
from placo.services import access, hosts
from placo.web.api.auth import Caller
from placo.web.api.schemas import HostOut, Problem, WarmIn, host_out

router = Router()
ERRORS = {401: Problem, 403: Problem}


def _out(rows: QuerySet[Host]) -> list[HostOut]:
    living = Count("platforms", filter=~Q(platforms__state__in=[s.value for s in ENDED]))
    found = list(rows.annotate(living=living).order_by("name"))
    templates = hosts.templates_of(found)
    return [host_out(host, templates[host.pk]) for host in found]


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
