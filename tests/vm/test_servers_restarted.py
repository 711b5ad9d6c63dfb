"""Servers that die while a worker is in the middle of a step: what was begun is completed, once, and removed whole.

All is real here: the lab's libvirtd, slapd, PostgreSQL, Redis, nginx and workers get SIGKILL (or what stops them at once), and
come back as its supervisor brings them back. Beside each platform lives one that nothing may happen to: `calm`.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.client import Lab, wait_for
from placo import wiring
from tests.lab_world import Made, World
from tests.vm.outages import Journal, Servers
from tests.vm.world_truth import truth

WAIT_S = 120
"""How long a run may take to its end after the last blow."""
VOLUMES = ("system-disk:www", "data-volume:www", "memory:www")
"""What is removed together once a machine is gone, each in no time."""


class Site:
    """The lab with its servers, and what platforms on it are to look like."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.servers, self.journal = lab, Servers(lab), Journal(lab)
        self.people = World(lab)
        self.owner, self.admin = self.people.owner, self.people.admin

    # --- runs ---

    def asked(self, slug: str, *services: str) -> int:
        """A platform that is being made; the run."""
        return self.people.ask(slug, *services)

    def changing(self, slug: str, **wish: Any) -> int:
        """A change that is under way; the run."""
        words = {"justification": "A test on real machines.", **wish}
        request = self.owner("POST", f"/platforms/{slug}/changes", **words)
        answer = self.admin("POST", f"/requests/{request['id']}/approve", plan_hash=request["plan"]["hash"])
        return int(answer["run_id"])

    def retiring(self, slug: str) -> int:
        """A platform that is being removed; the run."""
        return int(self.owner("DELETE", f"/platforms/{slug}")["run_id"])

    def ended(self, run_id: int) -> None:
        """Waits for the end, which has to be a good one, and every step's effect is journalled once."""
        query = "SELECT state FROM platforms_run WHERE id = %s AND state NOT IN ('running', 'unwinding')"
        rows = wait_for(lambda: self.journal.ask(query, run_id), WAIT_S, f"run {run_id} to end")
        assert rows == [("done",)], self.owner("GET", f"/runs/{run_id}")
        assert set(self.journal.endings(run_id).values()) == {1}

    # --- platforms ---

    def complete(self, slug: str) -> None:
        """Every machine answers its people and nobody else, is there once, and all that there is is what `calm` has."""
        made = Made(slug, self.owner)
        now = made.now
        assert now["state"] == "ready"
        assert {(m["state"], m["way"]) for m in now["machines"]} == {("answering", "warm")}
        pages = [made.url("web", "/members/")]
        if any(machine["name"] == "svn" for machine in now["machines"]):
            pages.append(made.url("svn") + "/")
        for page in pages:
            assert self.lab.get(page, "owner").status_code == 200, page
            assert self.lab.get(page).status_code == 401, page
            assert self.lab.get(page, "outsider").status_code in (401, 403), page
        guests = self.servers.guests(slug)
        assert sorted(guests) == sorted(f"placo-{slug}-{m['name']}" for m in now["machines"])
        assert all(len(pids) == 1 for pids in guests.values()), guests
        names = {machine["name"] for machine in now["machines"]}
        found = truth(self.lab, slug, "calm")
        assert (found["books"], found["drift"]) == ([], [])
        assert _kinds(found["audit"][slug], slug) == _kinds(found["audit"]["calm"], "calm", names)

    def answers(self, page: str, role: str, status: int) -> None:
        """What a machine, which asks the directory each time, comes to answer somebody."""
        wait_for(lambda: self.lab.get(page, role).status_code == status, 15, f"{status} for the {role}")

    def clean(self, slug: str) -> None:
        """Nothing of it is anywhere, and the books know."""
        assert not self.servers.guests(slug)
        assert truth(self.lab, slug) == {"books": [], "drift": [], "audit": {slug: []}}


def _kinds(found: list[list[str]], slug: str, machines: set[str] | None = None) -> list[tuple[str, str]]:
    """What an audit found, without what each platform has of its own: names, digits of its UUID, addresses; of some machines only."""
    names = [
        (kind, "" if kind == "addresses" else re.sub(r"-[0-9a-f]{8}\b", "", name.replace(slug, "*")))
        for kind, _where, name in found
    ]
    others = {"www", "svn"} - (machines or {"www", "svn"})
    return sorted((kind, name) for kind, name in names if not any(other in name for other in others))


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    made = Site(lab)
    made.ended(made.asked("calm", "web", "svn"))
    guests = made.servers.guests("calm")
    yield made
    made.complete("calm")
    assert made.servers.guests("calm") == guests, "its machines went on"
    made.people.retire("calm")


@pytest.fixture
def slug(site: Site) -> Iterator[str]:
    """A name for the test's platform; what is left of it when a test failed is removed."""
    name = "struck"
    yield name
    if site.owner.status("GET", f"/platforms/{name}") == 200:
        platform = site.owner("GET", f"/platforms/{name}")
        site.journal.end_leases(platform["run_id"])
        site.owner.wait_for_run(platform["run_id"])
        site.people.retire(name)


def _host(site: Site, slug: str) -> str:
    return str(site.owner("GET", f"/platforms/{slug}")["host"])


