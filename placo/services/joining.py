"""Accepting an invitation: with an account that one has, or by making a guest's.

Making one is three parts, so that whoever dies leaves nothing in between for long: the uid is reserved in the database and the
invitation taken; the directory gets account and password (which is never kept here); the membership begins and the account is
there. A guest who stays in between is removed again by `guests.attend`, and the invitation is open as before.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from placo import wiring
from placo.domain import guests as rules
from placo.drivers.ports import DriverError, PasswordRefused, Person, Rejected
from placo.platforms.models import Guest, Invitation, Membership, User
from placo.services import access, auditlog, clock, guests, invitations, links, members, passwords, validation
from placo.services.errors import Conflict, DirectoryDown, InvalidInput

log = logging.getLogger("placo.guests")

UNKNOWN, ORPHANED, BUSY = "unknown", "orphaned", "busy"
"""Why a link opens nothing, beside the states of an invitation: nobody's; its sender looks after the platform no more; being used."""


@dataclass(frozen=True)
class Offer:
    """What a link leads to. `trouble` is empty when the invitation can be accepted.

    `known`: somebody has an account with the invited address, and accepts by logging in.
    """

    trouble: str
    invitation: Invitation | None = None
    known: bool = False


def offer(token: object) -> Offer:
    """What somebody with this link is told; opening it changes nothing, however often a mail scanner does."""
    row = links.find(Invitation, token)
    trouble = _trouble(row)
    if row is None or trouble:
        return Offer(trouble, row)
    try:
        known = wiring.directory().person_with_mail(row.mail) is not None
    except DriverError as error:
        raise DirectoryDown from error
    return Offer("", row, known)


def _trouble(row: Invitation | None) -> str:
    if row is None:
        return UNKNOWN
    state = invitations.state_of(row)
    if state != invitations.OPEN:
        return state
    if not row.invited_by.is_active or not access.manages(row.invited_by, row.platform):
        return ORPHANED
    if row.guest is not None and row.guest.state == Guest.MAKING:
        return BUSY
    return ""


def why(trouble: str) -> tuple[object, object]:
    """What is wrong with a link, and what to do."""
    ask = _("Ask the person who invited you for another invitation.")
    known: dict[str, tuple[object, object]] = {
        UNKNOWN: (
            _("This link opens nothing: it was cut off on its way, or a newer one was sent."),
            _("Open the link in the latest mail, whole; else ask the person who invited you."),
        ),
        invitations.ACCEPTED: (
            _("This invitation was accepted already: its link works once."),
            _("If it was you, log in. If you have forgotten your password, have it reset."),
        ),
        invitations.REVOKED: (_("This invitation was taken back."), ask),
        invitations.LATE: (_("This invitation is too old."), ask),
        invitations.CLOSED: (_("The platform to which you were invited is no longer there."), ask),
        ORPHANED: (
            _("Who invited you does not look after this platform any more."),
            _("Ask one of its owners."),
        ),
        BUSY: (
            _("Somebody is accepting this invitation right now."),
            _("If it is you, wait a moment and log in; if that fails, open the link again in a few minutes."),
        ),
    }
    return known[trouble]


def _open(row: Invitation | None) -> Invitation:
    trouble = _trouble(row)
    if row is None or trouble:
        raise Conflict(*why(trouble))
    if row.platform.state not in members.OPEN:
        raise Conflict(
            _("The platform is %(state)s: people cannot be changed now.")
            % {"state": row.platform.get_state_display()},
            _("Open the link again in a few minutes."),
        )
    return row


def _locked(token: object) -> Invitation:
    """The invitation of a link, locked, if it can be accepted: of two who try at once the second one comes too late."""
    found = _open(links.find(Invitation, token))
    row = Invitation.objects.select_for_update(of=("self",)).select_related("platform", "invited_by", "guest")
    return _open(row.filter(pk=found.pk, digest=found.digest).first())


@transaction.atomic
def accept(*, acting_user: User, token: object) -> Membership:
    """Somebody who is logged in becomes a member of the platform."""
    if acting_user.is_break_glass:
        raise Conflict(
            _("The local break-glass account is nobody in the directory."), _("Log in with your own account.")
        )
    row = _locked(token)
    try:
        person = wiring.directory().person(acting_user.username)
    except DriverError as error:
        raise DirectoryDown from error
    if person is None:
        raise Conflict(_("Your account is no longer in the directory."), _("Ask your administrator."))
    return _joined(row, person)


def _joined(row: Invitation, person: Person) -> Membership:
    row.accepted_at, row.accepted_by, row.mail_due_at = clock.now(), person.uid, None
    row.save(update_fields=["accepted_at", "accepted_by", "mail_due_at", "guest"])
    membership = members.admit(row.platform, person, acting_user=row.invited_by, until=row.until)
    auditlog.record(row.invited_by, "invitation.accepted", row.platform.slug, mail=row.mail, uid=person.uid)
    guests.ask()
    return membership


