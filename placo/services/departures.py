"""People who leave: out of every platform at once, because an administrator says so or because the directory knows them no more."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from django.db import transaction
from django.utils.translation import gettext as _

from placo import wiring
from placo.drivers.ports import DriverError, Person
from placo.platforms.models import (
    ApiToken,
    Guest,
    Invitation,
    Membership,
    Platform,
    ProjectOwner,
    SshKey,
    SteppedDown,
    User,
)
from placo.services import access, auditlog, clock, guests, invitations, keys, members
from placo.services.errors import Conflict, DirectoryDown, NotFound

log = logging.getLogger("placo.people")

MANY, SHARE = 5, 4
"""More people than this, and more than one in `SHARE`, never leave at once: the directory is not what it was, nothing is done."""


@dataclass(frozen=True)
class PersonView:
    """Somebody with all that they have here. `person` is None for who has gone from the directory, or while it is silent."""

    uid: str
    name: str
    person: Person | None
    silent: bool
    user: User | None
    guest: Guest | None
    memberships: list[Membership] = field(default_factory=list)
    projects: list[str] = field(default_factory=list)
    platforms: list[Platform] = field(default_factory=list)
    keys: int = 0


def person_view(*, acting_user: User, uid: str) -> PersonView:
    """What somebody has here, for administrators; NotFound for who is neither in the directory nor known from before."""
    access.require_administrator(acting_user)
    if not 0 < len(uid) <= 128 or "\x00" in uid:
        raise NotFound
    silent, person = False, None
    try:
        person = wiring.directory().person(uid)
    except DriverError:
        silent = True
    known = person.uid if person else uid
    user, guest = User.objects.filter(username=known).first(), Guest.objects.filter(uid=known).first()
    rows = Membership.objects.filter(uid=known, platform__state__in=members.ALIVE).select_related("platform")
    if person is None and user is None and guest is None and not rows.exists():
        raise NotFound
    owned = Platform.objects.filter(access.owned_by(known), state__in=members.ALIVE).distinct()
    name = person.name if person else guest.name if guest else user.display_name if user else known
    return PersonView(
        uid=known,
        name=name,
        person=person,
        silent=silent,
        user=user,
        guest=guest,
        memberships=list(rows.order_by("platform__slug")),
        projects=list(ProjectOwner.objects.filter(uid=known).values_list("project__slug", flat=True)),
        platforms=list(owned.order_by("slug")),
        keys=SshKey.objects.filter(uid=known).count(),
    )


def search(*, acting_user: User, text: str) -> list[Person]:
    """People of the directory, for administrators; empty below two characters."""
    access.require_administrator(acting_user)
    text = text.strip()
    if not 2 <= len(text) <= 100 or "\x00" in text:
        return []
    try:
        return wiring.directory().search_people(text, 20)
    except DriverError as error:
        raise DirectoryDown from error


def guests_listed(*, acting_user: User) -> list[Guest]:
    """All guests who have an account, for administrators."""
    access.require_administrator(acting_user)
    return list(Guest.objects.exclude(state=Guest.REMOVED).order_by("uid"))


def leave(*, acting_user: User, uid: str) -> list[str]:
    """Remove somebody from all platforms: as a member, as an owner, with keys, tokens and invitations; the slugs.

    Platforms that are busy, stuck or wait for a host are no exception. Roles that the directory gives (owning a project) are taken away there.
    """
    view = person_view(acting_user=acting_user, uid=uid)
    if view.user is not None and view.user.is_break_glass:
        raise Conflict(_("The local break-glass account is on no platform."), _("Nothing has to be done."))
    if view.silent:
        raise DirectoryDown
    with transaction.atomic():
        slugs = _out(view.uid, acting_user)
        for platform in Platform.objects.filter(project__owners__uid=view.uid, state__in=members.ALIVE):
            SteppedDown.objects.get_or_create(platform=platform, uid=view.uid)
        auditlog.record(acting_user, "person.leave", view.uid, platforms=slugs)
    try:
        keys.settle_all()
    except DriverError as error:
        log.warning("keys of %s go later: %s", view.uid, error)
    return slugs


def _out(uid: str, acting_user: User | None) -> list[str]:
    """Out of everything here; the caller is in a transaction."""
    now = clock.now()
    invitations.revoke_those_of(uid)
    guest = Guest.objects.filter(uid=uid).exclude(state=Guest.REMOVED).first()
    if guest is not None:
        waiting = Invitation.objects.filter(mail__iexact=guest.mail, accepted_at=None, revoked_at=None)
        waiting.update(revoked_at=now, mail_due_at=None)
    rows = Membership.objects.filter(uid=uid, wanted=True, platform__state__in=members.ALIVE)
    slugs = []
    for row in rows.select_related("platform").order_by("platform_id"):
        members.dismiss(row.platform, uid, acting_user=acting_user)
        slugs.append(row.platform.slug)
    keys.forget(uid)
    ApiToken.objects.filter(user__username=uid).delete()
    guests.ask()
    return slugs


def notice() -> list[str]:
    """Who has gone from the directory goes from every platform; their uids. Raises DriverError while it does not answer.

    Its groups have forgotten them already (refint); this has the portal forget them, too.
    """
    known = set(Membership.objects.filter(platform__state__in=members.ALIVE).values_list("uid", flat=True))
    known |= set(Guest.objects.filter(state=Guest.ACTIVE).values_list("uid", flat=True))
    known |= set(SshKey.objects.values_list("uid", flat=True))
    if not known:
        return []
    there = {uid.casefold() for uid in wiring.directory().people(known)}
    gone = sorted(uid for uid in known if uid.casefold() not in there)
    if too_many(len(gone), len(known)):
        log.error(
            "%d of %d people are missing in the directory: nothing is done about them", len(gone), len(known)
        )
        return []
    for uid in gone:
        with transaction.atomic():
            wanted = Membership.objects.filter(uid=uid, wanted=True, platform__state__in=members.ALIVE)
            guest = Guest.objects.select_for_update().filter(uid=uid, state=Guest.ACTIVE).first()
            if wanted.exists() or guest is not None or SshKey.objects.filter(uid=uid).exists():
                slugs = _out(uid, None)
                auditlog.record(None, "person.gone", uid, platforms=slugs)
                log.warning(
                    "%s has gone from the directory: removed from %s", uid, ", ".join(slugs) or "nothing"
                )
            if guest is not None:
                guests.bury(guest)
    return gone


def too_many(gone: int, known: int) -> bool:
    """Whether so many cannot all have left: the directory has lost them, or hides them."""
    return gone > MANY and gone * SHARE > known


def missing() -> tuple[int, int]:
    """How many of the people known here the directory lacks, of how many: for the doctor. Raises DriverError."""
    known = set(Membership.objects.filter(platform__state__in=members.ALIVE).values_list("uid", flat=True))
    there = {uid.casefold() for uid in wiring.directory().people(known)} if known else set()
    return sum(uid.casefold() not in there for uid in known), len(known)
