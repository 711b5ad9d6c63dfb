"""The end of a platform as a calendar: when to remind, to stop, to remove, and what a renewal gives. Pure: days in, decisions out.

A platform is granted from a day to its end date. It is used up to the day before; on the end date itself it is *over*:
stopped, kept for a grace period that begins when it really stands still, then removed for good. Whoever asks too late (a portal
that was off for weeks) gets what is right on that day, never what was missed one by one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

LONGEST = 36525
"""Days: no end date is further away than a century."""


@dataclass(frozen=True)
class Rules:
    """A site's choices, in days. A platform can be renewed from `renewal` days before its end."""

    reminders: tuple[int, ...] = (30, 7, 1)
    grace: int = 30
    renewal: int = 30


@dataclass(frozen=True)
class Term:
    """From when to when a platform is granted. `removed_on` is promised to its owners once it stands still beyond its end."""

    began_on: date
    ends_on: date
    removed_on: date | None = None

    def over(self, today: date) -> bool:
        """Whether the platform may not run any more."""
        return today >= self.ends_on

    def days_left(self, today: date) -> int:
        """How many days it may still run; negative when it is over."""
        return (self.ends_on - today).days

    def removal(self, rules: Rules, today: date) -> date:
        """When it is removed for good: as promised, else as things stand today."""
        return self.removed_on or max(self.ends_on, today) + timedelta(days=rules.grace)


class Duty(StrEnum):
    """What has to be done about a platform that is over."""

    STOP = "stop"
    KEEP = "keep"  # it stands still: its grace period begins
    RETIRE = "retire"


def reminder(term: Term, rules: Rules, given: Collection[int], today: date) -> int | None:
    """The reminder to give today, named by its days before the end; None when there is none, or it was given.

    Only the latest of those whose day has come: earlier ones that were missed are not made up for. One whose day is not after
    the beginning of the term makes no sense: who gets ten days need not be told on the first that there are only thirty left.
    """
    if term.days_left(today) <= 0:
        return None
    latest = min(_come(term, rules, today), default=None)
    return None if latest is None or any(days <= latest for days in given) else latest


def _come(term: Term, rules: Rules, today: date) -> list[int]:
    """The reminders of this term whose day has come."""
    left, length = term.days_left(today), (term.ends_on - term.began_on).days
    return [days for days in rules.reminders if left <= days < length]


def reminding(term: Term, rules: Rules, today: date) -> bool:
    """Whether the time has come in which people are reminded of the end of this term, or are told that it is over."""
    return term.over(today) or bool(_come(term, rules, today))


def duty(term: Term, *, still: bool, today: date) -> Duty | None:
    """What has to be done today; `still`: its machines are stopped or suspended, whoever did that."""
    if not term.over(today):
        return None
    if not still:
        return Duty.STOP
    if term.removed_on is None:
        return Duty.KEEP
    return Duty.RETIRE if today >= term.removed_on else None


def opens_on(term: Term, rules: Rules) -> date:
    """From which day on the platform can be renewed."""
    return term.ends_on - timedelta(days=rules.renewal)


def renewed(term: Term, rules: Rules, *, days: int, max_days: int, today: date) -> date | None:
    """The end date that a renewal today gives: `days` more, at most `max_days` from today; None when it gives nothing."""
    if today < opens_on(term, rules):
        return None
    end = min(max(term.ends_on, today) + timedelta(days=days), today + timedelta(days=max_days))
    return end if end > term.ends_on and end > today else None