def join(
    *, token: object, name: object, shown: object, password: object, again: object
) -> tuple[Guest, Membership]:
    """Somebody without an account makes one, and becomes a member of the platform."""
    row = _open(links.find(Invitation, token))
    errors: dict[str, list[object]] = {}
    uid, called = "", ""
    with validation.check_into(errors):
        uid = check_name(name)
    with validation.check_into(errors):
        called = validation.check_shown_name("shown", shown)
    with validation.check_into(errors):
        passwords.check("password", password, again, uid=uid, name=called, mail=row.mail)
    if errors:
        raise InvalidInput(errors)
    guest = _reserve(token, uid, called)
    try:
        _make(guest, str(password))
    except PasswordRefused as error:
        guests.give_up(guest)
        raise passwords.refused("password", error) from None
    except Rejected as error:
        log.warning("guest=%s refused by the directory: %s", guest.uid, error)
        guests.give_up(guest)
        raise InvalidInput(
            {"name": [_("The directory does not take this account. Choose another one.")]}
        ) from None
    except DriverError as error:
        guests.give_up(guest)
        raise DirectoryDown from error
    try:
        return _complete(guest)
    except Conflict:
        guests.give_up(guest)
        raise


def _reserve(token: object, uid: str, called: str) -> Guest:
    with transaction.atomic():
        row = _locked(token)
        try:
            directory = wiring.directory()
            taken, known = directory.person(uid), directory.person_with_mail(row.mail)
        except DriverError as error:
            raise DirectoryDown from error
        if known is not None:
            raise _has_account()
        if taken is not None:
            raise _taken()
        made = Guest(uid=uid, skeleton=rules.skeleton(uid), mail=row.mail, name=called, made_at=clock.now())
        try:
            with transaction.atomic():
                made.save()
        except IntegrityError:
            living = Guest.objects.filter(mail__iexact=row.mail).exclude(state=Guest.REMOVED)
            raise (_has_account() if living.exists() else _taken()) from None
        row.guest = made
        row.save(update_fields=["guest"])
        return made


def _complete(guest: Guest) -> tuple[Guest, Membership]:
    """The membership begins and the account is opened."""
    with transaction.atomic():
        # In the order in which `guests.attend` takes them.
        known = Guest.objects.select_for_update().filter(pk=guest.pk, state=Guest.MAKING).first()
        rows = Invitation.objects.select_for_update(of=("self",)).select_related("platform", "invited_by")
        row = rows.filter(guest=guest, accepted_at=None).first()
        if known is None or row is None:
            raise Conflict(
                _("Making the account took too long and was called off."),
                _("Open the link again and try once more."),
            )
        if row.revoked_at is not None or not row.platform.alive:
            raise Conflict(*why(invitations.state_of(row)))
        known.state = Guest.ACTIVE
        membership = _joined(row, Person(known.uid, known.name, known.mail, guest=True))
        known.ends_on = guests.wanted_end(known)
        known.save(update_fields=["state", "ends_on"])
    guests.bring_up_to_date(known)
    return known, membership


def _taken() -> InvalidInput:
    return InvalidInput(
        {"name": [_("This account is taken, or looks too much like one that is. Choose another one.")]}
    )


def _has_account() -> Conflict:
    return Conflict(
        _("There is an account with this mail address already."),
        _("Log in with it, then open the link again."),
    )


def _make(guest: Guest, password: str) -> None:
    """The account is closed until everything is done: whoever dies here leaves nothing that opens."""
    directory = wiring.directory()
    person = Person(guest.uid, guest.name, guest.mail, guest=True, ends_at=clock.now() - timedelta(days=1))
    directory.ensure_guest(person)
    directory.set_guest_password(guest.uid, password)


def check_name(name: object) -> str:
    """The uid of a guest who has chosen this name."""
    text = name.strip() if isinstance(name, str) else ""
    text = text.removeprefix(rules.MARK)
    problem = rules.name_problem(text)
    if not problem and Guest.objects.filter(skeleton=rules.skeleton(text)).exists():
        raise _taken()
    messages = {
        "empty": _("Choose an account."),
        "characters": _("Small letters a to z, digits, and single dots or hyphens inside; a letter first."),
        "too-short": _("At least %(min)d characters.") % {"min": rules.NAME_MIN},
        "too-long": _("At most %(max)d characters.") % {"max": rules.NAME_MAX},
        "reserved": _("This name is reserved. Choose another one."),
    }
    if problem:
        raise InvalidInput({"name": [messages[problem]]})
    return rules.uid_of(text)
