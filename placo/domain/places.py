"""Where the effect of each action is, and what becomes of a step whose place does not answer or whose host is lost. Pure.

A place that does not answer says nothing about the step: that is waited for, for as long as it takes. This goes for the
directory and the edge as it does for hosts: a run that is stuck after half an hour asks somebody for a decision where there is
nothing to decide, and has to be retried by hand once the site is well again.
"""

from __future__ import annotations

from enum import StrEnum

from placo.domain.drift import DIRECTORY_PLACE, EDGE_PLACE
from placo.domain.saga import Verb


class Place(StrEnum):
    """What a step reaches: the host of its run, the directory, the edge, or nothing but the portal's own database."""

    HOST = "host"
    DIRECTORY = DIRECTORY_PLACE
    EDGE = EDGE_PLACE
    PORTAL = "portal"


PLACES: dict[str, Place] = {
    "network": Place.HOST,
    "image": Place.HOST,
    "way": Place.HOST,
    "system-disk": Place.HOST,
    "data-volume": Place.HOST,
    "seed": Place.HOST,
    "domain": Place.HOST,
    "memory": Place.HOST,
    "power": Place.HOST,
    "start": Place.HOST,
    "personalise": Place.HOST,
    "suspend": Place.HOST,
    "size": Place.HOST,
    "exchange": Place.HOST,
    "volume": Place.HOST,
    "file-system": Place.HOST,
    "settings": Place.HOST,
    "health": Place.HOST,
    "seed-release": Place.HOST,
    "directory": Place.DIRECTORY,
    "account": Place.DIRECTORY,
    "member": Place.DIRECTORY,
    "edge": Place.EDGE,
    "end": Place.PORTAL,
}
"""Every action's only place: `Unavailable`, raised by a step, says that this does not answer."""


def place_of(action: str) -> Place:
    """The place of an action; one that is not in the table reaches nothing."""
    return PLACES.get(action, Place.PORTAL)


# --- a place that does not answer ---

WAIT_LIMIT_S = 60.0
"""How often, at least, a step is tried that waits for its place. When the place answers again, it is tried at once."""
UNHEARD_LIMIT = 60
"""How many times a place may answer everybody but one step before that counts as a failure of the step (about an hour): it will
not go on by itself, and somebody has to see it."""


def wait_s(waited_s: float) -> float:
    """Seconds until the next try of a step that has waited so long for its place: 1, 1, 2, 4 ... at most 60."""
    return min(max(waited_s, 1.0), WAIT_LIMIT_S)


# --- a host that is lost ---


class Fate(StrEnum):
    """What becomes of a step of a run on a lost host."""

    DONE = "done"
    GIVEN_UP = "given-up"
    REFUSED = "refused"


def fate(action: str, verb: Verb, *, unwinding: bool) -> Fate:
    """Whether a step of a run on a lost host is done all the same (it is not the host that it reaches), is given up (what it would
    take away is lost), or refused (nothing can be made there). On the way back there is nothing to bring back either."""
    if place_of(action) is not Place.HOST:
        return Fate.DONE
    removes = verb is Verb.REMOVE and action != "suspend"  # its other half has a machine go on
    return Fate.GIVEN_UP if unwinding or removes else Fate.REFUSED
