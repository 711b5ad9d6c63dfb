"""Mail in the browser: Roundcube in Chromium, as members use it, and as who is none (any more) does not."""

from __future__ import annotations

import imaplib
import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from deploy.client import Account, Lab, wait_for
from tests.browser.flow import chromium
from tests.lab_world import Made, World
from tests.vm.mail import arrives, check_signature, mailbox, public_key, refusal, submission, told
from tests.vm.test_mail import REFUSED_WITHIN_S, domain_of, include, name_of, remove

SLUG = "pallas"
SLOW_MS = 60_000  # PHP where the processor is emulated
TAUGHT = 11
GOOD = "Dear colleague, the lemma about sheaves and the cohomology of this surface is proved in the last section."
JUNK = "Exclusive cheap pills, guaranteed casino jackpot: win money fast without risk, limited discount offer, click below."


@pytest.fixture(scope="module")
def pallas(world: World) -> Iterator[Made]:
    """A platform with mail, of which `member` is a member."""
    world.ask(SLUG, "webmail")
    made = world.ready(SLUG)
    include(made, world.lab.accounts["member"].uid)
    yield made
    world.retire(SLUG)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def at_the_door(browser: Browser, made: Made, account: Account, password: str | None = None) -> Page:
    """A window of its own in which somebody has sent the log-in form."""
    page = browser.new_context(ignore_https_errors=True, locale="en-GB").new_page()
    page.set_default_timeout(SLOW_MS)
    page.goto(made.url("webmail", "/"))
    page.get_by_label("Username").fill(account.uid)
    page.get_by_label("Password").fill(password or account.password)
    page.get_by_role("button", name="Login").click()
    return page


def logged_in(browser: Browser, made: Made, account: Account) -> Page:
    page = at_the_door(browser, made, account)
    expect(page).to_have_url(re.compile("_task=mail"), timeout=SLOW_MS)
    return page


def test_members_write_to_each_other_in_the_browser(lab: Lab, pallas: Made, browser: Browser) -> None:
    owner, member = lab.accounts["owner"], lab.accounts["member"]
    page = logged_in(browser, pallas, member)
    page.goto(pallas.url("webmail", "/") + "?_task=mail&_action=compose")
    expect(page.locator("#_from")).to_contain_text(f"{member.uid}@{domain_of(pallas)}")
    page.locator("#compose_to input").first.fill(f"{owner.uid}@{domain_of(pallas)}")
    page.get_by_label("Subject").fill("by-browser")
    page.locator("#composebody").fill("Lemma 3 is true after all: voilà.")
    page.locator(".send:visible").first.click()
    sent = arrives(lab, name_of(pallas), owner, "by-browser")
    (key,) = told(lab, f"placo._domainkey.{domain_of(pallas)}", "TXT")
    assert check_signature(sent, public_key(key))["d"] == domain_of(pallas)

    reader = logged_in(browser, pallas, owner)
    reader.locator("#messagelist").get_by_text("by-browser").first.dblclick()
    expect(reader.locator("#messagebody")).to_contain_text(
        "Lemma 3 is true after all: voilà.", timeout=SLOW_MS
    )
    with mailbox(lab, name_of(pallas), member) as client:
        client.select("Sent")
        assert client.search(None, "SUBJECT", "by-browser")[1][0], "a copy is kept"


def test_filters_are_made_in_the_browser_and_applied(lab: Lab, pallas: Made, browser: Browser) -> None:
    owner, member = lab.accounts["owner"], lab.accounts["member"]
    page = logged_in(browser, pallas, member)
    page.goto(pallas.url("webmail", "/") + "?_task=settings&_action=plugin.managesieve-vacation")
    page.locator("#vacation_status").select_option("on")
    page.locator("#vacation_reason").fill("In Oberwolfach until Friday.")
    page.locator("button.submit").click()
    expect(page.locator("#messagestack")).to_contain_text("saved", timeout=SLOW_MS)
    writer = logged_in(browser, pallas, owner)
    writer.goto(pallas.url("webmail", "/") + "?_task=mail&_action=compose")
    writer.locator("#compose_to input").first.fill(f"{member.uid}@{domain_of(pallas)}")
    writer.get_by_label("Subject").fill("are-you-there")
    writer.locator("#composebody").fill("?")
    writer.locator(".send:visible").first.click()
    assert b"Oberwolfach" in arrives(lab, name_of(pallas), owner, "Auto")


