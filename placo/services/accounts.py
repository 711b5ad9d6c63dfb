"""Roles copied from the directory at login, and API tokens."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from placo import wiring
from placo.platforms.models import ApiToken, Guest, Membership, Project, ProjectOwner, User
from placo.services import clock

TOKEN_DAYS = 90


def is_guest(dn: str) -> bool:
    """Whether this is the entry of a guest."""
    return _plain(dn).endswith(f",ou=guests,ou=people,{_plain(wiring.site().directory.base)}")


def _plain(dn: str) -> str:
    return dn.replace(", ", ",").lower()


@transaction.atomic
def copy_roles(user: User, groups: Iterable[str], *, guest: bool = False) -> None:
    """Administrator and owned projects, from the DNs of the groups that the directory says the person is in; guests have no role."""
    base = _plain(wiring.site().directory.base)
    names = set() if guest else {_plain(dn) for dn in groups}
    user.is_active, user.is_guest = True, guest
    user.is_administrator = f"cn=admins,ou=groups,{base}" in names
    user.save(update_fields=["is_active", "is_administrator", "is_guest"])
    projects = Project.objects.all()
    owned = [p for p in projects if f"cn={p.slug},ou=projects,{base}" in names]
    ProjectOwner.objects.filter(uid=user.username).exclude(project__in=owned).delete()
    for project in owned:
        ProjectOwner.objects.get_or_create(project=project, uid=user.username)


def refresh_roles() -> None:
    """Copy all roles from the directory: who lost one, left, or is a guest whose time is over, loses it here too, whatever
    session or token they have.

    Raises DriverError, having changed nothing, while the directory does not answer.
    """
    directory = wiring.directory()
    owners = {project: directory.project_owners(project.slug) for project in Project.objects.all()}
    administrators = directory.administrators()
    users = list(User.objects.filter(is_break_glass=False))
    there = directory.people([user.username for user in users])
    now = clock.now()
    with transaction.atomic():
        for user in users:
            person = there.get(user.username)
            active = person is not None and (person.ends_at is None or now < person.ends_at)
            guest = user.is_guest if person is None else person.guest
            wanted = (active, active and user.username in administrators, guest)
            if (user.is_active, user.is_administrator, user.is_guest) != wanted:
                user.is_active, user.is_administrator, user.is_guest = wanted
                user.save(update_fields=["is_active", "is_administrator", "is_guest"])
        for project, uids in owners.items():
            ProjectOwner.objects.filter(project=project).exclude(uid__in=uids).delete()
            ProjectOwner.objects.bulk_create(
                [ProjectOwner(project=project, uid=uid) for uid in uids], ignore_conflicts=True
            )
            # Who owns the project no more is a member like any other, whom its owners may remove.
            former = Membership.objects.filter(platform__project=project, owner=True, appointed=False)
            former.exclude(uid__in=uids).update(owner=False, settled=False, version=F("version") + 1)


def user_of_guest(guest: Guest) -> User:
    """A guest as somebody who logs in."""
    with transaction.atomic():
        user, made = User.objects.get_or_create(username=guest.uid)
        user.is_guest = user.is_active = True
        user.is_administrator = False
        user.last_name, user.email = guest.name, guest.mail
        if made:
            user.set_unusable_password()
        user.save()
    return user


@dataclass(frozen=True)
class PasswordHelp:
    """Where people of the laboratory change their password: an address, or a sentence."""

    url: str = ""
    text: str = ""


def password_help() -> PasswordHelp:
    """What the site says about it."""
    said = wiring.site().people.password_help
    return PasswordHelp(url=said) if said.startswith(("https://", "http://")) else PasswordHelp(text=said)


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


def end_token(*, acting_user: User, token: str) -> None:
    """A token of this person is void from now on; twice is harmless."""
    ApiToken.objects.filter(user=acting_user, digest=_digest(token)).delete()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def user_of_token(token: str) -> User | None:
    """Whose token this is; None for one that is unknown, expired, or of a disabled account."""
    row = ApiToken.objects.select_related("user").filter(digest=_digest(token)).first()
    if row is None or row.expires_at <= timezone.now() or not row.user.is_active:
        return None
    return row.user
