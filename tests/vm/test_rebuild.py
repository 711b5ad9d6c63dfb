"""Rebuilding real machines: the newest system with the data that were there, and the old system again when the new one does not answer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.client import Api, Lab, svn, wait_for
from deploy.lab.layout import Lab as Layout
from deploy.lab.programs import in_portal
from tests.vm.guest import guest

ROOT = Path(__file__).resolve().parents[2]
SLUG = "moved"
FIRST_NUMBER, SECOND_NUMBER = 990, 991
"""Of the web server's account in the next systems, and in those after them."""
PAGE = "<!doctype html><title>Kept</title><p>What members wrote"


@dataclass
class Place:
    """A lab of its own on a catalogue of its own, with a platform that has a web site and Subversion; they are on the same host."""

    lab: Lab
    catalogue: Path
    owner: Api

    @property
    def now(self) -> dict[str, Any]:
        found: dict[str, Any] = self.owner("GET", f"/platforms/{SLUG}")
        return found

    def machine(self, name: str) -> dict[str, Any]:
        return next(machine for machine in self.now["machines"] if machine["name"] == name)

    def url(self, ending: str) -> str:
        return next(str(e["url"]) for e in self.now["endpoints"] if str(e["url"]).endswith(ending))

    def generation(self, name: str) -> str:
        """Which image a machine runs, by a file of its system disk."""
        return guest(self.lab, SLUG, self.machine(name)).run("cat /etc/placo-generation").text.strip()

    def owner_of_the_page(self) -> str:
        """The number that owns it on the data volume."""
        return (
            guest(self.lab, SLUG, self.machine("www"))
            .run("stat -c %u /srv/placo/site/public/kept.html")
            .text.strip()
        )

    def new_images(self, generation: str, **scripts: str) -> None:
        """The catalogue's next version: each machine's software does what its script says when the image is built."""
        for software, script in scripts.items():
            with (self.catalogue / "software" / software / "build").open("a") as file:
                file.write(f"\necho {generation} > /etc/placo-generation\n{script}\n")
        python("-m", "placo.drivers.images", "build", "--catalogue", str(self.catalogue), "www", "svn")
        python("-m", "deploy.lab", "restart", "--root", str(self.lab.root))

    def outdated(self) -> set[str]:
        return {machine["name"] for machine in self.now["machines"] if machine["outdated"]}


def renumbered(number: int) -> str:
    """Script for an image: the account to which sites and repositories belong has this number, as packages may have it."""
    return f"""
find / -xdev -user www-data > /tmp/of-it
groupmod --gid {number} www-data
usermod --uid {number} --gid {number} www-data
xargs -r -d '\\n' chown -h www-data:www-data < /tmp/of-it
rm /tmp/of-it
"""


def python(*arguments: str, lab: Lab | None = None, status: int = 0) -> str:
    """One of the project's programs; with a lab, on its portal's machine and with its configuration. What it prints."""
    command, env = [sys.executable, *arguments], dict(os.environ)
    if lab:
        command = in_portal(Layout.at(lab.root), command)
        env["PLACO_CONFIG"] = str(lab.root / "placo.toml")
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="placo-rebuild-", dir=ROOT / "var") as folder:
        root, catalogue = Path(folder) / "lab", Path(folder) / "catalogue"
        shutil.copytree(ROOT / "catalogue", catalogue)
        where = ["--root", str(root)]
        try:
            python("-m", "deploy.lab", "up", "--no-warm", "--catalogue", str(catalogue), *where)
            lab = Lab.read(root)
            made = Place(lab, catalogue, lab.api("owner"))
            wish = {"project": lab.project, "slug": SLUG, "services": ["web", "svn"], "days": 1}
            request = made.owner("POST", "/requests", **wish, justification="Machines that are rebuilt.")
            run = lab.api("admin")("POST", f"/requests/{request['id']}/approve")
            assert made.owner.wait_for_run(run["run_id"])["state"] == "done"
            yield made
        finally:
            python("-m", "deploy.lab", "destroy", "--grace", "0", *where)


def system_disks(place: Place) -> list[str]:
    """The platform's system disks that a host has."""
    found = python("manage.py", "audit_platform", SLUG, lab=place.lab, status=1).split()
    return sorted(word for word in found if word.endswith(("-system.qcow2", "-rebuilt.qcow2")))


def commit(place: Place, name: str, folder: Path) -> bool:
    url = place.url("/svn/main")
    done = svn(place.lab, "owner", url, "mkdir", "-m", name, f"{url}/{name}", folder=folder)
    return done.returncode == 0


