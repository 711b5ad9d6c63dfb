"""GET /projects."""

from __future__ import annotations

from django.http import HttpResponse
from ninja import Router

from placo.services import access
from placo.web.api.auth import Caller
from placo.web.api.pages import PageQuery, page_of
from placo.web.api.schemas import Problem, ProjectOut, project_out

router = Router()


@router.get(
    "/projects", response={200: list[ProjectOut], 401: Problem}, summary="Your projects and their quotas"
)
def list_projects(request: Caller, response: HttpResponse, page: PageQuery) -> list[ProjectOut]:
    """The projects that you own, all for an administrator, with what they may use and what they use."""
    return [project_out(project) for project in page_of(access.owned_projects(request.auth), page, response)]


@router.get("/projects/{slug}", response={200: ProjectOut, 401: Problem, 404: Problem}, summary="One project")
def show_project(request: Caller, slug: str) -> ProjectOut:
    """A project that you own."""
    return project_out(access.get_project(request.auth, slug))
