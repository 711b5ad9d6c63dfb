"""Passwords of the accounts that the portal owns: checking, changing, resetting. Those of the laboratory are never touched."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from placo import wiring
from placo.drivers.ports import DriverError, PasswordRefused
from placo.platforms.models import ApiToken, Guest, PasswordReset, User
from placo.services import auditlog, clock, letters, limits, links
from placo.services.errors import Conflict, DirectoryDown, InvalidInput, TooMany

log = logging.getLogger("placo.passwords")

VALID = timedelta(hours=1)
"""For how long the link of a reset works."""
LONGEST = 200
_HOUR = timedelta(hours=1)


def check(field: str, password: object, again: object, *, uid: str, name: str, mail: str) -> str:
    """A password that is typed twice the same, strong enough, and not the person's own name or address."""
    if not isinstance(password, str) or not password:
        raise InvalidInput({field: [_("This cannot be empty.")]})
    if len(password) > LONGEST or any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in password):
        raise InvalidInput(
            {field: [_("At most %(max)d characters, and only such as can be typed.") % {"max": LONGEST}]}
        )
    try:
        person = User(username=uid, last_name=name, email=mail)
        password_validation.validate_password(password, person)
    except ValidationError as error:
        raise InvalidInput({field: list(error.messages)}) from None
    if password != again:
        raise InvalidInput({f"{field}_again": [_("This is not the same password.")]})
    return password


def refused(field: str, error: PasswordRefused) -> InvalidInput:
    """What the directory's own policy has against a password, in words."""
    log.info("password refused by the directory: %s", error)
    return InvalidInput(
        {
            field: [
                _("The directory does not take this password: choose a longer one, or one never used before.")
            ]
        }
    )


def change(*, acting_user: User, old: object, new: object, again: object) -> None:
    """A guest who knows the password chooses another one. Tokens, and sessions elsewhere, end."""
    guest = _own(acting_user)
    if not limits.take("password", guest.uid, most=10, within=_HOUR):
        raise TooMany(_("Too many tries to change this password."), _("Wait an hour, or reset it by mail."))
    password = check("new", new, again, uid=guest.uid, name=guest.name, mail=guest.mail)
    try:
        known = wiring.directory().change_guest_password(guest.uid, str(old or ""), password)
    except PasswordRefused as error:
        raise refused("new", error) from None
    except DriverError as error:
        raise DirectoryDown from error
    if not known:
        raise InvalidInput({"old": [_("This is not your present password.")]})
    limits.forget("password", guest.uid)
    with transaction.atomic():
        _elsewhere_out(guest.uid)
        auditlog.record(acting_user, "password.change", guest.uid)


def _own(user: User) -> Guest:
    guest = Guest.objects.filter(uid=user.username, state=Guest.ACTIVE).first()
    if guest is None:
        raise Conflict(
            _("Your password is not kept here: it is that of your laboratory."),
            wiring.site().people.password_help or _("Change it where you got your account."),
        )
    return guest


def _elsewhere_out(uid: str) -> None:
    """Sessions hold a digest of the unusable password in the person's row: with another one they end."""
    user = User.objects.select_for_update().filter(username=uid).first()
    if user is not None:
        user.set_unusable_password()
        user.save(update_fields=["password"])
        ApiToken.objects.filter(user=user).delete()


def forgotten(*, mail: object, language: str, address: str) -> None:
    """Send a link to whoever has this address, if it is a guest's. The answer is always the same, whoever has it or nobody.

    TooMany for one network address that asks for ever more; for one mailbox nothing is said, and nothing sent.
    """
    text = mail.strip() if isinstance(mail, str) else ""
    if not limits.take("forgotten-from", address, most=20, within=_HOUR):
        raise TooMany(_("Too many passwords were asked for from your network."), _("Try again in an hour."))
    if not text or len(text) > 254 or "\x00" in text:
        return
    if not limits.take("forgotten", text, most=3, within=_HOUR):
        return
    with transaction.atomic():
        guest = Guest.objects.filter(mail__iexact=text, state=Guest.ACTIVE).first()
        if guest is None or (guest.ends_on is not None and guest.ends_on <= clock.today()):
            return
        now = clock.now()
        PasswordReset.objects.filter(guest=guest, used_at=None).update(used_at=now, mail_due_at=None)
        row = PasswordReset(guest=guest, expires_at=now + VALID, mail_due_at=now, language=language)
        links.renew(row)
        row.save()
        auditlog.record(None, "password.forgotten", guest.uid)
        letters.ring()


def reset_of(token: object) -> PasswordReset | None:
    """The reset that a link is for, if it can be used now."""
    row = links.find(PasswordReset, token)
    good = row is not None and row.used_at is None and row.expires_at > clock.now()
    return row if good and row is not None and row.guest.state == Guest.ACTIVE else None


def reset(*, token: object, new: object, again: object) -> Guest:
    """Choose a new password with a link. It works once; a refused password leaves it good."""
    found = reset_of(token)
    if found is None:
        raise link_is_void()
    guest = found.guest
    password = check("new", new, again, uid=guest.uid, name=guest.name, mail=guest.mail)
    with transaction.atomic():
        row = PasswordReset.objects.select_for_update(of=("self",)).get(pk=found.pk)
        if row.used_at is not None or row.expires_at <= clock.now():
            raise link_is_void()
        # Whoever dies between the directory and the commit has the link still good: it does the same once more.
        try:
            wiring.directory().set_guest_password(guest.uid, password)
        except PasswordRefused as error:
            raise refused("new", error) from None
        except DriverError as error:
            raise DirectoryDown from error
        row.used_at, row.mail_due_at = clock.now(), None
        row.save(update_fields=["used_at", "mail_due_at"])
        _elsewhere_out(guest.uid)
        auditlog.record(None, "password.reset", guest.uid)
    limits.forget("password", guest.uid)
    return guest


def link_is_void() -> Conflict:
    """One answer for every link that opens nothing: used, late, altered."""
    return Conflict(
        _("This link opens nothing: it was used already, is too old, or was cut off on its way."),
        _("Ask for another one; links work once, for one hour."),
    )
