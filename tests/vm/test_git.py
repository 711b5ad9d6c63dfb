"""Git through the edge with git itself: owners make repositories, members use them, odd names lead nowhere."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from deploy.client import Lab, name_resolution, wait_for
from tests.lab_world import Made
from tests.vm.guest import guest

Git = Callable[..., subprocess.CompletedProcess[str]]
HELPER = '!f() { test "$1" = get && echo "username=$PLACO_NAME" && echo "password=$PLACO_PASSWORD"; }; f'


@pytest.fixture
def site(bricks: Made) -> str:
    return bricks.url("git").rstrip("/")


@pytest.fixture
def git(lab: Lab, site: str, tmp_path: Path, member: str) -> Git:
    """git(role, arguments ...) in a folder of its own; the password comes from a credential helper, as in an editor."""

    def run(
        role: str, *arguments: str, folder: str = ".", succeeds: bool = True
    ) -> subprocess.CompletedProcess[str]:
        account = lab.accounts[role]
        settings = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "PLACO_NAME": account.uid,
            "PLACO_PASSWORD": account.password,
        }
        options = {
            "http.sslCAInfo": str(lab.ca),
            "credential.helper": HELPER,
            "user.name": role,
            "user.email": f"{role}@example.org",
            "init.defaultBranch": "trunk",
            "protocol.version": "2",
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with name_resolution([httpx.URL(site).host]) as prefix:
            done = subprocess.run(
                [*prefix, "git", *words, *arguments],
                capture_output=True,
                text=True,
                cwd=tmp_path / folder,
                env=settings,
                timeout=300,
                check=False,
            )
        assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def thesis(git: Git, site: str, tmp_path: Path) -> str:
    """A repository that the owner has made by pushing to it, with one commit on `trunk`; removed afterwards."""
    first = tmp_path / "first"
    git("owner", "init", "--quiet", "first")
    (first / "README.md").write_text("# Thèse\n<script>alert('here')</script>\n", encoding="utf-8")
    git("owner", "add", ".", folder="first")
    git("owner", "commit", "--quiet", "-m", "A beginning", folder="first")
    url = f"{site}/thesis-2.0.git"
    git("owner", "push", "--quiet", url, "trunk", folder="first")
    return url


@pytest.fixture(autouse=True)
def _nothing_is_left(lab: Lab, site: str) -> object:
    yield
    lab.request("DELETE", f"{site}/thesis-2.0.git", "owner")


def test_owner_makes_a_repository_and_a_member_works_in_it(
    git: Git, thesis: str, tmp_path: Path, lab: Lab, site: str, member: str
) -> None:
    git("member", "clone", "--quiet", thesis.removesuffix(".git"), "copy")
    assert "Thèse" in (tmp_path / "copy" / "README.md").read_text(encoding="utf-8")
    (tmp_path / "copy" / "chapter.txt").write_text("écrit par un membre\n", encoding="utf-8")
    git("member", "add", ".", folder="copy")
    git("member", "commit", "--quiet", "-m", "A chapter by a member", folder="copy")
    git("member", "push", "--quiet", folder="copy")
    git("member", "push", "--quiet", "origin", "HEAD:refs/heads/draft", folder="copy")
    git("owner", "pull", "--quiet", thesis, "trunk", folder="first")
    assert (tmp_path / "first" / "chapter.txt").read_text(encoding="utf-8") == "écrit par un membre\n"

    assert "thesis-2.0" in lab.get(f"{site}/", "member").text
    log = lab.get(f"{site}/thesis-2.0/log/", "member")
    assert log.status_code == 200 and "A chapter by a member" in log.text
    assert "Thèse" in lab.get(f"{site}/thesis-2.0/about/", "member").text
    assert lab.get(f"{site}/thesis-2.0/plain/chapter.txt", "member").text == "écrit par un membre\n"


def test_a_removed_member_is_refused_by_git_itself(
    git: Git, thesis: str, bricks: Made, member: str, tmp_path: Path
) -> None:
    git("member", "clone", "--quiet", thesis, "copy")
    (tmp_path / "copy" / "late.txt").write_text("too late\n", encoding="utf-8")
    git("member", "add", ".", folder="copy")
    git("member", "commit", "--quiet", "-m", "Too late", folder="copy")
    removed = time.monotonic()
    bricks.owner("DELETE", f"/platforms/bricks/members/{member}")

    tried = removed

    def refused() -> bool:
        nonlocal tried
        tried = time.monotonic()
        with contextlib.suppress(AssertionError):
            git("member", "ls-remote", thesis, succeeds=False)
            return True
        return False

    wait_for(refused, 30, "git to be refused", every_s=0.1)
    assert tried - removed < 5, "who comes after that is refused, however long their program takes"
    for words in (("push", "--quiet"), ("fetch", "--quiet")):
        git("member", *words, folder="copy", succeeds=False)
    git("owner", "pull", "--quiet", thesis, "trunk", folder="first")
    assert not (tmp_path / "first" / "late.txt").exists()


def test_what_members_write_is_not_run_in_browsers(lab: Lab, thesis: str, site: str) -> None:
    about = lab.get(f"{site}/thesis-2.0/about/", "owner")
    assert "&lt;script&gt;" in about.text and "<script>alert" not in about.text
    assert "script-src" not in about.headers["content-security-policy"]
    assert "default-src 'none'" in about.headers["content-security-policy"]
    assert (
        lab.get(f"{site}/thesis-2.0/plain/README.md", "owner")
        .headers["content-type"]
        .startswith("text/plain")
    )


def test_only_owners_make_and_remove_repositories(
    git: Git, thesis: str, site: str, lab: Lab, bricks: Made
) -> None:
    refused = git("member", "push", f"{site}/mine.git", "trunk", folder="first", succeeds=False)
    assert "Only an owner" in refused.stderr
    assert lab.request("DELETE", thesis, "member").status_code == 403
    assert git("member", "ls-remote", thesis).stdout.count("trunk") == 1
    git("member", "ls-remote", f"{site}/nowhere.git", succeeds=False)
    git("owner", "ls-remote", f"{site}/nowhere.git", succeeds=False)
    # What a page of another site could have an owner's browser ask for.
    lure = f"{site}/lure.git/info/refs?service=git-receive-pack"
    assert lab.get(lure, "owner", headers={"Sec-Fetch-Mode": "no-cors"}).status_code == 403
    there = guest(lab, "bricks", bricks.machine("git")).run("ls -A /srv/placo/git").text.split()
    assert there == ["thesis-2.0.git"]
    assert lab.request("DELETE", thesis, "owner").status_code == 200
    assert lab.request("DELETE", thesis, "owner").status_code == 404


def test_outsiders_get_nothing(git: Git, thesis: str) -> None:
    for arguments in (["ls-remote", thesis], ["push", thesis, "HEAD:refs/heads/x"]):
        assert "Authentication failed" in git("outsider", *arguments, folder="first", succeeds=False).stderr


def test_a_push_of_twenty_megabytes(git: Git, thesis: str, tmp_path: Path) -> None:
    data = os.urandom(20_000_000)
    (tmp_path / "first" / "measurements.bin").write_bytes(data)
    git("owner", "add", ".", folder="first")
    git("owner", "commit", "--quiet", "-m", "Measurements", folder="first")
    git("owner", "push", "--quiet", thesis, "trunk", folder="first")
    git("member", "clone", "--quiet", thesis, "big")
    assert (tmp_path / "big" / "measurements.bin").read_bytes() == data


@pytest.mark.parametrize(
    "name",
    [
        "%2e%2e/evil.git", "..%2fevil.git", ".hidden.git", "-x.git", "a/b.git", "a%2fb.git", "a%00b.git",
        "a%0ab.git", "$(reboot).git", "a;id.git", "a b.git", "a..b.git", "x.git.git", "x.lock.git", "é.git",
        "-/door/%2e%2e%2fevil.git", "-/door/.evil.git", "a" * 65 + ".git",
    ],
)  # fmt: skip
def test_a_hostile_name_makes_nothing(lab: Lab, site: str, bricks: Made, thesis: str, name: str) -> None:
    box = guest(lab, "bricks", bricks.machine("git"))
    before = box.run("find / -xdev -name '*evil*' | grep -v ^/proc; ls -A /srv/placo/git /srv/placo").text
    for tail in ("/info/refs?service=git-receive-pack", "/git-receive-pack", "/config", "/HEAD"):
        answer = lab.get(f"{site}/{name}{tail}", "owner")
        assert answer.status_code in (400, 403, 404, 405), (tail, answer.status_code)
        assert "[core]" not in answer.text
    assert (
        box.run("find / -xdev -name '*evil*' | grep -v ^/proc; ls -A /srv/placo/git /srv/placo").text
        == before
    )


@pytest.mark.parametrize("path", ["/../evil.git", "/x/../../evil.git", "/thesis-2.0.git/../../../etc/passwd"])
def test_a_path_that_climbs_is_not_tidied_up_by_the_client(
    lab: Lab, site: str, bricks: Made, thesis: str, path: str
) -> None:
    account, (host, _, port) = lab.accounts["owner"], lab.edge.partition(":")
    address = httpx.URL(site)
    done = subprocess.run(
        [
            *("curl", "--silent", "--path-as-is", "--config", "-", "--cacert", str(lab.ca)),
            *("--connect-to", f"{address.host}:{address.port}:{host}:{port}"),
            *("--write-out", "%{http_code}", f"{site}{path}/config"),
        ],
        input=f'user = "{account.uid}:{account.password}"',
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout[-3:] in ("400", "403", "404"), done.stdout
    assert "[core]" not in done.stdout and "root:" not in done.stdout
    assert guest(lab, "bricks", bricks.machine("git")).run("ls -A /srv/placo/git").text == "thesis-2.0.git\n"
