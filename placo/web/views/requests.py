"""Requests: the queue, one request with its plan, and the decision."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from placo.domain.lifecycle import RequestState
from placo.platforms.models.platforms import REQUEST_LABELS, Request
from placo.services import access, request_views, requests
from placo.services.change_views import change_views
from placo.services.errors import Conflict, InvalidInput
from placo.web.change_rows import change_rows, plan_rows
from placo.web.http import flat_errors, screen, user_of
from placo.web.tables import Filter, Table


@screen()
def index(request: HttpRequest) -> HttpResponse:
    """Mine, or all for an administrator; those that wait come first."""
    rows = access.visible_requests(user_of(request)).select_related(
        "platform__project", "requester", "decided_by"
    )
    table = Table(
        request,
        rows,
        search=("platform__slug", "platform__title", "platform__project__slug", "requester__username"),
        sorts={"asked": "created_at", "platform": "platform__slug", "project": "platform__project__slug"},
        default="-asked",
        filters=(
            Filter("state", _("State"), [(s.value, label) for s, label in REQUEST_LABELS.items()]),
            Filter("kind", _("Kind"), list(Request.KINDS)),
        ),
    )
    projects = access.owned_projects(user_of(request)).exists()
    shown = list(table.page.object_list)
    changed = {number: change_rows(view, brief=True) for number, view in change_views(shown).items()}
    pairs = [(row, changed.get(row.pk)) for row in shown]
    return render(request, "web/requests.html", {"table": table, "rows": pairs, "may_ask": projects})


def _show(
    request: HttpRequest,
    request_id: int,
    *,
    status: int = 200,
    errors: dict[str, str] | None = None,
    trouble: object = None,
) -> HttpResponse:
    view = request_views.request_view(acting_user=user_of(request), request_id=request_id)
    user = user_of(request)
    undecided = view.request.state == RequestState.SUBMITTED.value
    context = {
        "view": view,
        "rows": change_rows(view.change) if view.change else [],
        "offered": plan_rows(view.offer.items) if view.offer else None,
        "revised": plan_rows(view.revised),
        "undecided": undecided,
        "may_decide": undecided and user.is_administrator,
        "errors": errors or {},
        "trouble": trouble,
        "told_why": trouble is not None and request.POST.get("plan_hash") == view.request.plan_hash,
        "comment": request.POST.get("comment", ""),
    }
    return render(request, "web/request.html", context, status=status)


@screen()
def detail(request: HttpRequest, request_id: int) -> HttpResponse:
    """The plan, the decision, the run."""
    return _show(request, request_id)


@screen("POST")
def approve(request: HttpRequest, request_id: int) -> HttpResponse:
    """Approve the plan that was shown, the request's own or the one that is offered; goes to the live page."""
    try:
        run = requests.approve_request(
            acting_user=user_of(request),
            request_id=request_id,
            plan_hash=request.POST.get("plan_hash", ""),
            comment=request.POST.get("comment", ""),
        )
    except Conflict as error:
        return _show(request, request_id, status=error.status, trouble=error)
    return redirect("web:run", run.pk)


@screen("POST")
def reject(request: HttpRequest, request_id: int) -> HttpResponse:
    """Refuse with a reason."""
    try:
        requests.reject_request(
            acting_user=user_of(request), request_id=request_id, comment=request.POST.get("comment", "")
        )
    except InvalidInput as error:
        return _show(request, request_id, status=error.status, errors=flat_errors(error.errors))
    except Conflict as error:
        return _show(request, request_id, status=error.status, trouble=error)
    messages.success(request, _("Rejected. The person who asked reads your reason on their first page."))
    return redirect("web:requests")


@screen("POST")
def withdraw(request: HttpRequest, request_id: int) -> HttpResponse:
    """Take one's own request back."""
    try:
        requests.withdraw_request(acting_user=user_of(request), request_id=request_id)
    except Conflict as error:
        return _show(request, request_id, status=error.status, trouble=error)
    messages.success(request, _("Withdrawn. What it had reserved is free again."))
    return redirect("web:requests-detail", request_id)


@screen("POST")
def replan(request: HttpRequest, request_id: int) -> HttpResponse:
    """A new plan where the old one no longer fits."""
    try:
        requests.replan_request(acting_user=user_of(request), request_id=request_id)
    except InvalidInput as error:
        return _show(request, request_id, status=error.status, errors=flat_errors(error.errors))
    except Conflict as error:
        return _show(request, request_id, status=error.status, trouble=error)
    messages.success(request, _("There is a new plan. Read it, then decide."))
    return redirect("web:requests-detail", request_id)
