"""GET /catalogue/services."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Router

from placo.services import selectors
from placo.web.api.schemas import Problem, ServiceOut, service_out

router = Router()


@router.get(
    "/catalogue/services", response={200: list[ServiceOut], 401: Problem}, summary="What can be asked for"
)
def list_services(request: HttpRequest) -> list[ServiceOut]:
    """Every service of the catalogue with its machines, options, public addresses and cost."""
    return [service_out(card) for card in selectors.service_cards()]