def test_mail_is_sorted_and_redirected_by_forms(lab: Lab, pallas: Made, browser: Browser) -> None:
    owner, member = lab.accounts["owner"], lab.accounts["member"]
    mine = f"{member.uid}@{domain_of(pallas)}"
    page = logged_in(browser, pallas, owner)
    page.goto(pallas.url("webmail", "/") + "?_task=settings&_action=plugin.managesieve")
    page.locator("a.create:visible").first.click()
    form = page.frame_locator("iframe")
    form.locator("#_name").fill("reviews")
    form.locator("[name='_rule_target[0][]']").fill("for-review")
    form.locator("#action_type0").select_option("fileinto")
    form.locator("#action_mailbox0").select_option("Drafts")
    form.locator("button.submit").click()
    expect(page.locator("#messagestack")).to_contain_text("saved", timeout=SLOW_MS)
    page.goto(pallas.url("webmail", "/") + "?_task=settings&_action=plugin.managesieve-forward")
    page.locator("#forward_action").select_option("copy")
    page.locator("[name=action_target]").fill(mine)
    page.locator("#forward_status").select_option("on")
    page.locator("button.submit").click()
    expect(page.locator("#messagestack")).to_contain_text("saved", timeout=SLOW_MS)

    theirs = f"{owner.uid}@{domain_of(pallas)}"
    with submission(lab, name_of(pallas), owner) as client:
        assert refusal(client, theirs, theirs, "for-review") == ""
    assert b"X-Sieve-Redirected-From" in arrives(lab, name_of(pallas), member, "for-review")
    with mailbox(lab, name_of(pallas), owner) as client:
        assert subjects(client, "Drafts", "for-review") == 1
        assert subjects(client, "INBOX", "for-review") == 0


def subjects(client: imaplib.IMAP4_SSL, folder: str, words: str) -> int:
    """How many mails of such a subject a folder has."""
    client.select(folder)
    return len(client.search(None, "SUBJECT", words)[1][0].split())


def test_junk_is_filed_for_who_has_taught_what_it_is(lab: Lab, pallas: Made) -> None:
    owner, member = lab.accounts["owner"], lab.accounts["member"]
    with mailbox(lab, name_of(pallas), member) as client:
        for number in range(TAUGHT):
            client.append("INBOX", "(\\Seen)", None, like(GOOD, f"good-{number}"))  # type: ignore[arg-type]
            client.append("INBOX", None, None, like(JUNK, f"junk-{number}"))  # type: ignore[arg-type]
        client.select("INBOX")
        numbers = client.search(None, "SUBJECT", "junk-")[1][0].decode().replace(" ", ",")
        assert client.copy(numbers, "Junk")[0] == "OK"
        client.store(numbers, "+FLAGS", "\\Deleted")
        client.expunge()
    theirs = f"{owner.uid}@{domain_of(pallas)}"
    with submission(lab, name_of(pallas), owner) as client2:
        for subject, words in (("more-of-it", JUNK), ("a-question", GOOD)):
            everybody = [f"{a.uid}@{domain_of(pallas)}" for a in (owner, member)]
            assert client2.sendmail(theirs, everybody, like(words, subject)) == {}
    arrives(lab, name_of(pallas), member, "a-question")
    arrives(lab, name_of(pallas), owner, "more-of-it")
    with mailbox(lab, name_of(pallas), member) as client:
        wait_for(lambda: subjects(client, "Junk", "more-of-it"), SLOW_MS / 1000, "junk to be filed")
        assert subjects(client, "INBOX", "more-of-it") == 0


def like(words: str, subject: str) -> bytes:
    """A mail of such words."""
    return f"From: x@example.org\r\nSubject: {subject}\r\n\r\n{words}\r\n".encode()


def test_who_is_no_member_stays_outside(lab: Lab, pallas: Made, browser: Browser) -> None:
    for account, password in ((lab.accounts["outsider"], None), (lab.accounts["member"], "not the password")):
        page = at_the_door(browser, pallas, account, password)
        expect(page.locator("#messagestack")).to_contain_text("Login failed", timeout=SLOW_MS)
        assert "_task=mail" not in page.url
        page.context.close()


def test_who_is_removed_is_logged_out(lab: Lab, pallas: Made, browser: Browser) -> None:
    member = lab.accounts["member"]
    page = logged_in(browser, pallas, member)
    page.goto(pallas.url("webmail", "/") + "?_task=addressbook")
    expect(page).to_have_url(re.compile("_task=addressbook"))
    remove(pallas, member.uid)
    time.sleep(REFUSED_WITHIN_S)  # what is promised: from then on nothing is shown
    page.goto(pallas.url("webmail", "/") + "?_task=addressbook")
    expect(page.get_by_role("button", name="Login")).to_be_visible()
    page = at_the_door(browser, pallas, member)
    expect(page.locator("#messagestack")).to_contain_text("Login failed", timeout=SLOW_MS)
    include(pallas, member.uid)
    logged_in(browser, pallas, member)


def test_only_the_webmail_itself_is_served(lab: Lab, pallas: Made) -> None:
    base = pallas.url("webmail", "/")
    for path in ("config/config.inc.php", "plugins/placo/placo.php", "installer/", "SQL/sqlite.initial.sql",
                 "program/lib/Roundcube/bootstrap.php", "plugins/password/config.inc.php.dist", ".htaccess"):  # fmt: skip
        assert lab.get(base + path).status_code in (403, 404), path
