"""What time it is, for everything that happens because of a date: the one place to ask, so that tests can move the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

from django.utils import timezone

source: Callable[[], datetime] = timezone.now
"""Where the time comes from; tests put another one here."""


def now() -> datetime:
    """This moment, with its time zone."""
    return source()


def today() -> date:
    """The date at the site: days begin at the site's midnight."""
    return timezone.localdate(now())
