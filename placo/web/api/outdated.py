"""Machines that run an older image than would be made today, on all platforms."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router, Status
from pydantic import Field

from placo.services import rebuilds
from placo.web.api.auth import Caller
from placo.web.api.pages import PageQuery, page_of
from placo.web.api.schemas import Out, Problem

router = Router()
ERRORS = {401: Problem, 403: Problem}


class OutdatedOut(Out):
    """A platform with outdated machines."""

    platform: str = Field(examples=["alpha"])
    state: str
    host: str
    machines: list[str] = Field(description="Those that can be rebuilt.", examples=[["www", "svn"]])


class BegunOut(Out):
    platform: str
    run_id: int


class LeftOut(Out):
    platform: str
    detail: str = Field(description="Why it was not rebuilt.")


class WaveOut(Out):
    """What became of the platforms with outdated machines."""

    begun: list[BegunOut]
    left: list[LeftOut]


@router.get(
    "/outdated", response={200: list[OutdatedOut], **ERRORS}, summary="Outdated machines (administrators)"
)
def list_outdated(request: Caller, response: HttpResponse, page: PageQuery) -> list[OutdatedOut]:
    """Platforms whose machines were made from an image that has been built anew since."""
    rows = rebuilds.outdated_platforms(acting_user=request.auth).order_by("slug")
    return [
        OutdatedOut(
            platform=platform.slug,
            state=platform.state,
            host=platform.host.name,
            machines=[m.name for m in platform.plan.machines if rebuilds.outdated(m)],
        )
        for platform in page_of(rows, page, response)
    ]


@router.post(
    "/outdated/rebuild",
    response={202: WaveOut, **ERRORS},
    summary="Rebuild all that is outdated (administrators)",
)
def rebuild_all(request: Caller) -> Status[WaveOut]:
    """As `POST /platforms/{slug}/rebuild` for each platform; those whose state does not allow it are left."""
    wave = rebuilds.rebuild_all(acting_user=request.auth)
    begun = [BegunOut(platform=slug, run_id=run.pk) for slug, run in wave.begun.items()]
    left = [LeftOut(platform=slug, detail=str(why.message)) for slug, why in wave.refused.items()]
    return Status(202, WaveOut(begun=begun, left=left))
