"""Stand-ins: the people whom a proof makes up for a while, to see who is let in and who is not. Pure.

Their uids cannot be anybody else's: a guest's name begins with a letter, and accounts of the laboratory have no mark (domain/guests.py).
The directory's driver shows them to nobody but proofs.
"""

from __future__ import annotations

import re
from enum import StrEnum

from placo.domain.guests import MARK

STAND_IN = f"{MARK}0-"
"""How the uid of every stand-in begins. Bricks that list members leave these out (docs/adding-a-brick.md)."""
STAND_IN_SLUG = "stand--"
"""How the slug of a stand-in platform begins: no platform's own has two hyphens in a row."""
_MADE = re.compile(rf"(?:{STAND_IN}|{STAND_IN_SLUG})([0-9]{{1,9}})(?:-|$)")
MAIL_DOMAIN = "stand-in.invalid"


class Role(StrEnum):
    """Who a stand-in is, seen from the platform that is proven."""

    MEMBER = "member"
    OWNER = "owner"
    OUTSIDER = "outsider"
    STRANGER = "stranger"
    EXPIRED = "expired"
    CARELESS = "careless"


def uid_of(platform: int, role: Role) -> str:
    """The uid of a stand-in for the platform with this number."""
    return f"{STAND_IN}{platform}-{role}"


def slug_of(platform: int) -> str:
    """The slug of the platform of which the stranger is a member."""
    return f"{STAND_IN_SLUG}{platform}"


def is_stand_in(uid: str) -> bool:
    """Whether this is no person."""
    return uid.casefold().startswith(STAND_IN)


def is_stand_in_slug(slug: str) -> bool:
    """Whether this is no platform."""
    return slug.startswith(STAND_IN_SLUG)


def platform_of(name: str) -> int | None:
    """For which platform a uid or slug of a stand-in was made; None where that cannot be read from it."""
    found = _MADE.match(name.casefold())
    return int(found[1]) if found else None
