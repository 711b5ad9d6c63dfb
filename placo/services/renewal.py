"""More time for a platform: with one click for its owners, to any date for administrators; and what both are told before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from django.db import transaction
from django.utils import formats
from django.utils.translation import gettext as _

from placo import wiring
from placo.domain import expiry as calendar
from placo.domain.expiry import Term
from placo.domain.lifecycle import PlatformState, RunKind
from placo.platforms.models import Platform, User
from placo.services import access, auditlog, clock, expiry, notices
from placo.services.errors import Conflict, InvalidInput

RUNNING_ON = frozenset({RunKind.START, RunKind.RESUME, RunKind.RESTART})
"""Kinds of run that a platform beyond its end date is refused."""
RENEWED = "platform.renew"
"""The verb of a renewal in the audit trail."""


@dataclass(frozen=True)
class End:
    """The end of a platform, as it stands today. `renews_to` is what a renewal by this person would give now; None for nothing.

    `removed_on`: when everything of it is removed for good, as promised or, before it stands still, as expected.
    """

    ends_on: date
    removed_on: date
    opens_on: date
    days_left: int
    over: bool
    still: bool
    promised: bool
    asks_administrator: bool
    renews_to: date | None

    @property
    def near(self) -> bool:
        """Whether its owners should be told on each of its pages."""
        return (
            self.renews_to is not None or self.over or self.days_left <= (self.ends_on - self.opens_on).days
        )

    @property
    def removed_in(self) -> int:
        """Days until it is removed."""
        return (self.removed_on - self.ends_on).days + self.days_left


def end_of(platform: Platform, user: User, *, managed: bool) -> End | None:
    """What there is to know about the end of a platform; None for one that has no end, or is over and done with."""
    term = expiry.term_of(platform)
    if term is None or not platform.alive or platform.state == PlatformState.RETIRING.value:
        return None
    rules, today = expiry.rules(), clock.today()
    asks = not by_oneself(user)
    return End(
        ends_on=term.ends_on,
        removed_on=term.removal(rules, today),
        opens_on=calendar.opens_on(term, rules),
        days_left=term.days_left(today),
        over=term.over(today),
        still=platform.state in expiry.STILL,
        promised=term.removed_on is not None,
        asks_administrator=asks,
        renews_to=_renewed(platform, term) if managed and not asks else None,
    )


def by_oneself(user: User | None) -> bool:
    """Whether somebody (an owner, where nobody is named) may renew without asking anybody."""
    administrator = user is not None and user.is_administrator
    return administrator or wiring.site().expiry.renewable_without_approval


def _renewed(platform: Platform, term: Term) -> date | None:
    return calendar.renewed(
        term,
        expiry.rules(),
        days=int(platform.plan_data["days"]),
        max_days=platform.project.max_days,
        today=clock.today(),
    )


def remedy(user: User) -> str:
    """What somebody does about a platform whose end has come."""
    if user.is_administrator:
        return _("Give it another end date, or renew it.")
    if by_oneself(user):
        return _("Renew it: that is one click on its page, and starts it again.")
    return _("Ask an administrator of the site for more time.")


def require_time(platform: Platform, kind: RunKind, user: User) -> None:
    """Conflict for whatever would have a platform run beyond its end date. The caller holds the platform's lock."""
    if kind in RUNNING_ON and platform.alive and expiry.is_over(platform):
        ended = formats.date_format(platform.expires_on or "")
        raise Conflict(
            _("The time of this platform was over on %(date)s.") % {"date": ended},
            remedy(user),
        )


def _locked(user: User, slug: str) -> tuple[Platform, Term]:
    """A platform that the user manages and that can be given another end date, locked."""
    found = access.get_managed_platform(user, slug)
    platform = Platform.objects.select_for_update(of=("self",)).select_related("project").get(pk=found.pk)
    term = expiry.term_of(platform)
    if term is None or not platform.alive or platform.state == PlatformState.RETIRING.value:
        raise Conflict(
            _("The platform is %(state)s: it has no end date to change.")
            % {"state": platform.get_state_display()},
            _("Ask for a new platform if you need one."),
        )
    return platform, term


@transaction.atomic
def renew_platform(*, acting_user: User, slug: str, seen: object = None) -> Platform:
    """Extend a platform by the days that it was first asked for; start it again if its end had stopped it.

    `seen` is the end date that the person saw when asking: if it is another one by now, somebody was faster (a second click,
    another owner), and nothing is done. Who does not say it means the reminder that there was: what a renewal has given is
    renewed again only when its own time to be reminded has come.
    """
    platform, term = _locked(acting_user, slug)
    if seen is None:
        repeated = platform.renewed and not calendar.reminding(term, expiry.rules(), clock.today())
    else:
        repeated = check_date(seen) != term.ends_on
    if repeated:
        return platform
    if not by_oneself(acting_user):
        raise Conflict(
            _("On this site an administrator decides about more time."),
            _("Ask an administrator of the site for more time."),
        )
    ends_on = _renewed(platform, term)
    if ends_on is None:
        opens_on = calendar.opens_on(term, expiry.rules())
        if clock.today() < opens_on:
            raise Conflict(
                _("It is too early: the platform ends on %(date)s.")
                % {"date": formats.date_format(term.ends_on)},
                _("It can be renewed from %(date)s on.") % {"date": formats.date_format(opens_on)},
            )
        raise Conflict(
            _("The project may have platforms for %(max)d days from today at most: this gives no more time.")
            % {"max": platform.project.max_days},
            _("Ask an administrator of the site for more time."),
        )
    move_end(platform, ends_on, acting_user=acting_user, verb=RENEWED)
    return platform


@transaction.atomic
def set_end(*, acting_user: User, slug: str, expires_on: object) -> Platform:
    """Give a platform any end date from today on (administrators)."""
    access.get_managed_platform(acting_user, slug)
    access.require_administrator(acting_user)
    ends_on, today = check_date(expires_on), clock.today()
    if not today <= ends_on <= today + timedelta(days=calendar.LONGEST):
        raise InvalidInput({"expires_on": [_("A date from today on, within a hundred years.")]})
    platform, term = _locked(acting_user, slug)
    if ends_on != term.ends_on:
        move_end(platform, ends_on, acting_user=acting_user, verb="platform.end")
    return platform


def check_date(value: object) -> date:
    """A date as YYYY-MM-DD."""
    if isinstance(value, date):
        return value
    text = value.strip() if isinstance(value, str) else ""
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput({"expires_on": [_("A date, like 2027-03-31.")]}) from None


def move_end(platform: Platform, ends_on: date, *, acting_user: User | None, verb: str) -> None:
    """Give a platform another end date, with all that follows: every change of an end date goes through here.

    The caller is in a transaction and holds the platform's lock.
    """
    before, today = platform.expires_on, clock.today()
    platform.expires_on, platform.term_from, platform.renewed = ends_on, today, verb == RENEWED
    fields = ["expires_on", "term_from", "renewed"]
    if today < ends_on:
        platform.removed_on = None
        fields.append("removed_on")
    platform.save(update_fields=fields)
    notices.settle(platform)
    auditlog.record(acting_user, verb, platform.slug, before=str(before), now=str(ends_on))
    if today < ends_on and expiry.stopped_by_expiry(platform):
        expiry.start_again(platform, acting_user=acting_user)
