"""Inviting people from outside to a platform: the owner's part. Accepting is in services/joining.py, the mail in letters.py."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from placo import wiring
from placo.drivers.ports import DriverError
from placo.platforms.models import Guest, Invitation, Platform, User
from placo.services import access, auditlog, clock, letters, limits, links, members, validation
from placo.services.errors import Conflict, DirectoryDown, InvalidInput, NotFound, TooMany

OPEN, ACCEPTED, REVOKED, LATE, CLOSED = "open", "accepted", "revoked", "late", "closed"
"""How an invitation stands; closed: its platform has ended."""
MOST_OPEN = 50
"""How many invitations to one platform may be open."""
MAILS_TO_ONE_ADDRESS = 5
"""How many invitations leave to one address in a day, whoever sends them."""
_ADDRESS = EmailValidator()
_PLAIN = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~@-]+")


def state_of(invitation: Invitation) -> str:
    """How an invitation stands now."""
    if invitation.accepted_at is not None:
        return ACCEPTED
    if invitation.revoked_at is not None:
        return REVOKED
    if not invitation.platform.alive:
        return CLOSED
    return LATE if invitation.expires_at <= clock.now() else OPEN


@dataclass(frozen=True)
class InvitationView:
    """An invitation as its owners see it. `mail`: sent, waiting or failing."""

    row: Invitation
    state: str
    mail: str
    why: str


def view(row: Invitation) -> InvitationView:
    """One invitation for a screen."""
    mail = "sent" if row.mailed_at else "failing" if row.mail_error else "waiting"
    return InvitationView(row, state_of(row), mail, row.mail_error)


def check_mail(mail: object) -> str:
    """One plain address, as it can stand in a header and in the directory: no names, no comments, no quotes."""
    text = mail.strip() if isinstance(mail, str) else ""
    try:
        if len(text) > 254 or not text.isascii() or not _PLAIN.fullmatch(text):
            raise ValidationError("")
        _ADDRESS(text)
        if len(text.rpartition("@")[0]) > 64:
            raise ValidationError("")
    except ValidationError:
        raise InvalidInput(
            {"mail": [_("One plain mail address, like marie@example.org, without a name around it.")]}
        ) from None
    local, _at, domain = text.rpartition("@")
    return f"{local}@{domain.lower()}"


def listed(*, acting_user: User, slug: str) -> list[InvitationView]:
    """The invitations to a platform that were not accepted, revoked or forgotten, latest first."""
    platform = access.get_managed_platform(acting_user, slug)
    return [view(row) for row in _pending(platform).select_related("invited_by", "platform")]


def _pending(platform: Platform) -> QuerySet[Invitation]:
    return platform.invitations.filter(accepted_at=None, revoked_at=None)


def invite(
    *, acting_user: User, slug: str, mail: object, language: object = "", until: object = None
) -> Invitation:
    """Ask somebody outside, by mail, to use a platform. Inviting an address again sends a new link; the old one is void.

    Somebody of the laboratory is not invited but added: the refusal says who it is.
    """
    platform = _open(access.get_managed_platform(acting_user, slug))
    errors: dict[str, list[object]] = {}
    address, spoken, day = "", "", None
    with validation.check_into(errors):
        address = check_mail(mail)
    with validation.check_into(errors):
        spoken = _language(language)
    with validation.check_into(errors):
        day = members.check_until(until)
    if errors:
        raise InvalidInput(errors)
    _known_already(platform, address)
    with transaction.atomic():
        # The invitation before its platform: in the order in which it is accepted.
        row = _pending(platform).filter(mail__iexact=address).select_for_update(of=("self",)).first()
        Platform.objects.select_for_update(of=("self",)).get(pk=platform.pk)
        if row is None and _pending(platform).filter(expires_at__gt=clock.now()).count() >= MOST_OPEN:
            raise Conflict(
                _("%(max)d invitations to this platform are open already.") % {"max": MOST_OPEN},
                _("Revoke some of them, or wait until they are accepted."),
            )
        _count(acting_user, address)
        row = row or Invitation(platform=platform, mail=address)
        row.invited_by, row.language, row.until = acting_user, spoken, day
        _send(row)
        auditlog.record(acting_user, "invitation.send", slug, mail=address, until=str(day or ""))
        return row


@transaction.atomic
def resend(*, acting_user: User, invitation_id: int) -> Invitation:
    """Send an invitation once more, with a new link and a new time; the old link is void."""
    row = _managed(acting_user, invitation_id)
    _open(row.platform)
    _count(acting_user, row.mail)
    row.invited_by = acting_user
    _send(row)
    auditlog.record(acting_user, "invitation.send", row.platform.slug, mail=row.mail)
    return row


@transaction.atomic
def revoke(*, acting_user: User, invitation_id: int) -> Invitation:
    """The link of an invitation opens nothing any more; twice is harmless."""
    row = _managed(acting_user, invitation_id, pending=False)
    if row.accepted_at is not None:
        raise Conflict(
            _("This invitation was accepted by %(who)s.") % {"who": row.accepted_by},
            _("Remove the person from the platform instead."),
        )
    if row.revoked_at is None:
        row.revoked_at, row.mail_due_at = clock.now(), None
        row.save(update_fields=["revoked_at", "mail_due_at"])
        auditlog.record(acting_user, "invitation.revoke", row.platform.slug, mail=row.mail)
    return row


def revoke_those_of(uid: str) -> int:
    """The open invitations that somebody sent open nothing any more: they no longer look after anything. How many."""
    rows = Invitation.objects.filter(invited_by__username=uid, accepted_at=None, revoked_at=None)
    return rows.update(revoked_at=clock.now(), mail_due_at=None)


def _managed(acting_user: User, invitation_id: int, *, pending: bool = True) -> Invitation:
    rows = Invitation.objects.filter(
        pk=invitation_id, platform__in=access.managed_platforms(acting_user).values("pk")
    )
    row = rows.select_for_update(of=("self",)).select_related("platform", "invited_by").first()
    if row is None:
        raise NotFound
    if pending and (row.accepted_at or row.revoked_at):
        raise Conflict(
            _("This invitation is closed: it was accepted or revoked."), _("Invite the person again.")
        )
    return row


def _open(platform: Platform) -> Platform:
    if wiring.site().mail is None:
        raise Conflict(
            _("This site sends no mail, so nobody can be invited."), _("Ask an administrator of the site.")
        )
    if platform.state not in members.OPEN:
        raise Conflict(
            _("The platform is %(state)s: people cannot be changed now.")
            % {"state": platform.get_state_display()},
            _("Wait until it is ready."),
        )
    return platform


def _language(language: object) -> str:
    site = wiring.site().mail
    default = site.language if site else Invitation.BOTH
    chosen = language or default
    if chosen not in (Invitation.ENGLISH, Invitation.FRENCH, Invitation.BOTH):
        raise InvalidInput({"language": [_("One of en, fr and both.")]})
    return str(chosen)


def _known_already(platform: Platform, address: str) -> None:
    """Refuse to invite who has an account already, but for guests: they accept by logging in."""
    try:
        person = wiring.directory().person_with_mail(address)
    except DriverError as error:
        raise DirectoryDown from error
    if person is None:
        return
    who = {"name": person.name, "uid": person.uid}
    if platform.memberships.filter(uid=person.uid, wanted=True).exists():
        raise InvalidInput(
            {"mail": [_("%(name)s (%(uid)s) has this address and is a member already.") % who]}
        )
    if not person.guest:
        message = _("%(name)s (%(uid)s) has this address: nobody to invite, add them to the people instead.")
        raise InvalidInput({"mail": [message % who]})


def _count(acting_user: User, address: str) -> None:
    hour, most = timedelta(hours=1), wiring.site().people.invitations_per_hour
    if not limits.take("invite", acting_user.username, most=most, within=hour):
        raise TooMany(
            _("You have sent %(max)d invitations within an hour.") % {"max": most},
            _("Wait an hour, then go on."),
        )
    day = timedelta(days=1)
    if not limits.take("invited", address, most=MAILS_TO_ONE_ADDRESS, within=day):
        raise TooMany(
            _("%(max)d invitations went to this address today.") % {"max": MAILS_TO_ONE_ADDRESS},
            _("Ask the person to look into their spam folder, or try again tomorrow."),
        )


def _send(row: Invitation) -> None:
    """Give an invitation a new link and a new time, and have its mail leave; the caller holds its lock and is in a transaction."""
    links.renew(row)
    now = clock.now()
    row.expires_at = now + timedelta(days=wiring.site().people.invitation_days)
    row.mail_due_at, row.mailed_at, row.mail_attempts, row.mail_error = now, None, 0, ""
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise Conflict(
            _("Somebody else has just invited this person."), _("Look at the list of invitations.")
        ) from None
    letters.ring()


def guest_waits_for(guest: Guest) -> list[date]:
    """The last days of the open invitations to a guest's address: so long the account can be used to accept them."""
    rows = Invitation.objects.filter(
        mail__iexact=guest.mail, accepted_at=None, revoked_at=None, expires_at__gt=clock.now()
    )
    return [timezone.localdate(moment) for moment in rows.values_list("expires_at", flat=True)]
