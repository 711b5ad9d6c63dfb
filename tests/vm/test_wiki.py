"""The wiki through the edge, by its own forms: pages, media, owners as administrators, and a wiki that everybody may read."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import httpx
import pytest

from deploy.client import Lab, wait_for
from tests.lab_world import Made, World
from tests.vm.guest import guest


@pytest.fixture
def writer(lab: Lab, bricks: Made, member: str) -> Iterator[httpx.Client]:
    """A member's browser."""
    with lab.visitor(bricks.url("wiki"), "member") as client:
        yield client


@pytest.fixture(scope="session")
def open_wiki(world: World) -> Made:
    """A platform whose wiki everybody may read."""
    world.ask("delta", "wiki", options={"wiki": {"public": True}})
    return world.ready("delta")


def fields(page: str) -> dict[str, str]:
    """The hidden fields of DokuWiki's edit form."""
    found = {}
    for tag in re.findall(r"<input[^>]*type=\"hidden\"[^>]*>", page):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        if name and value:
            found[name[1]] = value[1]
    return found


def save(client: httpx.Client, page: str, text: str) -> httpx.Response:
    form = client.get("/doku.php", params={"id": page, "do": "edit"})
    assert 'name="wikitext"' in form.text, form.text[:2000]
    data = {**fields(form.text), "id": page, "wikitext": text, "summary": "a test", "do[save]": "1"}
    return client.post("/doku.php", params={"id": page}, data=data)


def upload(client: httpx.Client, name: str, content: bytes) -> httpx.Response:
    token = fields(client.get("/doku.php", params={"id": "start", "do": "edit"}).text)["sectok"]
    query = {"call": "mediaupload", "ns": "", "qqfile": name, "sectok": token, "ow": "true"}
    return client.post("/lib/exe/ajax.php", params=query, content=content)


def test_a_member_writes_a_page_and_others_read_it(
    lab: Lab, bricks: Made, writer: httpx.Client, member: str
) -> None:
    page = f"projet:réunion_{time.time_ns()}"
    assert save(writer, page, "====== Réunion ======\n\nÀ **dix** heures & <b>demie</b>.").status_code in (
        200,
        302,
    )
    seen = lab.get(bricks.url("wiki").rstrip("/") + "/" + page, "owner")
    assert seen.status_code == 200
    assert "<strong>dix</strong> heures &amp; &lt;b&gt;demie&lt;/b&gt;" in seen.text
    assert save(writer, page, "Une deuxième version.").status_code in (200, 302)
    history = lab.get(bricks.url("wiki") + "doku.php", "owner", params={"id": page, "do": "revisions"})
    assert history.text.count(f"<bdi>{member}</bdi>") >= 2


def test_the_wiki_has_the_platforms_name_and_the_language_that_was_chosen(writer: httpx.Client) -> None:
    start = writer.get("/").text
    assert 'lang="fr"' in start and "<title>start [bricks]</title>" in start
    assert "Ce wiki est à vous" in start


def test_a_file_of_thirty_megabytes_is_kept_and_read(lab: Lab, bricks: Made, writer: httpx.Client) -> None:
    content = b"%PDF-1.4\n" + os.urandom(30_000_000)
    answer = upload(writer, "slides.pdf", content)
    assert answer.status_code == 200 and '"success":true' in answer.text.replace(" ", ""), answer.text
    assert lab.get(bricks.url("wiki").rstrip("/") + "/_media/slides.pdf", "owner").content == content
    assert lab.get(bricks.url("wiki").rstrip("/") + "/_media/slides.pdf").status_code == 401


def test_programs_are_no_media(lab: Lab, bricks: Made, writer: httpx.Client) -> None:
    for name in ("shell.php", "shell.phtml", "page.html", ".htaccess", "../../conf/evil.php"):
        answer = upload(writer, name, b"<?php echo 6 * 7;")
        assert '"success":true' not in answer.text.replace(" ", ""), (name, answer.text)
    found = guest(lab, "bricks", bricks.machine("wiki")).run(
        "find / -xdev -name '*shell*' -path '*wiki*'; find /srv -name '*evil*'"
    )
    assert found.text == ""


