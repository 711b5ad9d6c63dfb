"""Who may see and do what. Every use case and every view asks here, about the object itself."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from placo.platforms.models import Platform, Project, Request, Run, User
from placo.services.errors import Forbidden, NotFound


def owned_projects(user: User) -> QuerySet[Project]:
    """The projects that somebody owns; all of them for an administrator."""
    return (
        Project.objects.all() if user.is_administrator else Project.objects.filter(owners__uid=user.username)
    )


def visible_platforms(user: User) -> QuerySet[Platform]:
    """All for an administrator, those of one's projects, and those that one is a member of."""
    if user.is_administrator:
        return Platform.objects.all()
    member = Q(memberships__uid=user.username, memberships__wanted=True)
    return Platform.objects.filter(Q(project__owners__uid=user.username) | member).distinct()


def visible_requests(user: User) -> QuerySet[Request]:
    """All for an administrator, else those of one's projects."""
    if user.is_administrator:
        return Request.objects.all()
    return Request.objects.filter(platform__project__owners__uid=user.username).distinct()


def manages(user: User, platform: Platform) -> bool:
    """An administrator or an owner of the platform's project."""
    return user.is_administrator or platform.project.owners.filter(uid=user.username).exists()


def get_platform(user: User, slug: str) -> Platform:
    """The living platform of that slug, else the latest in history; NotFound if there is none that the user may see."""
    if "\x00" in slug:
        raise NotFound
    found = list(visible_platforms(user).filter(slug=slug).select_related("project", "host").order_by("-id"))
    if not found:
        raise NotFound
    return next((p for p in found if p.alive), found[0])


def get_managed_platform(user: User, slug: str) -> Platform:
    """A platform that the user manages: NotFound if invisible, Forbidden if only visible."""
    platform = get_platform(user, slug)
    if not manages(user, platform):
        raise Forbidden(_("Only the owners of the project can do this."), _("Ask one of them."))
    return platform


def projects_named(user: User, slug: str) -> QuerySet[Project]:
    """The project of that slug if the user owns it, as a set of one or none."""
    projects = owned_projects(user)
    return projects.none() if "\x00" in slug else projects.filter(slug=slug)


def get_project(user: User, slug: str) -> Project:
    """A project that the user owns, else NotFound."""
    project = projects_named(user, slug).first()
    if project is None:
        raise NotFound
    return project


def get_request(user: User, request_id: int) -> Request:
    """A request that the user may see, else NotFound."""
    request = (
        visible_requests(user).filter(pk=request_id).select_related("platform__project", "requester").first()
    )
    if request is None:
        raise NotFound
    return request


def get_run(user: User, run_id: int) -> Run:
    """A run of a platform that the user manages, else NotFound."""
    run = Run.objects.filter(pk=run_id).select_related("platform__project", "started_by").first()
    if run is None or not manages(user, run.platform):
        raise NotFound
    return run


def require_administrator(user: User) -> None:
    """Forbidden for everybody else."""
    if not user.is_administrator:
        raise Forbidden(_("Only an administrator can do this."), _("Ask an administrator of the site."))