def committed(place: Place, folder: Path) -> set[str]:
    url = place.url("/svn/main")
    return set(svn(place.lab, "owner", url, "list", url, folder=folder).stdout.split())


@pytest.fixture(scope="module")
def rebuilt(place: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, dict[str, Any]]:
    """The platform after all of its machines were given the next images, and how it was before; people had worked there."""
    assert place.outdated() == set()
    page = place.url("/dav/") + "public/kept.html"
    assert place.lab.request("PUT", page, "owner", content=PAGE).status_code == 201
    assert commit(place, "kept", tmp_path_factory.mktemp("svn"))
    before = place.now
    place.new_images("2", apache=renumbered(FIRST_NUMBER))
    assert place.outdated() == {"www", "svn"}
    run = place.owner("POST", f"/platforms/{SLUG}/rebuild")
    assert place.owner.wait_for_run(run["run_id"])["state"] == "done"
    return place, before


def test_the_system_is_new_and_the_data_are_there(
    rebuilt: tuple[Place, dict[str, Any]], tmp_path: Path
) -> None:
    place, before = rebuilt
    assert place.now["state"] == "ready"
    assert place.outdated() == set()
    assert [place.generation(name) for name in ("www", "svn")] == ["2", "2"]
    assert place.lab.get(place.url("/dav/").removesuffix("dav/") + "kept.html").text == PAGE
    assert place.owner_of_the_page() == str(FIRST_NUMBER), "it belongs to an account, not to its number"
    assert committed(place, tmp_path) == {"kept/"}
    assert commit(place, "more", tmp_path)
    for machine in before["machines"]:
        now = place.machine(machine["name"])
        assert (now["address"], now["host"]) == (machine["address"], machine["host"])
        assert now["image"] != machine["image"]
    assert place.now["endpoints"] == before["endpoints"]


def test_who_is_no_member_stays_out_of_the_new_system(rebuilt: tuple[Place, dict[str, Any]]) -> None:
    place, _before = rebuilt
    for url in (place.url("/members/"), place.url("/dav/"), place.url("/svn/main") + "/"):
        assert place.lab.get(url, "outsider").status_code == 401
        assert place.lab.get(url, "owner").status_code == 200


def _make_older(lab: Lab, run_id: int) -> None:
    """The machine's time to answer passes at once: minutes that no test waits for."""
    text = (
        "from datetime import timedelta; from django.db.models import F; from placo.platforms.models import Step;"
        f"steps = Step.objects.filter(run={run_id}, name='health:svn', started_at__isnull=False);"
        "assert steps.update(started_at=F('started_at') - timedelta(hours=1))"
    )
    python("manage.py", "shell", "-c", text, lab=lab)


def test_a_new_system_that_does_not_answer_is_left_for_the_old_ones(
    rebuilt: tuple[Place, dict[str, Any]], tmp_path: Path
) -> None:
    place, _before = rebuilt
    old = {name: place.machine(name) for name in ("www", "svn")}
    disks = system_disks(place)
    assert len(disks) == 2
    bad = "rm /etc/apache2/mods-enabled/dav_svn.load"
    place.new_images("3", site=renumbered(SECOND_NUMBER), subversion=renumbered(SECOND_NUMBER) + bad)
    run = place.owner("POST", f"/platforms/{SLUG}/rebuild")["run_id"]

    def steps() -> dict[str, str]:
        return {step["name"]: step["state"] for step in place.owner("GET", f"/runs/{run}")["steps"]}

    wait_for(
        lambda: steps()["health:www"] == "done" and place.generation("svn") == "3", 300, "the new systems"
    )
    assert steps()["health:svn"] in ("waiting", "running")
    assert place.owner_of_the_page() == str(SECOND_NUMBER)
    _make_older(place.lab, run)
    assert place.owner.wait_for_run(run)["state"] == "undone"

    assert place.now["state"] == "ready"
    assert [place.generation(name) for name in ("www", "svn")] == ["2", "2"]
    for name, machine in old.items():
        assert place.machine(name)["image"] == machine["image"]
    assert place.lab.get(place.url("/dav/").removesuffix("dav/") + "kept.html").text == PAGE
    assert place.owner_of_the_page() == str(FIRST_NUMBER)
    assert commit(place, "afterwards", tmp_path)
    assert place.outdated() == {"www", "svn"}
    assert system_disks(place) == disks
