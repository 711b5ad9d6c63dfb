"""Wiki, Git and calendars: the same account, and the same people outside."""

from __future__ import annotations

import time

import pytest

from deploy.client import Lab, wait_for
from tests.lab_world import Made
from tests.vm.conftest import BRICKS

DOORS = {
    "wiki": [
        ("GET", "/start"),
        ("GET", "/_media/wiki:logo.png"),
        ("POST", "/lib/exe/ajax.php"),
        ("GET", "/feed.php"),
    ],
    "git": [("GET", "/"), ("GET", "/any.git/info/refs?service=git-upload-pack"), ("DELETE", "/any.git")],
    "agenda": [
        ("GET", "/-/index.html"),
        ("PROPFIND", "/"),
        ("REPORT", "/olivier/calendar/"),
        ("GET", "/.web/"),
    ],
}
"""What nobody may do but members."""
EVERY = [(service, method, path) for service, doors in DOORS.items() for method, path in doors]


@pytest.mark.parametrize("service", BRICKS)
def test_a_member_gets_in(lab: Lab, bricks: Made, member: str, service: str) -> None:
    answer = lab.get(bricks.url(service), "member", follow_redirects=False)
    assert answer.status_code in (200, 302)


@pytest.mark.parametrize(("service", "method", "path"), EVERY)
def test_who_is_no_member_is_refused(
    lab: Lab, bricks: Made, member: str, service: str, method: str, path: str
) -> None:
    url = bricks.url(service).rstrip("/") + path
    wrong = (member, "not the password")
    nobody = ("nobody-of-that-name", lab.accounts["member"].password)
    for auth in (
        wrong,
        nobody,
        (member, ""),
        ("*", "x"),
        (f"{member})(uid=*", lab.accounts["member"].password),
    ):
        assert lab.request(method, url, auth=auth).status_code == 401, auth
    assert lab.request(method, url, "outsider").status_code == 401
    assert lab.request(method, url).status_code == 401


def test_a_member_of_another_platform_is_refused(lab: Lab, bricks: Made, beta: Made) -> None:
    uid = lab.accounts["outsider"].uid
    beta.owner("PUT", f"/platforms/beta/members/{uid}")
    try:
        page = beta.url("web", "/members/")
        wait_for(lambda: lab.get(page, "outsider").status_code == 200, 30, f"{page} to let {uid} in")
        assert {lab.get(bricks.url(service), "outsider").status_code for service in BRICKS} == {401}
    finally:
        beta.owner("DELETE", f"/platforms/beta/members/{uid}")


def test_a_removed_member_is_refused_within_five_seconds(lab: Lab, bricks: Made, member: str) -> None:
    urls = [bricks.url(service) for service in BRICKS]
    assert all(lab.get(url, "member").status_code < 400 for url in urls)
    removed = time.monotonic()
    bricks.owner("DELETE", f"/platforms/bricks/members/{member}")
    took = {}
    for url in urls:
        wait_for(
            lambda url=url: lab.get(url, "member").status_code == 401, 30, f"{url} to refuse", every_s=0.1
        )
        took[url] = time.monotonic() - removed
    assert max(took.values()) < 5, took


@pytest.mark.parametrize("service", BRICKS)
def test_the_health_of_a_machine_is_no_secret_and_says_little(lab: Lab, bricks: Made, service: str) -> None:
    answer = lab.get(bricks.url(service).rstrip("/") + "/-/health")
    assert answer.status_code == 200
    assert not {"olivier", "bricks"} & set(answer.text.lower().split())
