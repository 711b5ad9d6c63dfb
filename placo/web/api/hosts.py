"""GET /hosts."""

from __future__ import annotations

from django.db.models import Count, Q
from ninja import Router

from placo.domain.lifecycle import ENDED
from placo.platforms.models import Host
from placo.services import access
from placo.web.api.auth import Caller
from placo.web.api.schemas import HostOut, Problem, host_out

router = Router()


@router.get(
    "/hosts", response={200: list[HostOut], 401: Problem, 403: Problem}, summary="Hosts (administrators)"
)
def list_hosts(request: Caller) -> list[HostOut]:
    """Every hypervisor with what it last said of itself."""
    access.require_administrator(request.auth)
    living = Count("platforms", filter=~Q(platforms__state__in=[s.value for s in ENDED]))
    return [host_out(host) for host in Host.objects.annotate(living=living).order_by("name")]