def test_libvirtd_is_killed(site: Site, slug: str) -> None:
    """In the middle of a disk, of a copy of memory, of a resumption, of a machine's settings; of a change; of a removal."""
    run = site.asked(slug, "web")
    host = _host(site, slug)
    for step in ("system-disk:www", "memory:www", "power:www", "personalise:www"):
        resumed = (lambda: site.servers.guests(slug)) if step == "power:www" else None
        with site.journal.middle_of(run, step, until=resumed):
            site.servers.strike(host)
    assert site.journal.attempts(run, "power:www") > 1, "its call died with libvirtd"
    site.ended(run)
    site.complete(slug)

    guests = site.servers.guests(slug)
    run = site.changing(slug, services=["web", "svn"])
    for step in ("system-disk:svn", "domain:svn"):
        with site.journal.middle_of(run, step):
            site.servers.strike(host)
    site.ended(run)
    site.complete(slug)
    assert guests.items() <= site.servers.guests(slug).items(), "what was there went on"

    run = site.retiring(slug)
    for steps in (("domain:www",), VOLUMES):
        with site.journal.middle_of(run, *steps):
            site.servers.strike(host)
    site.ended(run)
    site.clean(slug)


def test_slapd_is_killed(site: Site, slug: str) -> None:
    """In the middle of a platform's subtree, of a machine's account, of two memberships; of a removal."""
    with site.servers.frozen("directory"):
        run = site.asked(slug, "web")
        with site.journal.middle_of(run, "directory"):
            site.servers.strike("directory")
    with site.journal.middle_of(run, "account:www"):
        site.servers.strike("directory")
    site.ended(run)
    site.complete(slug)

    member = site.lab.accounts["member"].uid
    page = Made(slug, site.owner).url("web", "/members/")
    for verb, status in (("PUT", 200), ("DELETE", 401)):
        with site.servers.frozen("worker"):
            run = site.owner(verb, f"/platforms/{slug}/members/{member}")["run_id"]
            with site.servers.frozen("directory"):
                site.servers.go_on("worker")
                with site.journal.middle_of(run, f"member:{member}"):
                    site.servers.strike("directory")
        site.ended(run)
        site.answers(page, "member", status)

    run = site.retiring(slug)
    with site.journal.middle_of(run, "account:www"):
        site.servers.strike("directory")
    with site.journal.middle_of(run, "directory"):
        site.servers.strike("directory")
    site.ended(run)
    site.clean(slug)


def test_nginx_is_killed(site: Site, slug: str) -> None:
    """While it reads the site that was written for it; and while one is taken away."""
    conf = Path(site.servers.here.edge / "sites" / f"{slug}.conf")
    with site.servers.frozen("edge"):
        run = site.asked(slug, "web")
        with site.journal.middle_of(run, "edge", until=conf.exists):
            site.servers.strike("edge")
    site.ended(run)
    site.complete(slug)
    with site.servers.frozen("edge"):
        run = site.retiring(slug)
        with site.journal.middle_of(run, "edge", until=lambda: not conf.exists()):
            site.servers.strike("edge")
    site.ended(run)
    site.clean(slug)


def test_postgresql_is_killed_and_restarted(site: Site, slug: str) -> None:
    """When a machine has been resumed and nobody has written it down; in the middle of its settings; of a removal."""
    run = site.asked(slug, "web")
    with site.journal.middle_of(run, "power:www", until=lambda: site.servers.guests(slug)):
        guests = site.servers.guests(slug)
        site.servers.strike("postgres")
    with site.journal.middle_of(run, "personalise:www"):
        site.servers.strike("postgres", signal.SIGINT)  # its fast shutdown
    site.ended(run)
    site.complete(slug)
    assert site.servers.guests(slug) == guests, "it was resumed once"

    run = site.retiring(slug)
    for steps, number in ((("domain:www",), signal.SIGKILL), (VOLUMES, signal.SIGINT)):
        with site.journal.middle_of(run, *steps):
            site.servers.strike("postgres", number)
    site.ended(run)
    site.clean(slug)


def test_redis_loses_everything(site: Site, slug: str) -> None:
    """Flushed while nobody holds a step, flushed and killed while somebody does, and away when a run begins."""
    with site.servers.stopped("worker"):
        run = site.asked(slug, "web")
        site.servers.flush_redis()
    with site.journal.middle_of(run, "memory:www"):
        site.servers.flush_redis()
    with site.journal.middle_of(run, "power:www"):
        site.servers.strike("redis")
    site.ended(run)
    site.complete(slug)

    with site.servers.stopped("redis"):
        run = site.retiring(slug)
    site.ended(run)
    site.clean(slug)


def test_workers_are_killed(site: Site, slug: str) -> None:
    """All of them at once, in the middle of a creation, of a change, of a removal; others take over when their leases end."""
    run = site.asked(slug, "web")
    for step in ("memory:www", "personalise:www"):
        with site.journal.middle_of(run, step):
            site.servers.strike_group("worker")
        site.journal.end_leases(run)
    site.ended(run)
    site.complete(slug)

    size = wiring.catalogue().machines["www"].data_volume_gib + 1
    with site.servers.frozen("worker"):
        run = site.changing(slug, sizes={"www": {"data_volume_gib": size}})
    with site.journal.middle_of(run, "file-system:www"):
        site.servers.strike_group("worker")
    site.journal.end_leases(run)
    site.ended(run)
    site.complete(slug)

    run = site.retiring(slug)
    with site.journal.middle_of(run, "domain:www"):
        site.servers.strike_group("worker")
    site.journal.end_leases(run)
    site.ended(run)
    site.clean(slug)