def test_owners_are_administrators_and_members_are_not(lab: Lab, bricks: Made, writer: httpx.Client) -> None:
    admin = {"id": "start", "do": "admin", "page": "acl"}
    assert 'id="acl_manager"' in lab.get(bricks.url("wiki") + "doku.php", "owner", params=admin).text
    assert 'id="acl_manager"' not in writer.get("/doku.php", params=admin).text
    extension = {"id": "start", "do": "admin", "page": "extension"}
    assert (
        "extension__manager" not in lab.get(bricks.url("wiki") + "doku.php", "owner", params=extension).text
    )


@pytest.mark.parametrize(
    "path",
    [
        "/conf/local.php", "/data/pages/start.txt", "/inc/init.php", "/bin/wantedpages.php", "/install.php", "/.htaccess",
        "/vendor/autoload.php", "/lib/plugins/authplaco/auth.php", "/lib/tpl/dokuwiki/main.php", "/lib/exe/../../inc/init.php",
        "/doku.php/../inc/init.php", "/lib/plugins/authplaco/auth.PHP", "/VERSION/..%2finc/init.php",
    ],
)  # fmt: skip
def test_no_file_of_the_program_or_of_the_data_is_served(writer: httpx.Client, path: str) -> None:
    assert writer.get(path).status_code in (400, 404), path


@pytest.mark.parametrize(
    "page",
    [
        "../../../etc/passwd",
        "..:..:conf:local",
        "a%00b",
        "<script>alert(1)</script>",
        "x" * 300,
        "wiki:../../../conf/acl.auth",
    ],
)
def test_a_hostile_page_name_stays_among_the_pages(
    lab: Lab, bricks: Made, writer: httpx.Client, page: str
) -> None:
    shown = writer.get("/doku.php", params={"id": page})
    assert "<script>alert(1)" not in shown.text
    assert "root:x:0" not in shown.text and "@ALL" not in shown.text
    box = guest(lab, "bricks", bricks.machine("wiki"))
    before = box.run("ls -lR /srv/placo/wiki/conf /etc/placo | md5sum").text
    writer.post("/doku.php", data={"id": page, "wikitext": "x", "do[save]": "1"})
    assert box.run("ls -lR /srv/placo/wiki/conf /etc/placo | md5sum").text == before


def test_logging_out_is_asked_for_the_password_anew(writer: httpx.Client, lab: Lab, bricks: Made) -> None:
    token = fields(writer.get("/doku.php", params={"id": "start", "do": "edit"}).text)["sectok"]
    answer = writer.get("/doku.php", params={"id": "start", "do": "logout", "sectok": token})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == lab.get(bricks.url("wiki")).headers["www-authenticate"]
    assert "déconnecté" in answer.text


def test_a_public_wiki_is_read_by_everybody_and_written_by_members(lab: Lab, open_wiki: Made) -> None:
    url = open_wiki.url("wiki")
    start = lab.get(url)
    assert start.status_code == 200 and "This wiki is yours" in start.text
    assert 'name="wikitext"' not in lab.get(url + "doku.php", params={"id": "new", "do": "edit"}).text or (
        "readonly" in lab.get(url + "doku.php", params={"id": "new", "do": "edit"}).text
    )
    with lab.visitor(url) as stranger:
        stranger.post("/doku.php", data={"id": "graffiti", "wikitext": "x", "do[save]": "1"})
    assert (
        "graffiti.txt"
        not in guest(lab, "delta", open_wiki.machine("wiki")).run("ls /srv/placo/wiki/data/pages").text
    )
    login = url + "doku.php?id=start&do=login"
    assert lab.get(login).status_code == 401
    assert lab.get(login, "outsider").status_code == 401
    assert lab.get(url, "outsider").status_code == 401
    assert lab.get(login, "owner").status_code in (200, 302)
    with lab.visitor(url, "owner") as owner:
        save(owner, "welcome", "Written by the owner.")
    wait_for(lambda: "Written by the owner." in lab.get(url + "welcome").text, 10, "the page")
