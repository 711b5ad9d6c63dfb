"""Knocks at the doors of a platform until somebody who was let in is refused: `python -m bench.knock SLUG ACCESS` in the portal's namespace.

Standard input: one line of JSON, {"uid", "password", "key"}; the key is the file of a private key. Prints `in` when every door has let
them in, and at the end a line of JSON with a `Seen` for each door. Doors are those of the prover (`placo.services.proving`), tried by its
doorman; addresses of ssh, which it leaves out, by a client of ssh. All are tried again and again at the same time, so that whatever a
machine remembers of somebody is as fresh as can be when they are removed. Times are readings of the machine's monotonic clock.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from placo.domain.plan import Plan
    from placo.services.proving import Place

ADMITTED, REFUSED = "admitted", "refused"
IN_S, OUT_S, TRY_S, PAUSE_S = 90.0, 30.0, 20.0, 0.2
"""How long somebody may take to be let in everywhere, how long a door is tried after that, how long one try may take."""


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
    slug, access = sys.argv[1:] if arguments is None else arguments
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "placo.settings")
    import django

    django.setup()
    caller = Caller(**json.loads(sys.stdin.readline()))
    doors = _doors(slug, access, caller)
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
        self._missing, self._lock, self.event = doors, threading.Lock(), threading.Event()

    def one_more(self) -> None:
        with self._lock:
            self._missing -= 1
            if not self._missing:
                print("in", flush=True)
                self.event.set()

    @property
    def reached(self) -> bool:
        return self.event.is_set()


def _knock(seen: Seen, once: Try, everywhere: Everywhere) -> Seen:
    """Try a door until it refuses somebody whom it has let in."""
    last_in, said, give_up = 0.0, "", time.monotonic() + IN_S
    while time.monotonic() < give_up:
        began = time.monotonic()
        answer, said = once()
        if answer == ADMITTED:
            if not last_in:
                everywhere.one_more()
            last_in = began
        elif answer == REFUSED and last_in and everywhere.reached:
            return Seen(seen.service, seen.endpoint, seen.protocol, last_in, time.monotonic())
        if everywhere.event.is_set() and give_up > (latest := time.monotonic() + OUT_S):
            give_up = latest
        time.sleep(PAUSE_S)
    return Seen(seen.service, seen.endpoint, seen.protocol, last_in, said=said)


def _doors(slug: str, access: str, caller: Caller) -> list[tuple[Seen, Try]]:
    """Every door of this kind of access at which it can be seen that somebody is refused."""
    from placo import wiring
    from placo.domain import proofs as rules
    from placo.domain.protocols import SSH
    from placo.platforms.models import Platform
    from placo.services import proving

    platform = Platform.objects.get(slug=slug)
    doorman = wiring.doorman()
    found: list[tuple[Seen, Try]] = []
    for place in proving.places(platform):
        wanted = "owners" if place.access == "owners" else "members"
        if wanted != access:
            continue
        seen = Seen(place.service, place.endpoint, place.door.protocol)
        if place.door.protocol == SSH:
            command = ssh_command(_url(platform.plan, place), str(wiring.site().edge.address), caller)
            found.append((seen, partial(_by_ssh, command)))
        elif rules.removes(place.door.login.by):

            def once(place: Place = place) -> tuple[str, str]:
                outcome = doorman.try_door(place.door, caller.uid, caller.password, TRY_S)
                return outcome.answer.value, outcome.said

            found.append((seen, once))
    return found


def _url(plan: Plan, place: Place) -> str:
    return next(
        e.url for e in plan.endpoints if (e.host, e.protocol) == (place.door.host, place.door.protocol)
    )


def ssh_command(url: str, edge: str, caller: Caller) -> list[str]:
    """A log-in by key to an address of ssh at the edge. Host keys are not what is measured: a new one is believed."""
    where = urlsplit(url)
    options = {
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "PreferredAuthentications": "publickey",
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": f"{caller.key}.known",
        "HostKeyAlias": where.hostname,
        "HostName": edge,
        "ConnectTimeout": f"{TRY_S:.0f}",
        "LogLevel": "ERROR",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    target = f"{where.username or caller.uid}@{where.hostname}"
    return ["ssh", "-F", "none", "-i", caller.key, *words, "-p", str(where.port), target, "true"]


def _by_ssh(command: Sequence[str]) -> tuple[str, str]:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TRY_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "silent", f"no answer within {TRY_S:g} s"
    if done.returncode == 0:
        return ADMITTED, ""
    return (REFUSED if "Permission denied" in done.stderr else "silent"), done.stderr.strip()[-200:]


if __name__ == "__main__":
    sys.exit(main())
