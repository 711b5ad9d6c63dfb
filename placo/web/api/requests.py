"""Asking for a platform, and deciding about it."""

from __future__ import annotations

from typing import Annotated

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.translation import gettext as _
from ninja import Query, Router, Status
from pydantic import Field

from placo.domain.lifecycle import RequestState
from placo.platforms.models import Request
from placo.services import access, planning, requests
from placo.services.change_views import change_views
from placo.services.errors import InvalidInput
from placo.web.api.auth import Caller
from placo.web.api.pages import Page, page_of
from placo.web.api.schemas import Problem, RunStarted
from placo.web.api.schemas_flow import (
    ApproveIn,
    RejectIn,
    RequestIn,
    RequestOut,
    RequestSummary,
    request_out,
    request_summary,
)

router = Router()
ERRORS = {401: Problem, 403: Problem, 404: Problem, 409: Problem, 422: Problem}


class RequestFilter(Page):
    """Which requests to list."""

    state: RequestState | None = None
    project: Annotated[str | None, Field(description="The slug of a project.")] = None


def _complete(rows: QuerySet[Request]) -> QuerySet[Request]:
    return rows.select_related("platform__project", "platform__host", "requester", "decided_by")


def _shown(request: Request) -> RequestOut:
    """With what no longer fits, while it waits for a decision."""
    open_ = request.state == RequestState.SUBMITTED.value
    return request_out(request, planning.offer(request) if open_ else None)


@router.post("/requests", response={201: RequestOut, **ERRORS}, summary="Ask for a platform")
def submit_request(request: Caller, body: RequestIn) -> Status[RequestOut]:
    """Checks everything, freezes the plan and reserves quota, addresses and the name. An administrator decides."""
    if not access.projects_named(request.auth, body.project).exists():
        raise InvalidInput({"project": [_("You own no project of this name.")]})
    made = requests.submit_request(
        acting_user=request.auth,
        project_slug=body.project,
        slug=body.slug,
        services=body.services,
        days=body.days,
        justification=body.justification,
        title=body.title,
        options=body.options,
        hypervisor=body.hypervisor,
    )
    return Status(201, request_out(made))


@router.get("/requests", response={200: list[RequestSummary], **ERRORS}, summary="Requests, the newest first")
def list_requests(
    request: Caller, response: HttpResponse, filters: Annotated[RequestFilter, Query()]
) -> list[RequestSummary]:
    """Those of your projects, all for an administrator."""
    rows = _complete(access.visible_requests(request.auth))
    if filters.state is not None:
        rows = rows.filter(state=filters.state.value)
    if filters.project is not None:
        rows = rows.filter(platform__project__in=access.projects_named(request.auth, filters.project))
    page = list(page_of(rows, filters, response))
    views = change_views(page)
    return [request_summary(row, views.get(row.pk)) for row in page]


@router.get(
    "/requests/{int:request_id}", response={200: RequestOut, **ERRORS}, summary="A request and its plan"
)
def show_request(request: Caller, request_id: int) -> RequestOut:
    """`problems` says why the plan no longer fits, if it does not, and `offer` what is offered instead."""
    return _shown(access.get_request(request.auth, request_id))


@router.post(
    "/requests/{int:request_id}/approve", response={200: RunStarted, **ERRORS}, summary="Approve a plan"
)
def approve_request(request: Caller, request_id: int, body: ApproveIn | None = None) -> RunStarted:
    """Administrators. Starts the run that makes or changes the platform; with `plan_hash`, only if the plan is still that one.

    A plan that no longer fits is refused with `differences` and the `plan_hash` of a new plan, which may be approved instead.
    """
    body = body or ApproveIn(plan_hash=None)
    run = requests.approve_request(
        acting_user=request.auth, request_id=request_id, plan_hash=body.plan_hash, comment=body.comment
    )
    return RunStarted(run_id=run.pk)


@router.post(
    "/requests/{int:request_id}/reject", response={200: RequestOut, **ERRORS}, summary="Reject a request"
)
def reject_request(request: Caller, request_id: int, body: RejectIn) -> RequestOut:
    """Administrators. Gives back what was reserved; the requester reads the comment."""
    requests.reject_request(acting_user=request.auth, request_id=request_id, comment=body.comment)
    return show_request(request, request_id)


@router.post(
    "/requests/{int:request_id}/withdraw", response={200: RequestOut, **ERRORS}, summary="Take it back"
)
def withdraw_request(request: Caller, request_id: int) -> RequestOut:
    """The owners of the project, while nothing is decided."""
    requests.withdraw_request(acting_user=request.auth, request_id=request_id)
    return show_request(request, request_id)


@router.post(
    "/requests/{int:request_id}/replan", response={200: RequestOut, **ERRORS}, summary="Make a new plan"
)
def replan_request(request: Caller, request_id: int) -> RequestOut:
    """Administrators, where the old plan no longer fits: host disabled, image replaced, owners changed."""
    requests.replan_request(acting_user=request.auth, request_id=request_id)
    return show_request(request, request_id)
