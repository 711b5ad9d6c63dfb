"""Drift: where the world is not as the portal has it; accepting it, or having it repaired."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpResponse
from ninja import Query, Router, Status
from pydantic import Field

from placo.domain.drift import DriftKind
from placo.platforms.models import Drift
from placo.services import drift
from placo.web import drift_words
from placo.web.api.auth import Caller
from placo.web.api.pages import Page, page_of
from placo.web.api.schemas import Out, Problem, RunStarted

router = Router()
ERRORS = {401: Problem, 403: Problem}


class DriftFilter(Page):
    """Which drift to list."""

    kind: DriftKind | None = None
    where: Annotated[str | None, Field(description="A host's name, directory or edge.")] = None
    accepted: Annotated[bool | None, Field(description="Only what is accepted, or only what is not.")] = None


class DriftOut(Out):
    """One thing that is not as it should be. `detail` maps properties to what was expected and what was found."""

    id: int
    kind: str = Field(description="missing, extra, changed, paused or unreachable", examples=["missing"])
    what: str = Field(description="domain, volume, network, directory, edge, certificate or host")
    where: str = Field(description="A host's name, directory or edge.", examples=["h1"])
    name: str = Field(examples=["placo-alpha-www"])
    platform: str | None
    detail: dict[str, Any]
    remedy: str = Field(
        description="mend, restart, tidy, remove (can be repaired), wait, restore, lost, foreign or elsewhere."
    )
    repairable: bool
    explanation: str = Field(description="What a repair does, or why there can be none.")
    found_at: datetime
    seen_at: datetime
    accepted_at: datetime | None
    accepted_by: str | None


def drift_out(row: Drift) -> DriftOut:
    """A row as it is answered."""
    remedy = row.remedy
    return DriftOut(
        id=row.pk,
        kind=row.kind,
        what=row.what,
        where=row.where,
        name=row.name,
        platform=row.platform.slug if row.platform else None,
        detail=row.detail,
        remedy=remedy.value,
        repairable=remedy.repairs,
        explanation=drift_words.explanation(row),
        found_at=row.found_at,
        seen_at=row.seen_at,
        accepted_at=row.accepted_at,
        accepted_by=row.accepted_by.username if row.accepted_by else None,
    )


@router.get("/drift", response={200: list[DriftOut], **ERRORS}, summary="Drift (administrators)")
def list_drift(
    request: Caller, response: HttpResponse, filters: Annotated[DriftFilter, Query()]
) -> list[DriftOut]:
    """What the last comparison of each place found."""
    rows = drift.listed(acting_user=request.auth)
    if filters.kind is not None:
        rows = rows.filter(kind=filters.kind.value)
    if filters.where is not None:
        rows = rows.filter(where=filters.where.replace("\x00", ""))
    if filters.accepted is not None:
        rows = rows.filter(accepted_at__isnull=not filters.accepted)
    return [drift_out(row) for row in page_of(rows, filters, response)]


@router.post(
    "/drift/{int:drift_id}/accept",
    response={200: DriftOut, 404: Problem, **ERRORS},
    summary="Accept drift (administrators)",
)
def accept_drift(request: Caller, drift_id: int) -> DriftOut:
    """It is wanted so; nobody is told of it again until it changes."""
    return drift_out(drift.accept_drift(acting_user=request.auth, drift_id=drift_id))


@router.post(
    "/drift/{int:drift_id}/repair",
    response={202: RunStarted, 404: Problem, 409: Problem, **ERRORS},
    summary="Repair drift (administrators)",
)
def repair_drift(request: Caller, drift_id: int) -> Status[RunStarted]:
    """Starts a run that brings back what a living platform lacks (never volumes), or removes what was left of an ended one."""
    return Status(202, RunStarted(run_id=drift.repair_drift(acting_user=request.auth, drift_id=drift_id).pk))
