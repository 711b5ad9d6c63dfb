"""How long each service lets somebody in after they were removed from a platform, or from its owners where only these may come in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.knock import IN_S, OUT_S, TRY_S, Seen
from bench.platforms import Platforms
from bench.session import REPOSITORY, say, verdict
from deploy.client import wait_for
from deploy.lab.layout import Lab
from deploy.lab.shell import run
from placo.domain import proofs as rules
from placo.domain.catalogue import Catalogue, Service
from placo.domain.doors import Access, LoginKind
from placo.domain.proofs import BOUND_S

KEY_TITLE = "bench"
SETTLED_S = 60


@dataclass(frozen=True)
class Refused:
    """Seconds from the call of the API that removes somebody until a door had refused them, and until the last try began that was
    still let in (negative: before the call). None where it never refused: `said` is what came instead.
    """

    door: str
    protocol: str
    seconds: float | None
    last_in: float
    said: str


class Refusals:
    """The lab's member, who is let in to a platform and removed from it again."""

    def __init__(self, platforms: Platforms, configuration: Path, catalogue: Catalogue) -> None:
        self.platforms, self.configuration, self.catalogue = platforms, configuration, catalogue
        self.account = platforms.lab.accounts["member"]
        self.member = platforms.lab.api("member")
        self.found: list[Refused] = []

    def measure(self, slug: str, count: int) -> None:
        """Remove the member `count` times for each service of this platform, at whose doors they knock meanwhile; into `found`."""
        owner = self.platforms.owner
        row = f"/platforms/{slug}/members/{self.account.uid}"
        owned = f"/platforms/{slug}/owners/{self.account.uid}"
        services = {service.id: accesses(service) for service in self.catalogue.services.values()}
        with self._key() as key:
            for service in [name for name, found in services.items() if found] * count:
                owner("PUT", row)
                self._settle(slug, owner=False)
                if Access.OWNERS in services[service]:
                    owner("PUT", owned)
                    # Nobody takes a platform away from another owner: they step down, and stay a member.
                    self._remove(slug, service, "owners", key, lambda: self.member("DELETE", owned))
                    self._settle(slug, owner=False)
                if services[service] - {Access.OWNERS}:
                    self._remove(slug, service, "members", key, lambda: owner("DELETE", row))
                else:
                    owner("DELETE", row)

    def _settle(self, slug: str, *, owner: bool) -> None:
        def settled() -> bool:
            rows = self.platforms.owner("GET", f"/platforms/{slug}/members")
            state = next(((r["state"], r["owner"]) for r in rows if r["uid"] == self.account.uid), None)
            return state == ("active", owner)

        wait_for(settled, SETTLED_S, f"the directory to have {self.account.uid} as wanted")

    def _remove(self, slug: str, service: str, access: str, key: Path, remove: Callable[[], object]) -> None:
        namespace = Lab.at(self.platforms.lab.root).namespace
        knocking = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, "-m", "bench.knock", slug, service, access],
            cwd=REPOSITORY,
            env={**os.environ, "PLACO_CONFIG": str(self.configuration)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert knocking.stdin and knocking.stdout  # noqa: S101 - both are pipes
            who = {
                "uid": self.account.uid,
                "password": self.account.password,
                "key": key.read_text(encoding="ascii"),
            }
            knocking.stdin.write(json.dumps(who) + "\n")
            knocking.stdin.flush()
            if (line := knocking.stdout.readline()) != "in\n":
                raise RuntimeError(f"{slug}: not every door let {self.account.uid} in: {silent(line)}")
            removed = time.monotonic()
            remove()
            told, _ = knocking.communicate(timeout=IN_S + OUT_S + 2 * TRY_S)
        finally:
            knocking.kill()
            knocking.wait()
        for seen in (Seen(**row) for row in json.loads(told)):
            one = Refused(
                f"{seen.service}: {seen.endpoint}",
                seen.protocol,
                seen.refused - removed if seen.refused else None,
                seen.last_in - removed,
                seen.said,
            )
            self.found.append(one)
            took = "never" if one.seconds is None else f"{one.seconds:.2f} s"
            say(f"{one.door:<28}{one.protocol:<14}refused after {took}")

    @contextmanager
    def _key(self) -> Iterator[Path]:
        """A key pair that opens ssh to the member; in nobody's directory afterwards, also those that a killed run left."""
        with tempfile.TemporaryDirectory(prefix="placo-bench-") as folder:
            key = Path(folder) / "key"
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", KEY_TITLE, "-f", key])
            self._forget()
            public = key.with_suffix(".pub").read_text(encoding="ascii").strip()
            self.member("POST", "/account/keys", key=public, title=KEY_TITLE)
            try:
                yield key
            finally:
                self._forget()

    def _forget(self) -> None:
        for known in self.member("GET", "/account/keys"):
            if known["title"] == KEY_TITLE:
                self.member("DELETE", f"/account/keys/{known['id']}")


def accesses(service: Service) -> set[Access]:
    """Who may come in at the doors of a service at which it can be seen that somebody is refused, with the choices that nobody made."""
    return {
        endpoint.access_for(service.defaults())
        for endpoint in service.endpoints
        if rules.removes(endpoint.login.by)
    }


def silent(line: str) -> str:
    """The doors that never let them in, from what bench.knock printed."""
    try:
        doors = [Seen(**row) for row in json.loads(line)]
    except ValueError:
        return "it ended before"
    return "; ".join(f"{door.service} {door.endpoint}: {door.said}" for door in doors if not door.last_in)


def untried(catalogue: Catalogue) -> list[str]:
    """Doors at which somebody logs in and nothing here tries it."""
    return [
        f"{service.id}: {endpoint.name}"
        for service in catalogue.services.values()
        for endpoint in service.endpoints
        if endpoint.login.by is LoginKind.UNTRIED
    ]


def report(found: list[Refused], catalogue: Catalogue) -> bool:
    """Print the seconds of each door and say for each service whether the bound holds."""
    print(f"\n{'refused after removal, seconds':<44}{'n':>4}{'median':>9}{'most':>9}{'last let in':>13}")
    worst: dict[str, float] = {}
    for door, protocol in dict.fromkeys((one.door, one.protocol) for one in found):
        mine = [one for one in found if one.door == door]
        times = [float("inf") if one.seconds is None else one.seconds for one in mine]
        last = max(one.last_in for one in mine)
        print(
            f"  {door:<28}{protocol:<14}{len(times):>4}{median(times):>9.2f}{max(times):>9.2f}{last:>13.2f}"
        )
        for one in mine:
            if one.seconds is None:
                print(f"    never refused: {one.said}")
        service = door.split(":")[0]
        worst[service] = max(worst.get(service, 0.0), *times)
    for door in untried(catalogue):
        print(f"  {door:<28}not tried: nothing here knows how to log in")
    holds = True
    print()
    for service, seconds in worst.items():
        holds &= verdict(f"{service}: refused within {BOUND_S:g} s ({seconds:.2f} s)", seconds <= BOUND_S)
    return holds and bool(worst)
