"""Who may see and do what. Every use case and every view asks here, about the object itself."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from placo.platforms.models import (
    Membership,
    Platform,
    Project,
    ProjectOwner,
    Request,
    Run,
    SteppedDown,
    User,
)
from placo.services.errors import Forbidden, NotFound


def owned_projects(user: User) -> QuerySet[Project]:
    """The projects that somebody owns; all of them for an administrator, none for a guest."""
    if user.is_guest:
        return Project.objects.none()
    return (
        Project.objects.all() if user.is_administrator else Project.objects.filter(owners__uid=user.username)
    )


def owned_by(uid: str) -> Q:
    """The platforms that somebody owns: those of their projects that they have not handed over, and those handed to them."""
    handed_over = SteppedDown.objects.filter(platform=OuterRef("pk"), uid=uid)
    appointed = Membership.objects.filter(platform=OuterRef("pk"), uid=uid, appointed=True, wanted=True)
    return Q(project__owners__uid=uid) & ~Exists(handed_over) | Exists(appointed)


def managed_platforms(user: User) -> QuerySet[Platform]:
    """The platforms that somebody may manage: all for an administrator, none for a guest."""
    if user.is_guest:
        return Platform.objects.none()
    if user.is_administrator:
        return Platform.objects.all()
    return Platform.objects.filter(owned_by(user.username)).distinct()


def owners_of(platform: Platform) -> list[str]:
    """The uids of those who look after a platform."""
    handed_over = platform.stepped_down.values("uid")
    project = ProjectOwner.objects.filter(project=platform.project_id).exclude(uid__in=handed_over)
    appointed = platform.memberships.filter(appointed=True, wanted=True)
    return sorted({*project.values_list("uid", flat=True), *appointed.values_list("uid", flat=True)})


def visible_platforms(user: User) -> QuerySet[Platform]:
    """All for an administrator, those of one's projects, and those that one is a member of."""
    if user.is_administrator:
        return Platform.objects.all()
    mine = Q(memberships__uid=user.username, memberships__wanted=True)
    if not user.is_guest:
        mine |= Q(project__owners__uid=user.username)
    return Platform.objects.filter(mine).distinct()


def visible_requests(user: User) -> QuerySet[Request]:
    """All for an administrator, else those of one's projects and of the platforms that one manages; none for a guest."""
    if user.is_administrator:
        return Request.objects.all()
    if user.is_guest:
        return Request.objects.none()
    mine = Q(platform__project__owners__uid=user.username) | Q(platform__in=managed_platforms(user))
    return Request.objects.filter(mine).distinct()


def manages(user: User, platform: Platform) -> bool:
    """An administrator or an owner of the platform."""
    return user.is_administrator or managed_platforms(user).filter(pk=platform.pk).exists()


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
        raise Forbidden(_("Only the owners of the platform can do this."), _("Ask one of them."))
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
