"""Roles copied from the directory at login, and API tokens."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from placo import wiring
from placo.platforms.models import ApiToken, Membership, Project, ProjectOwner, User

TOKEN_DAYS = 90


@transaction.atomic
def copy_roles(user: User, groups: Iterable[str]) -> None:
    """Administrator and owned projects, from the DNs of the groups that the directory says the person is in."""
    base = wiring.site().directory.base.lower()
    names = {dn.replace(", ", ",").lower() for dn in groups}
    user.is_active, user.is_administrator = True, f"cn=admins,ou=groups,{base}" in names
    user.save(update_fields=["is_active", "is_administrator"])
    projects = Project.objects.all()
    owned = [p for p in projects if f"cn={p.slug},ou=projects,{base}" in names]
    ProjectOwner.objects.filter(uid=user.username).exclude(project__in=owned).delete()
    for project in owned:
        ProjectOwner.objects.get_or_create(project=project, uid=user.username)


def refresh_roles() -> None:
    """Copy all roles from the directory: who lost one, or left, loses it here too, whatever session or token they have.

    Raises DriverError, having changed nothing, while the directory does not answer.
    """
    directory = wiring.directory()
    owners = {project: directory.project_owners(project.slug) for project in Project.objects.all()}
    administrators = directory.administrators()
    users = list(User.objects.filter(is_break_glass=False))
    present = {user.pk: directory.person(user.username) is not None for user in users}
    with transaction.atomic():
        for user in users:
            wanted = (present[user.pk], present[user.pk] and user.username in administrators)
            if (user.is_active, user.is_administrator) != wanted:
                user.is_active, user.is_administrator = wanted
                user.save(update_fields=["is_active", "is_administrator"])
        for project, uids in owners.items():
            ProjectOwner.objects.filter(project=project).exclude(uid__in=uids).delete()
            ProjectOwner.objects.bulk_create(
                [ProjectOwner(project=project, uid=uid) for uid in uids], ignore_conflicts=True
            )
            # Who owns the project no more is a member like any other, whom its owners may remove.
            former = Membership.objects.filter(platform__project=project, owner=True).exclude(uid__in=uids)
            former.update(owner=False)


def remember_language(*, acting_user: User, language: str) -> None:
    """The language in which somebody uses the portal; one that it does not have is ignored."""
    if language in dict(settings.LANGUAGES) and acting_user.language != language:
        acting_user.language = language
        acting_user.save(update_fields=["language"])


def directory_is_down(error: BaseException) -> bool:
    """Whether an exception met while logging in means that the directory does not answer."""
    return wiring.directory_unavailable(error)


def issue_token(*, acting_user: User) -> str:
    """A new bearer token; it is shown once, only its digest is kept."""
    token = "placo_" + secrets.token_urlsafe(32)
    ApiToken.objects.create(
        user=acting_user, digest=_digest(token), expires_at=timezone.now() + timedelta(days=TOKEN_DAYS)
    )
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def user_of_token(token: str) -> User | None:
    """Whose token this is; None for one that is unknown, expired, or of a disabled account."""
    row = ApiToken.objects.select_related("user").filter(digest=_digest(token)).first()
    if row is None or row.expires_at <= timezone.now() or not row.user.is_active:
        return None
    return row.user
