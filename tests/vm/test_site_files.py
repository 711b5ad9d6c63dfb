"""Pages come to a web site over WebDAV: with rclone, and with requests that no honest client sends."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from deploy.client import Lab, name_resolution, wait_for
from tests.lab_world import Made, World

Rclone = Callable[..., subprocess.CompletedProcess[str]]
PAGE = "<!doctype html><title>Theory</title><p>Théorie"


@pytest.fixture
def files(lab: Lab, beta: Made) -> Iterator[str]:
    """The address of `beta`'s files; what a test brings there is taken away. `member` is a member."""
    membership = f"/platforms/beta/members/{lab.accounts['member'].uid}"
    beta.owner("PUT", membership)
    url = beta.url("web", "/dav/")
    wait_for(lambda: lab.get(url, "member").status_code == 200, 30, "the member to be let in")
    yield url
    for name in ("theory/", "theory", "placo-test.php", "placo-test.shtml"):
        for part in ("public", "members"):
            lab.request("DELETE", f"{url}{part}/{name}", "owner")
    beta.owner.client.delete(membership)  # the test of removal has done it already


@pytest.fixture
def rclone(lab: Lab, files: str) -> Rclone:
    """rclone(role, arguments ...): "site:" is the address of the files."""

    def run(role: str, *arguments: str | Path, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
        account = lab.accounts[role]
        obscured = subprocess.run(
            ["rclone", "obscure", "-"], input=account.password, capture_output=True, text=True, check=True
        )
        settings = {
            "PATH": os.environ["PATH"],
            "RCLONE_CONFIG": "/nonexistent",
            "RCLONE_CA_CERT": str(lab.ca),
            "RCLONE_CONFIG_SITE_TYPE": "webdav",
            "RCLONE_CONFIG_SITE_URL": files,
            "RCLONE_CONFIG_SITE_USER": account.uid,
            "RCLONE_CONFIG_SITE_PASS": obscured.stdout.strip(),
            "RCLONE_RETRIES": "1",
        }
        with name_resolution([httpx.URL(files).host]) as prefix:
            done = subprocess.run(
                [*prefix, "rclone", *(str(word) for word in arguments)],
                capture_output=True,
                text=True,
                env=settings,
                timeout=200,
                check=False,
            )
        assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
        return done

    return run


def test_a_member_brings_a_folder_and_takes_it_away(
    rclone: Rclone, lab: Lab, beta: Made, tmp_path: Path
) -> None:
    (tmp_path / "theory" / "a b").mkdir(parents=True)
    (tmp_path / "theory" / "index.html").write_text(PAGE, encoding="utf-8")
    (tmp_path / "theory" / "a b" / "données.csv").write_text("x;y\n1;2\n", encoding="utf-8")
    rclone("member", "copy", tmp_path / "theory", "site:public/theory")
    site = beta.url("web", "/")
    assert lab.get(f"{site}theory/").text == PAGE
    assert lab.get(f"{site}theory/a%20b/donn%C3%A9es.csv").text == "x;y\n1;2\n"
    assert "index.html" in rclone("owner", "lsf", "site:public/theory").stdout
    rclone("member", "moveto", "site:public/theory", "site:members/theory")
    assert lab.get(f"{site}theory/").status_code == 404
    assert lab.get(f"{site}members/theory/").status_code == 401
    assert lab.get(f"{site}members/theory/", "owner").text == PAGE
    rclone("owner", "purge", "site:members/theory")
    assert lab.get(f"{site}members/theory/", "owner").status_code == 404


def test_programs_run_in_the_site_and_are_read_among_the_files(lab: Lab, beta: Made, files: str) -> None:
    site, source = beta.url("web", "/"), "<?php echo 6 * 7;"
    assert lab.request("PUT", f"{files}public/placo-test.php", "member", content=source).status_code == 201
    assert lab.get(f"{site}placo-test.php").text == "42"
    assert lab.get(f"{files}public/placo-test.php", "member").text == source
    include = '<!--#echo var="REMOTE_USER" -->'
    lab.request("PUT", f"{files}members/placo-test.shtml", "member", content=include)
    assert lab.get(f"{site}members/placo-test.shtml", "member").text == lab.accounts["member"].uid
    answer = lab.get(f"{files}members/placo-test.shtml", "member")
    assert answer.text == include
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("role, status", [("outsider", 401), (None, 401)])
def test_nobody_else_reads_or_writes(lab: Lab, beta: Made, files: str, role: str | None, status: int) -> None:
    for method in ("GET", "PROPFIND", "PUT", "DELETE", "MKCOL", "MOVE", "COPY", "LOCK", "PROPPATCH"):
        assert lab.request(method, f"{files}public/index.html", role).status_code == status, method
    assert lab.get(beta.url("web", "/")).status_code == 200


def test_a_removed_member_is_refused(
    lab: Lab, beta: Made, files: str, rclone: Rclone, tmp_path: Path
) -> None:
    (tmp_path / "late").write_text("too late")
    rclone("member", "lsf", "site:public")
    beta.owner("DELETE", f"/platforms/beta/members/{lab.accounts['member'].uid}")
    wait_for(
        lambda: lab.request("PUT", f"{files}public/theory", "member", content=b"x").status_code == 401,
        5,
        "the removed member to be refused",
    )
    for words in (("copyto", tmp_path / "late", "site:public/late"), ("lsf", "site:public")):
        assert "401" in rclone("member", *words, succeeds=False).stderr
    assert lab.get(f"{files}public/late", "owner").status_code == 404


def test_the_site_is_read_with_curl(lab: Lab, beta: Made, files: str) -> None:
    """Public pages by anybody, members' pages by members."""
    page = httpx.URL(beta.url("web", "/members/"))
    host, _, port = lab.edge.partition(":")

    def curl(role: str | None, url: str) -> str:
        account = lab.accounts[role] if role else None
        done = subprocess.run(
            [
                *("curl", "--silent", "--config", "-", "--cacert", str(lab.ca), "--max-time", "60"),
                *("--write-out", "\n%{http_code}", "--resolve", f"{page.host}:{page.port}:{host}", url),
            ],
            input=f'user = "{account.uid}:{account.password}"' if account else "",
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done
        return done.stdout

    assert page.port == int(port)
    assert curl(None, beta.url("web", "/")).endswith("\n200")
    for role in ("member", "owner"):
        found = curl(role, str(page))
        assert found.endswith("\n200") and lab.accounts[role].uid in found
    for nobody in (None, "outsider"):
        assert curl(nobody, str(page)).endswith("\n401")


def test_no_page_writes_in_its_readers_name(lab: Lab, files: str) -> None:
    script = {"Sec-Fetch-Mode": "cors"}
    for method in ("PUT", "DELETE", "MKCOL", "PROPPATCH", "POST"):
        answer = lab.request(method, f"{files}public/theory", "member", headers=script)
        assert answer.status_code == 403, method
    assert lab.get(f"{files}public/", "member", headers={"Sec-Fetch-Mode": "navigate"}).status_code == 200


def test_the_two_parts_stay(lab: Lab, beta: Made, files: str) -> None:
    origin = httpx.URL(files)
    for part in ("public", "public/", "members", ""):
        assert lab.request("DELETE", f"{files}{part}", "owner").status_code == 403, part
        assert lab.request("MOVE", f"{files}{part}", "owner").status_code == 403, part
    assert lab.request("MKCOL", f"{files}elsewhere", "owner").status_code == 403
    lab.request("MKCOL", f"{files}public/theory", "owner")
    for target in (
        "/dav/public",
        "/dav/public/",
        "/dav/members",
        "/dav/",
        "/dav/other",
        "/dav/../dav/public",
    ):
        headers = {"Destination": f"https://{origin.netloc.decode()}{target}", "Overwrite": "T"}
        for method in ("MOVE", "COPY"):
            answer = lab.request(method, f"{files}public/theory/", "owner", headers=headers)
            assert answer.status_code in (400, 403), (method, target, answer.status_code)
    assert lab.get(beta.url("web", "/")).status_code == 200
    assert lab.get(beta.url("web", "/members/"), "owner").status_code == 200


def test_what_is_too_big_is_refused_before_it_comes(lab: Lab, files: str) -> None:
    account, url = lab.accounts["owner"], httpx.URL(files)
    token = base64.b64encode(f"{account.uid}:{account.password}".encode()).decode()
    lines = (
        "PUT /dav/public/theory HTTP/1.1",
        f"Host: {url.netloc.decode()}",
        f"Authorization: Basic {token}",
        f"Content-Length: {(512 << 20) + 1}",
    )
    host, _, port = lab.edge.partition(":")
    tls = ssl.create_default_context(cafile=str(lab.ca))
    with (
        socket.create_connection((host, int(port)), timeout=30) as plain,
        tls.wrap_socket(plain, server_hostname=url.host) as connection,
    ):
        connection.sendall("\r\n".join((*lines, "", "")).encode())
        assert connection.recv(100).split()[1] == b"413"
    assert lab.get(f"{files}public/theory", "owner").status_code == 404


@pytest.fixture(scope="module")
def strict(world: World) -> Iterator[Made]:
    """A platform whose owners alone change the pages, and whose pages are no programs."""
    world.ask("strict", "web", options={"web": {"owners_only": True, "php": False}})
    yield world.ready("strict")
    world.retire("strict")


def test_owners_alone_if_they_chose_so(lab: Lab, strict: Made) -> None:
    uid, files = lab.accounts["member"].uid, strict.url("web", "/dav/")
    strict.owner("PUT", f"/platforms/strict/members/{uid}")
    page = strict.url("web", "/members/")
    wait_for(lambda: lab.get(page, "member").status_code == 200, 30, "the member to be let in")
    assert lab.request("PUT", f"{files}public/theory", "member", content=PAGE.encode()).status_code == 403
    assert lab.get(files, "member").status_code == 403
    assert lab.request("PUT", f"{files}public/theory", "owner", content=PAGE.encode()).status_code == 201


def test_no_program_runs_if_they_chose_so(lab: Lab, strict: Made) -> None:
    files, site = strict.url("web", "/dav/"), strict.url("web", "/").removesuffix("/")
    program = b"<?php echo 6 * 7; ?>"
    for name in ("answer.php", "ANSWER.PHP", "answer.phtml", "answer.php/more"):
        stored = name.removesuffix("/more")
        assert lab.request("PUT", f"{files}public/{stored}", "owner", content=program).status_code in (
            201,
            204,
        )
        answer = lab.get(f"{site}/{name}")
        assert answer.status_code in (403, 404)
        assert "42" not in answer.text and "echo" not in answer.text
    assert lab.get(f"{files}public/answer.php", "owner").content == program, "to be brought back as it was"
