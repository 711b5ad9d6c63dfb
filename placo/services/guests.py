"""The accounts of guests, kept in step with what they are for (services/attending.py looks at all of them).

An account ends with the last membership or open invitation that it is for; it is closed at once when there
is none, and removed after a grace period. What was half made is removed, and its invitation open again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from placo import wiring
from placo.celery import app
from placo.domain import guests as rules
from placo.drivers.ports import DriverError, Person
from placo.platforms.models import ApiToken, Guest, Invitation, Membership, User
from placo.services import auditlog, clock, invitations, keys, members, validation
from placo.services.commits import after_commit
from placo.services.errors import Conflict, DirectoryDown

log = logging.getLogger("placo.guests")

HALF_MADE_AFTER = timedelta(minutes=10)
"""How long making an account may take; afterwards whoever began it has died."""


def ask() -> None:
    """Have guests attended soon, after the commit. A lost ring is repeated by beat."""
    after_commit(_send, "tasks.attend_guests")


def _send(task: str) -> None:
    app.send_task(task, retry=False, ignore_result=True, expires=60)


def attend_one(pk: int, there: Mapping[str, Person]) -> str:
    """One guest, as the directory had them a moment ago; what was done: "cleaned", "changed", "removed" or ""."""
    with transaction.atomic():
        guest = Guest.objects.select_for_update().get(pk=pk)
        if guest.state == Guest.MAKING and guest.made_at <= clock.now() - HALF_MADE_AFTER:
            _forget_half(guest)
            return "cleaned"
        if guest.state != Guest.ACTIVE:
            return ""
        alone = _alone(guest)
        fields = {"alone_on": (guest.alone_on or clock.today()) if alone else None}
        if fields["alone_on"] != guest.alone_on:
            guest.alone_on = fields["alone_on"]
            guest.save(update_fields=["alone_on"])
        end = wanted_end(guest)
        if end != guest.ends_on:
            guest.ends_on = end
            guest.save(update_fields=["ends_on"])
        if alone and _grace_is_over(guest):
            _remove(guest)
            return "removed"
        known = there.get(guest.uid)
        # Who is not there has been removed by somebody else: departures.notice sees to that.
        if known is not None and known != person_of(guest):
            wiring.directory().ensure_guest(person_of(guest))
            return "changed"
        return ""


def among(uids: Iterable[str]) -> set[str]:
    """Those of these people who are guests."""
    return set(Guest.objects.filter(uid__in=list(uids)).values_list("uid", flat=True))


def bring_up_to_date(guest: Guest) -> None:
    """Tell the directory at once what it should know of a guest; what cannot be told now is told at the next look."""
    try:
        wiring.directory().ensure_guest(person_of(guest))
    except DriverError as error:
        log.warning("guest=%s is brought up to date later: %s", guest.uid, error)


def wanted_end(guest: Guest) -> date | None:
    """The day from which on the account opens nothing."""
    if guest.alone_on is not None:
        return guest.alone_on
    rows = _memberships(guest).select_related("platform")
    ends = [rules.earlier(row.until, row.platform.expires_on) for row in rows]
    return rules.ends_on(ends, invitations.guest_waits_for(guest), clock.today())


def _memberships(guest: Guest) -> QuerySet[Membership]:
    return Membership.objects.filter(uid=guest.uid, wanted=True, platform__state__in=members.ALIVE)


def _alone(guest: Guest) -> bool:
    return not _memberships(guest).exists() and not invitations.guest_waits_for(guest)


def _grace_is_over(guest: Guest) -> bool:
    grace = timedelta(days=wiring.site().people.guest_grace_days)
    leaving = Membership.objects.filter(
        uid=guest.uid
    ).exists()  # somewhere the directory has not followed yet
    return guest.alone_on is not None and clock.today() >= guest.alone_on + grace and not leaving


def person_of(guest: Guest) -> Person:
    """A guest as the directory is to have them."""
    return Person(guest.uid, guest.name, guest.mail, guest=True, ends_at=_midnight(guest.ends_on))


def _midnight(day: date | None) -> datetime | None:
    """The moment at which a day begins at the site."""
    if day is None:
        return None
    local = datetime.combine(day, time(), tzinfo=timezone.get_current_timezone())
    return local.astimezone(clock.now().tzinfo)


def give_up(guest: Guest) -> None:
    """An account could not be made: nothing of it stays, its invitation is open again. What cannot be undone now is later."""
    try:
        with transaction.atomic():
            half = Guest.objects.select_for_update().filter(pk=guest.pk, state=Guest.MAKING).first()
            if half is not None:
                _forget_half(half)
    except DriverError as error:
        log.warning("guest=%s is cleaned up later: %s", guest.uid, error)


def _forget_half(guest: Guest) -> None:
    wiring.directory().remove_guest(guest.uid)
    Invitation.objects.filter(guest=guest).update(guest=None)
    guest.delete()


def _remove(guest: Guest) -> None:
    """The account goes; the row stays, for the uid is nobody else's afterwards."""
    directory = wiring.directory()
    directory.set_ssh_keys(guest.uid, [])
    directory.remove_guest(guest.uid)
    bury(guest)
    auditlog.record(None, "guest.remove", guest.uid)


def bury(guest: Guest) -> None:
    """What the database knows of a guest whose account is gone."""
    guest.state = Guest.REMOVED
    guest.save(update_fields=["state"])
    guest.resets.all().delete()
    keys.forget(guest.uid)
    ApiToken.objects.filter(user__username=guest.uid).delete()
    User.objects.filter(username=guest.uid).update(is_active=False)


def rename(*, acting_user: User, shown: object) -> Guest:
    """A guest chooses how others see the name."""
    name = validation.check_shown_name("shown", shown)
    with transaction.atomic():
        guest = Guest.objects.select_for_update().filter(uid=acting_user.username, state=Guest.ACTIVE).first()
        if guest is None:
            raise Conflict(
                _("Your name is not kept here: it is that of your laboratory."), _("Have it changed there.")
            )
        if guest.name == name:
            return guest
        guest.name = name
        guest.save(update_fields=["name"])
        try:
            wiring.directory().ensure_guest(person_of(guest))
        except DriverError as error:
            raise DirectoryDown from error
        User.objects.filter(username=guest.uid).update(last_name=name)
        Membership.objects.filter(uid=guest.uid).update(name=name)
        auditlog.record(acting_user, "guest.rename", guest.uid)
    return guest
