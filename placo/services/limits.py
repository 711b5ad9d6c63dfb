"""Only so many of something in a while: mails that somebody can have sent, guesses at a password, tries with a link."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from django.db import connection, transaction

from placo.platforms.models import Attempt
from placo.services import clock

_LOCKS = 0x6C696D69  # "limi"
KEPT = timedelta(days=2)
"""How long attempts are remembered: longer than any span that is asked about."""


@transaction.atomic
def take(what: str, who: str, *, most: int, within: timedelta) -> bool:
    """Count one more of it, unless there were `most` within this time: then False, and it is not counted."""
    name, now = _digest(who), clock.now()
    with connection.cursor() as cursor:
        # Two at once are counted one after the other.
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCKS, f"{what}|{name}"])
    if Attempt.objects.filter(what=what, who=name, at__gt=now - within).count() >= most:
        return False
    Attempt.objects.create(what=what, who=name, at=now)
    return True


def forget(what: str, who: str) -> None:
    """It went well: what was counted counts no more."""
    Attempt.objects.filter(what=what, who=_digest(who)).delete()


def forget_old() -> None:
    """Attempts that nobody asks about any more."""
    Attempt.objects.filter(at__lt=clock.now() - KEPT).delete()


def _digest(who: str) -> str:
    return hashlib.sha256(who.casefold().encode("utf-8", "surrogatepass")).hexdigest()
