"""Platforms: looking at them, power, retirement, members."""

from __future__ import annotations

from typing import Annotated

from django.db.models import Q
from django.http import HttpResponse
from ninja import Query, Router, Status
from pydantic import Field

from placo.domain.lifecycle import ACTIVE_RUNS, ENDED, PlatformState, RunKind
from placo.platforms.models import Membership, Platform, Run
from placo.services import access, members, platforms, rebuilds, renewal
from placo.web.api.auth import Caller
from placo.web.api.pages import Page, page_of
from placo.web.api.schemas import Problem, RunStarted
from placo.web.api.schemas_flow import (
    EndIn,
    MemberOut,
    PlatformOut,
    RebuildIn,
    RenewIn,
    member_out,
    platform_out,
    with_run,
)

router = Router()
ERRORS = {401: Problem, 403: Problem, 404: Problem, 409: Problem, 422: Problem}


class PlatformFilter(Page):
    """Which platforms to list."""

    state: Annotated[
        PlatformState | None, Field(description="Without it, those that are history are left out.")
    ] = None
    project: Annotated[str | None, Field(description="The slug of a project.")] = None


@router.get("/platforms", response={200: list[PlatformOut], **ERRORS}, summary="Platforms")
def list_platforms(
    request: Caller, response: HttpResponse, filters: Annotated[PlatformFilter, Query()]
) -> list[PlatformOut]:
    """Those of your projects and those you are a member of; all for an administrator."""
    rows = access.visible_platforms(request.auth)
    if filters.state is not None:
        rows = rows.filter(state=filters.state.value)
    else:
        rows = rows.filter(~Q(state__in=[s.value for s in ENDED]))
    if filters.project is not None:
        rows = rows.filter(project__in=access.projects_named(request.auth, filters.project))
    managed = set(access.managed_platforms(request.auth).values_list("pk", flat=True))
    found = page_of(with_run(Platform.objects.filter(pk__in=rows.values("pk"))), filters, response)
    return [platform_out(p, request.auth, managed=p.pk in managed) for p in found]


@router.get("/platforms/{slug}", response={200: PlatformOut, **ERRORS}, summary="One platform")
def show_platform(request: Caller, slug: str) -> PlatformOut:
    """The living platform of that name, else the last one that had it."""
    return _shown(request, access.get_platform(request.auth, slug))


def _shown(request: Caller, found: Platform) -> PlatformOut:
    platform = with_run(Platform.objects.filter(pk=found.pk)).get()
    return platform_out(platform, request.auth, managed=access.manages(request.auth, platform))


@router.post(
    "/platforms/{slug}/renew", response={200: PlatformOut, **ERRORS}, summary="More time for a platform"
)
def renew_platform(request: Caller, slug: str, body: RenewIn | None = None) -> PlatformOut:
    """Extends it by the days that it was first asked for, from some days before its end until it is removed (`renews_to`).

    Starts it again if its end had stopped it. A second call does nothing: with `expires_on`, the end date that
    you know, never; without, not before the next reminder.
    """
    seen = body.expires_on if body else None
    return _shown(request, renewal.renew_platform(acting_user=request.auth, slug=slug, seen=seen))


@router.put(
    "/platforms/{slug}/end",
    response={200: PlatformOut, **ERRORS},
    summary="Set the end date (administrators)",
)
def set_end(request: Caller, slug: str, body: EndIn) -> PlatformOut:
    """Any date from today on. Starts the platform again if its end had stopped it."""
    found = renewal.set_end(acting_user=request.auth, slug=slug, expires_on=body.expires_on)
    return _shown(request, found)


@router.delete(
    "/platforms/{slug}", response={202: RunStarted, **ERRORS}, summary="Retire a platform for good"
)
def retire_platform(request: Caller, slug: str) -> Status[RunStarted]:
    """Removes its machines with all their data, its directory entries, addresses and certificates. Cannot be undone."""
    return Status(
        202,
        RunStarted(run_id=platforms.retire_platform(acting_user=request.auth, slug=slug, confirm=slug).pk),
    )


@router.post("/platforms/{slug}/actions/{action}", response={202: RunStarted, **ERRORS}, summary="Power")
def power_platform(request: Caller, slug: str, action: str) -> Status[RunStarted]:
    """`action` is start, stop or restart, for all machines of the platform."""
    return Status(
        202,
        RunStarted(run_id=platforms.power_platform(acting_user=request.auth, slug=slug, action=action).pk),
    )


@router.post("/platforms/{slug}/rebuild", response={202: RunStarted, **ERRORS}, summary="Rebuild machines")
def rebuild_platform(request: Caller, slug: str, body: RebuildIn | None = None) -> Status[RunStarted]:
    """Replaces system disks by ones from the newest image and keeps the data volumes; goes back if a machine does not answer."""
    chosen = body.machines if body else None
    run = rebuilds.rebuild_platform(acting_user=request.auth, slug=slug, machines=chosen)
    return Status(202, RunStarted(run_id=run.pk))


def _member(row: Membership) -> Status[MemberOut]:
    """200 when the directory already says so, else 202 and the run that makes it so."""
    if row.settled:
        return Status(200, member_out(row))
    active = Run.objects.filter(
        platform=row.platform_id,
        kind=RunKind.MEMBER.value,
        subject=row.uid,
        state__in=[s.value for s in ACTIVE_RUNS],
    )
    return Status(202, member_out(row, active.values_list("pk", flat=True).first()))


@router.get("/platforms/{slug}/members", response={200: list[MemberOut], **ERRORS}, summary="Members")
def list_members(request: Caller, slug: str) -> list[MemberOut]:
    """For those who manage the platform. The owners of the project are members too."""
    platform = access.get_managed_platform(request.auth, slug)
    return [member_out(row) for row in platform.memberships.all()]


@router.put(
    "/platforms/{slug}/members/{uid}",
    response={200: MemberOut, 202: MemberOut, **ERRORS},
    summary="Add a member",
)
def add_member(request: Caller, slug: str, uid: str) -> Status[MemberOut]:
    """Lets a person of the directory use the platform; adding twice is harmless."""
    return _member(members.add_member(acting_user=request.auth, slug=slug, uid=uid))


@router.delete(
    "/platforms/{slug}/members/{uid}",
    response={200: MemberOut, 202: MemberOut, **ERRORS},
    summary="Remove a member",
)
def remove_member(request: Caller, slug: str, uid: str) -> Status[MemberOut]:
    """Refuses the person from now on, everywhere on the platform. Owners of the project stay."""
    return _member(members.remove_member(acting_user=request.auth, slug=slug, uid=uid))
