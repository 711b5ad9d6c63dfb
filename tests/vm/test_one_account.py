"""One account for everything: members get in with their directory password, outsiders and removed members do not."""

from __future__ import annotations

import time
from pathlib import Path

from deploy.client import Lab, svn, wait_for
from tests.lab_world import Made


def _admit(lab: Lab, alpha: Made) -> str:
    uid = lab.accounts["member"].uid
    alpha.owner("PUT", f"/platforms/alpha/members/{uid}")
    page = alpha.url("web", "/members/")
    wait_for(lambda: lab.get(page, "member").status_code == 200, 30, "the member to be let in")
    return uid


def test_member_opens_the_members_page_and_sees_their_name(lab: Lab, alpha: Made) -> None:
    uid = _admit(lab, alpha)
    answer = lab.get(alpha.url("web", "/members/"), "member")
    assert answer.status_code == 200
    assert uid in answer.text


def test_public_page_is_open_to_everybody(lab: Lab, alpha: Made) -> None:
    assert lab.get(alpha.url("web", "/")).status_code == 200


def test_member_commits_and_checks_out(lab: Lab, alpha: Made, tmp_path: Path) -> None:
    _admit(lab, alpha)
    url = alpha.url("svn")
    name = f"note-{time.time_ns()}.txt"
    first = svn(lab, "member", url, "checkout", url, "first", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    (tmp_path / "first" / name).write_text("écrit par un membre\n")
    assert svn(lab, "member", url, "add", f"first/{name}", folder=tmp_path).returncode == 0
    commit = svn(lab, "member", url, "commit", "-m", "a note", "first", folder=tmp_path)
    assert commit.returncode == 0, commit.stderr
    copy = svn(
        lab, "member", url, "copy", "-m", "a copy", f"{url}/{name}", f"{url}/copy-{name}", folder=tmp_path
    )
    assert copy.returncode == 0, copy.stderr
    second = svn(lab, "member", url, "checkout", url, "second", folder=tmp_path)
    assert second.returncode == 0, second.stderr
    assert (tmp_path / "second" / f"copy-{name}").read_text() == "écrit par un membre\n"
    log = svn(lab, "member", url, "log", "--limit", "1", url, folder=tmp_path)
    assert lab.accounts["member"].uid in log.stdout


def test_outsider_is_refused_at_both(lab: Lab, alpha: Made, tmp_path: Path) -> None:
    assert lab.get(alpha.url("web", "/members/"), "outsider").status_code in (401, 403)
    assert lab.get(alpha.url("svn"), "outsider").status_code in (401, 403)
    assert svn(lab, "outsider", alpha.url("svn"), "list", alpha.url("svn"), folder=tmp_path).returncode != 0


def test_nobody_gets_in_without_a_password_or_with_a_wrong_one(lab: Lab, alpha: Made) -> None:
    _admit(lab, alpha)
    for url in (alpha.url("web", "/members/"), alpha.url("svn")):
        assert lab.get(url).status_code == 401


def test_removed_member_is_refused_within_five_seconds(lab: Lab, alpha: Made) -> None:
    uid = _admit(lab, alpha)
    urls = [alpha.url("web", "/members/"), alpha.url("svn") + "/"]
    assert [lab.get(url, "member").status_code for url in urls] == [200, 200]
    removed = time.monotonic()
    alpha.owner("DELETE", f"/platforms/alpha/members/{uid}")

    def refused() -> bool:
        return all(lab.get(url, "member").status_code in (401, 403) for url in urls)

    wait_for(refused, 30, "the removed member to be refused", every_s=0.1)
    assert time.monotonic() - removed < 5
