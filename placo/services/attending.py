"""Everything about people that happens because time passes or the directory changed: what beat asks for each minute.

Each part can be done any number of times, at the same time too, and makes up for whoever died before.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from placo import wiring
from placo.drivers.ports import Unavailable
from placo.platforms.models import Guest
from placo.services import departures, guests, keys, limits, members, ownership

log = logging.getLogger("placo.guests")


@dataclass
class Attended:
    """What came of one look."""

    ended: int = 0
    followed: int = 0
    gone: int = 0
    cleaned: int = 0
    changed: int = 0
    removed: int = 0
    keys: int = 0
    ownerless: int = 0
    failed: int = 0


def attend() -> Attended:
    """Memberships that are over, wishes that nobody followed, those who have gone, guests, keys, platforms without owner.

    Raises DriverError while the directory does not answer; what is missing is done at the next look.
    """
    done = Attended(ended=members.end_those_over(), followed=members.follow_up())
    done.gone = len(departures.notice())
    there = {person.uid: person for person in wiring.directory().guests()}
    for pk in Guest.objects.exclude(state=Guest.REMOVED).values_list("pk", flat=True):
        try:
            what = guests.attend_one(pk, there)
        except Unavailable:
            raise
        except Exception:
            done.failed += 1
            log.exception("guest=%s broke", pk)
        else:
            if what:
                setattr(done, what, getattr(done, what) + 1)
    done.keys = keys.settle_all()
    done.ownerless = ownership.report()
    limits.forget_old()
    return done
