"""The directory stops and comes back: what needs it says so, everything else goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from deploy.client import Lab, wait_for
from deploy.lab import layout, verbs
from deploy.lab.supervise import Supervisor
from tests.lab_world import Made


@contextmanager
def without_directory(lab: Lab) -> Iterator[None]:
    """Stop the lab's slapd meanwhile."""
    here = layout.Lab.at(lab.root)
    Supervisor(here).stop(["directory"])
    try:
        yield
    finally:
        verbs.up(here)


def _token(lab: Lab, role: str) -> httpx.Response:
    account = lab.accounts[role]
    return httpx.post(
        f"{lab.portal}/api/v1/tokens", auth=(account.uid, account.password), timeout=30, trust_env=False
    )


def test_portal_and_platforms_go_on_without_the_directory(lab: Lab, beta: Made) -> None:
    with without_directory(lab):
        refused = _token(lab, "member")
        assert refused.status_code == 503
        assert "directory" in refused.json()["detail"].lower()
        added = beta.owner.client.put("/platforms/beta/members/" + lab.accounts["member"].uid)
        assert added.status_code == 503
        assert beta.now["state"] == "ready"
        assert {m["state"] for m in beta.now["machines"]} == {"answering"}
        assert lab.get(beta.url("web", "/")).status_code == 200
        for path in ("/login/", "/help/"):
            assert httpx.get(lab.portal + path, trust_env=False, follow_redirects=True).status_code == 200
        secret = (lab.root / "secrets" / "break-glass").read_text().strip()
        glass = httpx.post(
            f"{lab.portal}/api/v1/tokens", auth=("break-glass", secret), timeout=30, trust_env=False
        )
        assert glass.status_code == 201
    wait_for(lambda: _token(lab, "member").status_code == 201, 30, "logging in to work again")
