"""Calendars and address books through the edge, as CalDAV and CardDAV clients find and use them (RFC 4791, 6352, 6764)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from deploy.client import Lab, name_resolution, wait_for
from tests.lab_world import ROOT, Made
from tests.vm.mail import told

Dav = Callable[..., httpx.Response]

EVENT = """BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//placo//test//\r
BEGIN:VEVENT\r
UID:{uid}\r
DTSTAMP:20260101T000000Z\r
DTSTART:20260310T090000Z\r
DTEND:20260310T100000Z\r
SUMMARY:Réunion d'équipe\r
END:VEVENT\r
END:VCALENDAR\r
"""
CARD = "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{uid}\r\nFN:Sofia Kovalevskaïa\r\nN:Kovalevskaïa;Sofia;;;\r\nEMAIL:sofia@example.org\r\nEND:VCARD\r\n"
QUERY = """<?xml version="1.0"?><C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
<D:prop><D:getetag/><C:calendar-data/></D:prop><C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT">
<C:time-range start="{start}" end="{end}"/></C:comp-filter></C:comp-filter></C:filter></C:calendar-query>"""
CARDS = """<?xml version="1.0"?><C:addressbook-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav">
<D:prop><C:address-data/></D:prop><C:filter/></C:addressbook-query>"""


def props(*names: str) -> str:
    wanted = "".join(f"<{name}/>" for name in names)
    spaces = 'xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:A="urn:ietf:params:xml:ns:carddav"'
    return f'<?xml version="1.0"?><D:propfind {spaces}><D:prop>{wanted}</D:prop></D:propfind>'


@pytest.fixture
def dav(lab: Lab, bricks: Made, member: str) -> Dav:
    """dav(role, method, path, body) with the headers that clients send."""

    def ask(role: str, method: str, path: str, body: str = "", **headers: str) -> httpx.Response:
        kind = "text/xml; charset=utf-8" if body.startswith("<") else "text/calendar; charset=utf-8"
        url = bricks.url("agenda").rstrip("/") + path
        given = {"Content-Type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return lab.request(method, url, role, content=body.encode(), headers=given)

    return ask


@pytest.fixture
def homes(lab: Lab, member: str) -> dict[str, str]:
    return {role: f"/{lab.accounts[role].uid}/" for role in ("owner", "member")}


@pytest.fixture
def event(dav: Dav, homes: dict[str, str]) -> Iterator[str]:
    """The name of an event that a member has put into the shared calendar."""
    made = dav(
        "member",
        "PUT",
        f"{homes['member']}platform-calendar/meeting.ics",
        EVENT.format(uid="meeting"),
        If_None_Match="*",
    )
    assert made.status_code == 201
    yield "platform-calendar/meeting.ics"
    dav("owner", "DELETE", f"{homes['owner']}platform-calendar/meeting.ics")


def hrefs(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 207, answer.text
    return re.findall(r"<response>\s*<href>([^<]*)", answer.text)


@pytest.mark.parametrize(
    ("service", "home_set", "kind", "collections"),
    [
        ("caldav", "C:calendar-home-set", "<C:calendar />", {"calendar/", "platform-calendar/"}),
        ("carddav", "A:addressbook-home-set", "<CR:addressbook />", {"contacts/", "platform-contacts/"}),
    ],
)
def test_a_client_that_knows_the_address_finds_everything(
    dav: Dav, homes: dict[str, str], service: str, home_set: str, kind: str, collections: set[str]
) -> None:
    begin = dav("member", "PROPFIND", f"/.well-known/{service}", props("D:current-user-principal"), Depth="0")
    assert begin.status_code == 301
    start = httpx.URL(begin.headers["location"]).path
    found = dav("member", "PROPFIND", start, props("D:current-user-principal"), Depth="0")
    [principal] = re.findall(r"<current-user-principal>\s*<href>([^<]*)", found.text)
    assert principal == homes["member"]
    found = dav("member", "PROPFIND", principal, props(home_set), Depth="0")
    [home] = re.findall(r"home-set>\s*<href>([^<]*)", found.text)
    listed = dav("member", "PROPFIND", home, props("D:resourcetype", "D:displayname"), Depth="1")
    of_kind = {
        href
        for part in listed.text.split("<response>")[1:]
        if kind in part
        for href in re.findall(r"^\s*<href>([^<]*)", part)
    }
    assert of_kind == {home + name for name in collections}
    assert "Private" in listed.text


def test_a_shared_event_is_seen_and_changed_by_all_and_lost_updates_are_refused(
    dav: Dav, homes: dict[str, str], event: str
) -> None:
    path = homes["owner"] + event
    seen = dav("owner", "GET", path)
    assert "Réunion d'équipe" in seen.text
    etag = seen.headers["etag"]
    changed = seen.text.replace("Réunion", "Grande réunion")
    assert dav("owner", "PUT", path, changed, If_Match=etag).status_code in (201, 204)
    assert "Grande réunion" in dav("member", "GET", homes["member"] + event).text
    assert dav("member", "PUT", homes["member"] + event, seen.text, If_Match=etag).status_code == 412


# --- a client of its own ---


@pytest.fixture
def client(lab: Lab, bricks: Made, member: str) -> Callable[..., dict[str, Any]]:
    """client(role, add=..., password=...): what the library caldav finds in March 2026."""

    def run(role: str, **wish: str) -> dict[str, Any]:
        account = lab.accounts[role]
        asked = {"uid": account.uid, "password": account.password, "month": "2026-03", **wish}
        url = bricks.url("agenda")
        with name_resolution([httpx.URL(url).host]) as prefix:
            done = subprocess.run(
                [*prefix, sys.executable, "-m", "tests.vm.caldav_client", url, str(lab.ca)],
                input=json.dumps(asked),
                capture_output=True,
                text=True,
                cwd=ROOT,
                timeout=200,
                check=False,
            )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


def test_members_share_events_with_a_real_client_and_nobody_else_does(
    lab: Lab,
    bricks: Made,
    member: str,
    client: Callable[..., dict[str, Any]],
    dav: Dav,
    homes: dict[str, str],
) -> None:
    try:
        added = client("member", add=EVENT.format(uid="by-caldav"))
        assert added["calendars"] == ["calendar", "platform-calendar"]
        assert added["events"] == client("owner")["events"] == ["Réunion d'équipe"]
        assert client("outsider")["refused"]
        assert client("member", password="not the password")["refused"]
        bricks.owner("DELETE", f"/platforms/bricks/members/{member}")
        wait_for(lambda: client("member")["refused"], 5, "the removed member to be refused", every_s=0.1)
        assert client("owner")["events"] == ["Réunion d'équipe"]
    finally:
        dav("owner", "DELETE", f"{homes['owner']}platform-calendar/by-caldav.ics")


def test_programs_find_the_server_by_its_name(lab: Lab, bricks: Made) -> None:
    """RFC 6764: where it is, and where to begin."""
    url = httpx.URL(bricks.url("agenda"))
    for kind in ("caldavs", "carddavs"):
        name = f"_{kind}._tcp.{url.host}"
        assert told(lab, name, "SRV") == [f"0 1 {url.port} {url.host}."]
        assert told(lab, name, "TXT") == ['"path=/"']


def test_events_of_a_time_are_found(dav: Dav, homes: dict[str, str], event: str) -> None:
    calendar = homes["owner"] + "platform-calendar/"
    month = dav(
        "owner", "REPORT", calendar, QUERY.format(start="20260301T000000Z", end="20260401T000000Z"), Depth="1"
    )
    assert hrefs(month) == [homes["owner"] + event]
    before = dav(
        "owner", "REPORT", calendar, QUERY.format(start="20250301T000000Z", end="20250401T000000Z"), Depth="1"
    )
    assert hrefs(before) == []


def test_a_shared_contact_is_seen_by_all(dav: Dav, homes: dict[str, str]) -> None:
    name = "platform-contacts/sofia.vcf"
    made = dav(
        "member",
        "PUT",
        homes["member"] + name,
        CARD.format(uid="sofia"),
        Content_Type="text/vcard; charset=utf-8",
    )
    assert made.status_code == 201
    found = dav("owner", "REPORT", homes["owner"] + "platform-contacts/", CARDS, Depth="1")
    assert "sofia@example.org" in found.text and "Kovalevskaïa" in found.text
    assert dav("owner", "DELETE", homes["owner"] + name).status_code in (200, 204)
    assert dav("member", "GET", homes["member"] + name).status_code == 404


def test_what_is_private_is_private(dav: Dav, homes: dict[str, str]) -> None:
    path = homes["member"] + "calendar/secret.ics"
    assert dav("member", "PUT", path, EVENT.format(uid="secret")).status_code == 201
    assert dav("member", "MKCALENDAR", homes["member"] + "mine/").status_code == 201
    for method, where in (
        ("GET", path), ("DELETE", path), ("PUT", path), ("PROPFIND", homes["member"]), ("REPORT", homes["member"] + "calendar/"),
        ("MKCALENDAR", homes["member"] + "planted/"), ("PROPFIND", homes["owner"] + ".." + homes["member"]),
    ):  # fmt: skip
        for forged in (
            {},
            {"X_Remote_User": homes["member"].strip("/")},
            {"X_Script_Name": homes["member"].rstrip("/")},
        ):
            answer = dav("owner", method, where, EVENT.format(uid="x") if method == "PUT" else "", **forged)
            assert answer.status_code == 403, (method, where, forged)
            assert "secret" not in answer.text
    assert dav("owner", "MOVE", path, Destination=f"{path}x").status_code in (403, 502)
    assert dav("member", "DELETE", homes["member"] + "mine/").status_code in (200, 204)
    assert dav("member", "DELETE", path).status_code in (200, 204)


@pytest.mark.parametrize(
    "name", ["platform-calendar/", "platform-contacts", "", "%70latform-calendar/", "/platform-calendar/"]
)
@pytest.mark.parametrize("method", ["DELETE", "PUT", "PROPPATCH", "MKCOL", "MKCALENDAR", "MOVE"])
def test_nobody_takes_away_what_is_shared(
    dav: Dav, homes: dict[str, str], event: str, method: str, name: str
) -> None:
    target = homes["member"] + name
    assert dav("member", method, target, Destination=f"{homes['member']}elsewhere/").status_code in (
        400,
        403,
        405,
    )
    assert dav("member", "GET", homes["member"] + event).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["../../../etc/x.ics", "%2e%2e%2f%2e%2e%2fx.ics", ".Radicale.props", ".Radicale.cache/x", "a%00b.ics"],
)
def test_a_hostile_name_writes_nothing(dav: Dav, homes: dict[str, str], name: str) -> None:
    answer = dav("member", "PUT", homes["member"] + "calendar/" + name, EVENT.format(uid="hostile"))
    assert answer.status_code in (400, 403, 404, 405, 409), answer.status_code


def test_a_browser_is_told_how_to_connect(lab: Lab, bricks: Made, member: str) -> None:
    url = bricks.url("agenda")
    answer = lab.get(url, "member")
    assert answer.status_code == 302
    page = lab.get(url.rstrip("/") + httpx.URL(answer.headers["location"]).path, "member")
    assert url in page.text and "Thunderbird" in page.text
