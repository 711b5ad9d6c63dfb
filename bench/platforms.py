"""Platforms made for a benchmark as their users make them, through the portal's API, and all of them removed again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from bench.session import say
from deploy.client import Lab

PREFIX = "bench-"
"""Begins the slugs: `bench-` and six hex digits."""
BALLAST_AT_MOST = 12
PAGE = 200


class Platforms:
    """The lab's owner asks, its administrator approves."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.owner, self.admin = lab, lab.api("owner"), lab.api("admin")

    def ask(self, services: Sequence[str]) -> dict[str, Any]:
        """A request that waits for approval."""
        request: dict[str, Any] = self.owner(
            "POST",
            "/requests",
            project=self.lab.project,
            slug=f"{PREFIX}{secrets.token_hex(3)}",
            title="Benchmark",
            services=list(services),
            days=1,
            justification="To measure how long it takes.",
        )
        return request

    def ask_on(self, host: str, services: Sequence[str]) -> dict[str, Any]:
        """The same on that host. Platforms go where least memory is promised: requests that nobody approves make weight
        on the other hosts, until `clear`.
        """
        for _ in range(BALLAST_AT_MOST):
            request = self.ask(services)
            if request["plan"]["host"] == host:
                return request
        raise RuntimeError(f"no platform goes to {host}: is it enabled, reachable and not the fullest?")

    def approve(self, request: dict[str, Any]) -> int:
        """Start it; the id of the run."""
        plan_hash = request["plan"]["hash"]
        return int(self.admin("POST", f"/requests/{request['id']}/approve", plan_hash=plan_hash)["run_id"])

    def finished(self, run_id: int) -> dict[str, Any]:
        """Wait for a run that makes a platform; RuntimeError unless it made it."""
        run = self.owner.wait_for_run(run_id)
        if run["state"] != "done":
            raise RuntimeError(
                f"{run['platform']}: the run ended {run['state']}: {[s['error'] for s in run['steps'] if s['error']]}"
            )
        return run

    def machines(self, slug: str) -> list[dict[str, Any]]:
        """The machines of a platform as an administrator sees them."""
        found: list[dict[str, Any]] = self.admin("GET", f"/platforms/{slug}")["machines"]
        return found

    def retire(self, slugs: Sequence[str]) -> None:
        """All of them at once; waits until they are gone."""
        for run in [self.owner("DELETE", f"/platforms/{slug}")["run_id"] for slug in slugs]:
            self.owner.wait_for_run(run)

    def clear(self) -> None:
        """Take back every request and retire every platform that a benchmark made and that is still there."""
        for request in self.owner("GET", f"/requests?state=submitted&limit={PAGE}"):
            if request["slug"].startswith(PREFIX):
                self.owner("POST", f"/requests/{request['id']}/withdraw")
        left = [p for p in self.owner("GET", f"/platforms?limit={PAGE}") if p["slug"].startswith(PREFIX)]
        for platform in left:
            if platform["state"] in ("creating", "retiring"):
                self._settle(platform["run_id"])
        here = [p["slug"] for p in left if self._lives(p["slug"])]
        self.retire(here)
        if here:
            say(f"retired {' '.join(here)}")

    def _settle(self, run_id: int) -> None:
        try:
            self.owner.wait_for_run(run_id)
        except RuntimeError:  # stuck: nobody will need what it made
            self.admin("POST", f"/runs/{run_id}/undo")
            self.owner.wait_for_run(run_id)

    def _lives(self, slug: str) -> bool:
        state = self.owner("GET", f"/platforms/{slug}")["state"]
        return state not in ("requested", "declined", "failed", "retiring", "retired")

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Nothing of a benchmark's is there before or after, also when it fails or somebody presses Ctrl-C."""
        self.clear()
        try:
            yield
        finally:
            self.clear()


def members_page(request: dict[str, Any]) -> str:
    """The address that only members can open, with the password that the directory has."""
    urls = [str(endpoint["url"]) for endpoint in request["plan"]["endpoints"]]
    return next(url for url in urls if url.endswith("/members/"))


def moment(text: str) -> float:
    """Seconds since 1970 of a time in the API."""
    return datetime.fromisoformat(text).timestamp()


def began(run: dict[str, Any]) -> float:
    """When the engine took up the first step of a run."""
    return min(moment(step["started_at"]) for step in run["steps"] if step["started_at"])
