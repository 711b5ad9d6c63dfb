"""Subversion on a real machine: owners make repositories on a page and say who uses them, svn itself obeys."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from deploy.client import Lab, svn, wait_for
from tests.lab_world import Made, World

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def versions(lab: Lab, world: World) -> Iterator[Made]:
    """A platform with Subversion alone; `member` and `admin` are members, `owner` owns it."""
    world.ask("versions", "svn", options={"svn": {"repository": "first"}})
    made = world.ready("versions")
    for role in ("member", "admin"):
        made.owner("PUT", f"/platforms/versions/members/{lab.accounts[role].uid}")
        wait_for(
            lambda role=role: lab.get(made.url("svn", "/"), role).status_code == 200, 30, f"{role} to come in"
        )
    yield made
    world.retire("versions")


class Desk:
    """The page of repositories, and Subversion's client, as somebody."""

    def __init__(self, lab: Lab, made: Made, folder: Path) -> None:
        self.lab, self.page, self.folder = lab, made.url("svn", "/"), folder

    def post(self, role: str | None, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        return self.lab.request(
            "POST", self.page, role, headers=FORM | (headers or {}), content=urlencode(fields)
        )

    def make(self, name: str, who: str = "all", **more: str) -> None:
        answer = self.post("owner", do="make", name=name, who=who, **more)
        assert answer.status_code == 303, answer.text

    def remove(self, name: str) -> None:
        self.post("owner", do="remove", name=name, again=name)

    def names(self, role: str) -> set[str]:
        text = self.lab.get(self.page, role).text
        return {part.partition("/")[0] for part in text.split('href="/svn/')[1:]}

    def commits(self, role: str, name: str) -> bool:
        """Whether somebody can commit; svn's own client makes a folder."""
        url = f"{self.page}svn/{name}"
        new = f"{url}/{role}-{time.monotonic_ns()}"
        done = svn(self.lab, role, url, "mkdir", "-m", "by " + role, new, folder=self.folder)
        return done.returncode == 0

    def reads(self, role: str, name: str) -> bool:
        """Whether somebody can check it out."""
        url = f"{self.page}svn/{name}"
        copy = str(self.folder / f"{name}-{role}")
        return svn(self.lab, role, url, "checkout", url, copy, folder=self.folder).returncode == 0


@pytest.fixture
def desk(lab: Lab, versions: Made, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(lab, versions, tmp_path)
    yield made
    for name in made.names("owner") - {"first"}:
        made.remove(name)


def uid(desk: Desk, role: str) -> str:
    return desk.lab.accounts[role].uid


def test_the_first_repository_is_for_all_members(desk: Desk, versions: Made) -> None:
    assert versions.url("svn") == f"{desk.page}svn/first"
    assert desk.names("member") == {"first"}
    assert desk.commits("member", "first")
    assert desk.reads("admin", "first")


def test_an_owner_makes_one_and_members_work_in_it(desk: Desk) -> None:
    desk.make("thesis-2.0")
    assert desk.names("member") == {"first", "thesis-2.0"}
    assert desk.commits("member", "thesis-2.0") and desk.commits("admin", "thesis-2.0")
    assert desk.reads("member", "thesis-2.0")


def test_all_read_and_some_write(desk: Desk) -> None:
    desk.make("theory", "read", writers=uid(desk, "admin"))
    assert desk.reads("member", "theory")
    assert not desk.commits("member", "theory")
    assert desk.commits("admin", "theory") and desk.commits("owner", "theory")


def test_some_alone(desk: Desk) -> None:
    desk.make("secret", "some", readers=f" {uid(desk, 'admin')},\n")
    assert desk.names("member") == {"first"}, "its name is not shown either"
    assert not desk.reads("member", "secret") and not desk.commits("member", "secret")
    assert desk.lab.get(f"{desk.page}svn/secret/", "member").status_code == 401
    assert desk.names("admin") == {"first", "secret"}
    assert desk.reads("admin", "secret") and not desk.commits("admin", "secret")
    assert desk.commits("owner", "secret")

    saved = desk.post("owner", do="rights", name="secret", who="all")
    assert saved.status_code == 303
    assert desk.commits("member", "secret")
    desk.post("owner", do="rights", name="secret", who="some", writers=uid(desk, "member"))
    assert desk.reads("member", "secret") and not desk.reads("admin", "secret")


def test_a_group_stands_for_its_people_wherever_it_is_named(desk: Desk) -> None:
    group = {"do": "group", "group": "theory"}
    assert desk.post("owner", **group, people=uid(desk, "member")).status_code == 303
    desk.make("proofs", "some", writers="@theory")
    desk.make("papers", "some", readers="@theory")
    assert desk.commits("member", "proofs") and not desk.commits("member", "papers")
    assert desk.reads("member", "papers") and not desk.reads("admin", "papers")
    assert desk.names("admin") == {"first"}

    assert desk.post("owner", **group, people=uid(desk, "admin")).status_code == 303
    assert desk.commits("admin", "proofs") and not desk.commits("member", "proofs")
    assert desk.names("member") == {"first"}
    assert desk.post("owner", do="ungroup", group="theory").status_code == 409, "it is named"
    assert desk.commits("admin", "proofs")
    for name in ("proofs", "papers"):
        desk.remove(name)
    assert desk.post("owner", do="ungroup", group="theory").status_code == 303
    assert desk.post("owner", do="make", name="again", who="some", writers="@theory").status_code == 400


def test_who_is_no_owner_makes_no_group_and_sees_none(desk: Desk) -> None:
    assert desk.post("owner", do="group", group="closed", people=uid(desk, "admin")).status_code == 303
    for role, status in (("member", 403), ("outsider", 401), (None, 401)):
        assert desk.post(role, do="group", group="closed", people=uid(desk, "member")).status_code == status
        assert desk.post(role, do="ungroup", group="closed").status_code == status
    assert "@closed" not in desk.lab.get(desk.page, "member").text
    page = desk.lab.get(desk.page, "owner").text
    assert "@closed" in page and uid(desk, "admin") in page
    desk.post("owner", do="ungroup", group="closed")


@pytest.mark.parametrize(
    "fields",
    [
        *({"group": name} for name in ("", "../etc", ".new", "a b", "A", "é", "-a", "a/b", "x" * 33)),
        *({"people": people} for people in ("@theory", "a@b", "*", "../x", "-rf", "a\n@b")),
    ],
    ids=str,
)
def test_odd_groups_are_refused(desk: Desk, fields: dict[str, str]) -> None:
    answer = desk.post("owner", **{"do": "group", "group": "sound", "people": "somebody"} | fields)
    assert answer.status_code == 400
    assert "<li>@" not in desk.lab.get(desk.page, "owner").text, "no group was made"


def test_a_removed_member_is_refused_by_svn_itself(desk: Desk, versions: Made) -> None:
    assert desk.commits("admin", "first") and desk.reads("admin", "first")
    removed = time.monotonic()
    versions.owner("DELETE", f"/platforms/versions/members/{uid(desk, 'admin')}")
    url, tried = f"{desk.page}svn/first", removed

    def refused() -> bool:
        nonlocal tried
        tried = time.monotonic()
        return svn(desk.lab, "admin", url, "list", url, folder=desk.folder).returncode != 0

    wait_for(refused, 30, "svn to be refused", every_s=0.1)
    assert tried - removed < 5, "who comes after that is refused, however long their program takes"
    update = svn(desk.lab, "admin", url, "update", str(desk.folder / "first-admin"), folder=desk.folder)
    assert update.returncode != 0 and not desk.commits("admin", "first")
    versions.owner("PUT", f"/platforms/versions/members/{uid(desk, 'admin')}")
    wait_for(lambda: desk.lab.get(desk.page, "admin").status_code == 200, 30, "who is back to come in")


def test_who_is_no_owner_changes_nothing(desk: Desk) -> None:
    before = desk.names("owner")
    for role, status in (("member", 403), ("outsider", 401), (None, 401)):
        assert desk.post(role, do="make", name="mine", who="all").status_code == status
        assert desk.post(role, do="remove", name="first", again="first").status_code == status
        assert desk.post(role, do="rights", name="first", who="some").status_code == status
    assert desk.names("owner") == before
    assert "<form" not in desk.lab.get(desk.page, "member").text


def test_a_form_of_another_page_changes_nothing(desk: Desk) -> None:
    host = httpx.URL(desk.page).netloc.decode()
    for headers in (
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site", "Origin": f"https://{host}"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        answer = desk.post("owner", headers, do="remove", name="first", again="first")
        assert answer.status_code == 403, headers
    assert "first" in desk.names("owner")
    own = {"Sec-Fetch-Site": "same-origin", "Origin": f"https://{host}"}
    assert desk.post("owner", own, do="make", name="good", who="all").status_code == 303


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "../etc"},
        {"name": ".hidden"},
        {"name": "a/b"},
        {"name": "a b"},
        {"name": "a..b"},
        {"name": "a\nb"},
        {"name": "$(reboot)"},
        {"name": "<b>"},
        {"name": "é"},
        {"name": "x" * 65},
        {"name": "good", "writers": "../../etc"},
        {"name": "good", "readers": "a/b"},
        {"name": "good", "writers": "*"},
        {"name": "good", "writers": "-rf"},
        {"name": "good", "do": "format"},
    ],
    ids=str,
)
def test_odd_names_are_refused(desk: Desk, fields: dict[str, str]) -> None:
    answer = desk.post("owner", **{"do": "make", "who": "some"} | fields)
    assert answer.status_code == 400
    assert desk.names("owner") == {"first"}


def test_a_form_that_is_too_long_is_refused(desk: Desk) -> None:
    assert desk.post("owner", do="make", name="good", writers="a " * 9000).status_code == 413
    assert desk.names("owner") == {"first"}


def test_what_is_there_is_not_made_again_and_goes_only_when_confirmed(desk: Desk) -> None:
    desk.make("twice", "some")
    assert desk.post("owner", do="make", name="twice", who="all").status_code == 409
    assert not desk.reads("member", "twice"), "the rights are what they were"
    assert desk.post("owner", do="remove", name="twice", again="other").status_code == 400
    assert "twice" in desk.names("owner")
    assert desk.post("owner", do="remove", name="twice", again="twice").status_code == 303
    assert desk.names("owner") == {"first"}
    assert desk.lab.get(f"{desk.page}svn/twice/", "owner").status_code == 404


def test_a_french_browser_gets_french(desk: Desk) -> None:
    french = desk.lab.get(desk.page, "owner", headers={"Accept-Language": "fr-FR,fr;q=0.9"})
    assert "Dépôts Subversion" in french.text and 'lang="fr"' in french.text
    assert "Nouveau dépôt" in french.text
    assert "A new repository" in desk.lab.get(desk.page, "owner").text
