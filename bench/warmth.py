"""The templates of a lab's hosts, on or off for a measurement, and afterwards as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deploy.client import Api, wait_for

MAKING_S, ALL_S = 300, 1800
"""How long one template may take to be made, and all of a host's."""


class Warmth:
    """For an administrator's API; `host` is the one that platforms are made on."""

    def __init__(self, admin: Api, host: str) -> None:
        self.admin, self.host = admin, host

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Each host has templates afterwards if it had them before."""
        before = {host["name"]: host["warm"] for host in self._hosts()}
        if self.host not in before:
            raise RuntimeError(f"the lab has no host {self.host}")
        try:
            yield
        finally:
            for name, on in before.items():
                self._switch(name, on)

    def off(self) -> None:
        """Machines boot from now on, and nobody makes templates any more."""
        for host in self._hosts():
            self._switch(host["name"], False)

        def idle() -> bool:
            return all(t["state"] != "making" for host in self._hosts() for t in host["templates"])

        wait_for(idle, MAKING_S, "the template that is being made")

    def on(self) -> list[dict[str, Any]]:
        """The host's templates, every one of them ready, while no other host makes any. RuntimeError if one cannot be made."""
        for host in self._hosts():
            self._switch(host["name"], host["name"] == self.host)
        self.admin.wait_for_templates(ALL_S)
        found: list[dict[str, Any]] = next(h["templates"] for h in self._hosts() if h["name"] == self.host)
        poor = [f"{t['machine']} is {t['state']} {t['reason']}" for t in found if t["state"] != "ready"]
        if poor:
            raise RuntimeError(f"templates of {self.host}: {'; '.join(poor)}")
        return found

    def _hosts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.admin("GET", "/hosts")
        return found

    def _switch(self, name: str, on: bool) -> None:
        self.admin("POST", f"/hosts/{name}/warm", on=on)
