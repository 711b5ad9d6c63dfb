"""Knocks at the doors of a platform until somebody who was let in is refused: `python -m bench.knock SLUG SERVICE ACCESS` in the
portal's namespace.

Standard input: one line of JSON, {"uid", "password", "key"}; the key is a private one of ssh. Prints `in` when every door has let
them in, and at the end a line of JSON with a `Seen` for each door. Doors are those of the service that the prover has (`placo.services.proving`), tried by its
doorman. They are tried again and again at the same time, so that whatever a
machine remembers of somebody is as fresh as can be when they are removed. Times are readings of the machine's monotonic clock.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from placo.services.proving import Place

ADMITTED, REFUSED = "admitted", "refused"
IN_S, OUT_S, TRY_S = 120.0, 30.0, 20.0
"""How long somebody may take to be let in everywhere, how long a door is tried after that, how long one try may take."""
REST_S, PAUSE_S = 2.0, 0.2
"""Between two tries at a door that has let them in, while others have not yet; and from then on."""


@dataclass(frozen=True)
class Seen:
    """One door: when the last try that was let in began, when the first one after it that was refused had ended (0: never), and
    what was said last where that says more.
    """

    service: str
    endpoint: str
    protocol: str
    last_in: float = 0.0
    refused: float = 0.0
    said: str = ""


@dataclass(frozen=True)
class Caller:
    """Who knocks."""

    uid: str
    password: str
    key: str


Try = Callable[[], tuple[str, str]]
"""One log-in: what kind of answer came, and what was said."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when every door was tried to the end, refused or not; 1 if one did not let them in."""
    slug, service, access = sys.argv[1:] if arguments is None else arguments
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "placo.settings")
    import django

    django.setup()
    caller = Caller(**json.loads(sys.stdin.readline()))
    doors = _doors(slug, service, access, caller)
    everywhere = Everywhere(len(doors))
    seen = at_all(doors, everywhere)
    print(json.dumps([asdict(door) for door in seen]), flush=True)
    return 0 if everywhere.reached else 1


def at_all(doors: Sequence[tuple[Seen, Try]], everywhere: Everywhere) -> list[Seen]:
    """Knock at these doors at the same time, each with a thread of its own; what was seen, in their order."""
    with ThreadPoolExecutor(max_workers=max(1, len(doors))) as threads:
        return list(threads.map(lambda door: _knock(door[0], door[1], everywhere), doors))


class Everywhere:
    """Says `in` once, when so many doors have let somebody in."""

    def __init__(self, doors: int) -> None:
        self._missing, self._lock, self._event = doors, threading.Lock(), threading.Event()
        self._give_up = time.monotonic() + IN_S

    def one_more(self) -> None:
        with self._lock:
            self._missing -= 1
            if not self._missing:
                self._give_up = time.monotonic() + OUT_S
                self._event.set()
                print("in", flush=True)

    @property
    def reached(self) -> bool:
        return self._event.is_set()

    @property
    def over(self) -> bool:
        """Whether it has taken too long."""
        return time.monotonic() >= self._give_up

    def rest(self, was_in: bool) -> None:
        """Between two tries. A door that lets them in is not worn out until the others do as well."""
        if self._event.wait(REST_S if was_in else PAUSE_S):
            time.sleep(PAUSE_S)


def _knock(seen: Seen, once: Try, everywhere: Everywhere) -> Seen:
    """Try a door until it refuses somebody whom it has let in."""
    last_in, said = 0.0, ""
    while not everywhere.over:
        began = time.monotonic()
        answer, said = once()
        if answer == ADMITTED:
            if not last_in:
                everywhere.one_more()
            last_in = began
        elif answer == REFUSED and last_in and everywhere.reached:
            return Seen(seen.service, seen.endpoint, seen.protocol, last_in, time.monotonic())
        everywhere.rest(bool(last_in))
    return Seen(seen.service, seen.endpoint, seen.protocol, last_in, said=said)


def _doors(slug: str, service: str, access: str, caller: Caller) -> list[tuple[Seen, Try]]:
    """Every door of the service with this kind of access at which it can be seen that somebody is refused."""
    from placo import wiring
    from placo.domain import proofs as rules
    from placo.platforms.models import Platform
    from placo.services import proving

    platform = Platform.objects.get(slug=slug)
    doorman = wiring.doorman()

    def knocked(place: Place) -> tuple[str, str]:
        outcome = doorman.try_door(place.door, caller.uid, caller.password, TRY_S, key=caller.key)
        return outcome.answer.value, outcome.said

    return [
        (Seen(place.service, place.endpoint, place.door.protocol), partial(knocked, place))
        for place in proving.places(platform)
        if place.service == service and _for(place.access) == access and rules.removes(place.door.login.by)
    ]


def _for(access: str) -> str:
    """Who has to be let in to see that they are refused: an owner, or a member where everybody may come in too."""
    return "owners" if access == "owners" else "members"


if __name__ == "__main__":
    sys.exit(main())
