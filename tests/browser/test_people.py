"""Somebody from outside: invited by an owner, with the link of the mail in Chromium, and then at a real service through the edge."""

from __future__ import annotations

import email
import email.policy
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from deploy.client import Lab, wait_for
from tests.browser.flow import chromium, logged_in
from tests.lab_world import ROOT, Made

LINK = re.compile(r"https?://\S+/placo_[A-Za-z0-9_-]{43}/")
VOID = "This invitation cannot be accepted"
PASSWORD = "seven grey whales sing"
REFUSED_WITHIN_S = 5


@dataclass(frozen=True)
class Invited:
    """Somebody whom the owner has invited, with a name that nobody had before."""

    mail: str
    name: str
    link: str

    @property
    def uid(self) -> str:
        return f"g-{self.name}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def mailed_link(lab: Lab, address: str, *, but: str = "") -> str:
    """The link in the mail to this address, another one than `but`: the lab's mails are files, several of them in one."""

    def found() -> str | None:
        for file in (lab.root / "mail").glob("*"):
            for text in re.split(r"^-{79}$", file.read_text(encoding="utf-8"), flags=re.MULTILINE):
                mail = email.message_from_string(text.lstrip(), policy=email.policy.default)
                body = mail.get_body(("plain",)) if address in str(mail["To"]) else None
                links = LINK.findall(body.get_content()) if body else []
                if links and links[0] != but:
                    return str(links[0])
        return None

    return wait_for(found, 30, f"the mail to {address}")


def invite(lab: Lab, browser: Browser, made: Made, name: str) -> Invited:
    """As the owner does it, on the platform's page of people."""
    number = time.time_ns()
    address = f"{name}-{number}@elsewhere.test"
    context, page = logged_in(browser, lab, "owner")
    page.goto(f"/platforms/{made.slug}/people/")
    page.locator("form[action$='/invite/'] input[name=mail]").fill(address)
    page.locator("form[action$='/invite/'] button").click()
    expect(page.locator("main")).to_contain_text(address)
    context.close()
    return Invited(address, f"{name}{number % 10**9}", mailed_link(lab, address))


def opened(browser: Browser, link: str) -> tuple[int, Page]:
    """A window of nobody's who follows a link: the status of the page where it ends, and the page."""
    page = browser.new_context(locale="en-GB").new_page()
    answer = page.goto(link)
    assert answer is not None
    return answer.status, page


def make_account(page: Page, who: Invited) -> None:
    page.get_by_label("Your name").fill("Irène Joliot")
    page.get_by_label("Account").fill(who.name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password, once more").fill(PASSWORD)
    page.get_by_role("button", name="Make the account and accept").click()


def log_in(page: Page, who: Invited) -> None:
    page.goto("/login/")
    page.get_by_label("Account").fill(who.uid)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page).not_to_have_url(re.compile("/login/"))


@pytest.fixture(scope="module")
def guest(lab: Lab, browser: Browser, beta: Made) -> Iterator[Invited]:
    """Somebody who has come by the link of a mail and made an account."""
    who = invite(lab, browser, beta, "irene")
    status, page = opened(browser, who.link)
    assert status == 200
    assert "placo_" not in page.url, "the link is not where a browser tells it to others"
    make_account(page, who)
    page.wait_for_url(re.compile(f"/platforms/{beta.slug}/"))
    expect(page.locator("main, .alert").first).to_be_visible()
    assert who.uid in page.locator("body").inner_text()
    yield who
    beta.owner.client.delete(f"/platforms/{beta.slug}/members/{who.uid}")


def test_a_guest_logs_in_at_a_real_service(lab: Lab, browser: Browser, beta: Made, guest: Invited) -> None:
    page = beta.url("web", "/members/")
    wait_for(
        lambda: lab.get(page, auth=(guest.uid, PASSWORD)).status_code == 200, 30, "the guest to be let in"
    )
    assert lab.get(page, auth=(guest.uid, PASSWORD + "x")).status_code == 401
    context = browser.new_context(
        ignore_https_errors=True, http_credentials={"username": guest.uid, "password": PASSWORD}
    )
    seen = context.new_page()
    seen.goto(page)
    assert guest.uid in seen.locator("body").inner_text()
    context.close()


