"""The lab that runs, and real platforms in it: made once a session, all at the same time, retired at the end.

Their machines are resumed from templates; with PLACO_TEST_WAY=cold in the environment they boot instead.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.client import Api, Lab

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES_WAIT_S = 600


@dataclass
class Made:
    """A platform that exists, as the API describes it; `story` is what the browser saw when it made it."""

    slug: str
    owner: Api = field(repr=False)
    story: Any = None

    @property
    def now(self) -> dict[str, Any]:
        """What the API says of it now."""
        found: dict[str, Any] = self.owner("GET", f"/platforms/{self.slug}")
        return found

    def url(self, service: str, ending: str = "") -> str:
        """The first public address of a service that ends like this."""
        return next(
            str(e["url"])
            for e in self.now["endpoints"]
            if e["service"] == service and e["url"].endswith(ending)
        )

    def machine(self, name: str) -> dict[str, Any]:
        """One of its machines."""
        return next(m for m in self.now["machines"] if m["name"] == name)


class World:
    """Asks for platforms through the API, waits for them, retires them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.owner, self.admin = lab.api("owner"), lab.api("admin")
        self.runs: dict[str, int] = {}
        self.turned_off: list[str] = []

    def choose_way(self) -> None:
        """Turn templates off for a session of machines that boot."""
        if os.environ.get("PLACO_TEST_WAY") != "cold":
            return
        for host in self.admin("GET", "/hosts"):
            if host["warm"]:
                self.admin("POST", f"/hosts/{host['name']}/warm", on=False)
                self.turned_off.append(host["name"])

    def wait_for_templates(self, machines: Collection[str]) -> None:
        """Templates of these kinds of machine are ready: hosts make those first that are asked for."""
        self.admin.wait_for_templates(TEMPLATES_WAIT_S, machines=machines)

    def ask(self, slug: str, *services: str, options: dict[str, dict[str, object]] | None = None) -> int:
        """Request, wait for the templates that it needs, and approve; the run's id.

        What an earlier, killed session left of this name is retired first.
        """
        if self.owner.status("GET", f"/platforms/{slug}") == 200:
            self.retire(slug)
        request = self.owner(
            "POST",
            "/requests",
            project=self.lab.project,
            slug=slug,
            services=list(services),
            options=options or {},
            days=30,
            justification="A test on real machines.",
        )
        self.wait_for_templates({machine["name"] for machine in request["plan"]["machines"]})
        run_id: int = self.admin("POST", f"/requests/{request['id']}/approve")["run_id"]
        self.runs[slug] = run_id
        return run_id

    def ready(self, slug: str) -> Made:
        """The platform once its run has ended well."""
        run = self.owner.wait_for_run(self.runs[slug], timeout_s=900)
        assert run["state"] == "done", run
        made = Made(slug, self.owner)
        if self.turned_off:
            assert {machine["way"] for machine in made.now["machines"]} == {"cold"}
        return made

    def retire(self, slug: str) -> None:
        """Retire whatever there is of a platform, and wait until it is gone."""
        platform = self.owner("GET", f"/platforms/{slug}")
        if platform["state"] in ("retired", "failed", "declined"):
            return
        if platform["state"] == "requested":
            for request in self.owner("GET", "/requests?state=submitted"):
                if request["slug"] == slug:
                    self.owner("POST", f"/requests/{request['id']}/withdraw")
            return
        if platform["state"] not in ("ready", "stopped"):
            self.owner.wait_for_run(platform["run_id"], timeout_s=900)
        run_id = self.owner("DELETE", f"/platforms/{slug}")["run_id"]
        assert self.owner.wait_for_run(run_id, timeout_s=300)["state"] == "done"

    def close(self) -> None:
        """Leave nothing behind."""
        for platform in self.owner("GET", "/platforms"):
            self.retire(platform["slug"])
        for name in self.turned_off:
            self.admin("POST", f"/hosts/{name}/warm", on=True)


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab whose configuration is in force."""
    config = os.environ.get("PLACO_CONFIG") or str(ROOT / "var" / "lab" / "placo.toml")
    return Lab.read(Path(config).resolve().parent)


@pytest.fixture(scope="session")
def world(lab: Lab) -> Iterator[World]:
    """Real platforms: `beta` and `gamma` are asked for at once, so that all machines boot side by side."""
    made = World(lab)
    made.choose_way()
    made.ask("beta", "web")
    made.ask("gamma", "web")
    yield made
    made.close()


@pytest.fixture(scope="session")
def alpha(world: World) -> Made:
    """A platform with web and svn, made by people in a browser."""
    from tests.browser.flow import create_through_the_browser

    if world.owner.status("GET", "/platforms/alpha") == 200:
        world.retire("alpha")
    story = create_through_the_browser(
        world.lab, "alpha", before_approval=lambda: world.wait_for_templates({"www", "svn"})
    )
    return Made("alpha", world.owner, story)


@pytest.fixture(scope="session")
def beta(world: World) -> Made:
    """A platform with web alone."""
    return world.ready("beta")