def test_a_guest_sees_that_platform_in_the_portal_and_no_other(
    lab: Lab, browser: Browser, beta: Made, guest: Invited
) -> None:
    context = browser.new_context(base_url=lab.portal, locale="en-GB")
    page = context.new_page()
    log_in(page, guest)
    for slug, status in ((beta.slug, 200), ("gamma", 404)):
        answer = page.goto(f"/platforms/{slug}/")
        assert answer is not None and answer.status == status, slug
    context.close()


def test_the_same_link_works_once(lab: Lab, browser: Browser, beta: Made, guest: Invited) -> None:
    status, page = opened(browser, guest.link)
    assert status == 410
    expect(page.locator("main")).to_contain_text(VOID)
    assert page.get_by_label("Password", exact=True).count() == 0


@pytest.mark.parametrize("place", [6, 27, 48])
def test_an_altered_link_leads_nowhere(lab: Lab, browser: Browser, beta: Made, place: int) -> None:
    """Whichever letter of it is another one; and the link as it was sent still works afterwards."""
    who = invite(lab, browser, beta, "eve")
    head, token = who.link.rstrip("/").rsplit("/", 1)
    other = "A" if token[place] != "A" else "B"
    status, page = opened(browser, f"{head}/{token[:place]}{other}{token[place + 1 :]}/")
    assert status == 410
    expect(page.locator("main")).to_contain_text(VOID)
    assert opened(browser, who.link)[0] == 200


def test_a_late_link_is_refused(lab: Lab, browser: Browser, beta: Made) -> None:
    """Also to who opened it in time and sends the form afterwards."""
    who = invite(lab, browser, beta, "zoe")
    status, early = opened(browser, who.link)
    assert status == 200
    pass_its_time(lab, who)
    make_account(early, who)
    expect(early.locator("main")).to_contain_text(VOID)
    status, page = opened(browser, who.link)
    assert status == 410
    expect(page.locator("main")).to_contain_text(VOID)
    assert lab.api("admin").status("GET", f"/people/{who.uid}") == 404, "no account was made"


def pass_its_time(lab: Lab, who: Invited) -> None:
    """As if the days in which an invitation may be accepted were over."""
    statement = (
        "from django.utils import timezone; from placo.platforms.models import Invitation; "
        f"assert Invitation.objects.filter(mail={who.mail!r}).update(expires_at=timezone.now()) == 1"
    )
    subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", statement],
        cwd=ROOT,
        check=True,
        capture_output=True,
        env={**os.environ, "PLACO_CONFIG": str(lab.root / "placo.toml")},
    )


def test_a_guest_who_is_removed_is_refused_within_five_seconds(
    lab: Lab, browser: Browser, beta: Made, guest: Invited
) -> None:
    page = beta.url("web", "/members/")
    wait_for(lambda: lab.get(page, auth=(guest.uid, PASSWORD)).status_code == 200, 30, "the guest to be in")
    removed = time.monotonic()
    beta.owner("DELETE", f"/platforms/{beta.slug}/members/{guest.uid}")
    wait_for(
        lambda: lab.get(page, auth=(guest.uid, PASSWORD)).status_code == 401, 30, "a refusal", every_s=0.1
    )
    assert time.monotonic() - removed < REFUSED_WITHIN_S


def test_a_guest_who_leaves_is_refused_everywhere_within_five_seconds(
    lab: Lab, browser: Browser, alpha: Made, beta: Made, guest: Invited
) -> None:
    beta.owner("PUT", f"/platforms/{beta.slug}/members/{guest.uid}")
    alpha.owner("POST", f"/platforms/{alpha.slug}/invitations", mail=guest.mail)
    context = browser.new_context(base_url=lab.portal, locale="en-GB")
    log_in(context.new_page(), guest)
    page = context.pages[0]
    page.goto(mailed_link(lab, guest.mail, but=guest.link))
    page.get_by_role("button", name="Accept").click()
    page.wait_for_url(re.compile(f"/platforms/{alpha.slug}/"))
    context.close()

    pages = [made.url("web", "/members/") for made in (alpha, beta)]

    def statuses() -> set[int]:
        return {lab.get(page, auth=(guest.uid, PASSWORD)).status_code for page in pages}

    wait_for(lambda: statuses() == {200}, 30, "the guest to be in at both")
    began = time.monotonic()
    lab.api("admin")("POST", f"/people/{guest.uid}/leave")
    wait_for(lambda: statuses() == {401}, 30, "a refusal at both", every_s=0.1)
    assert time.monotonic() - began < REFUSED_WITHIN_S
