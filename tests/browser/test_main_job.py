"""The main job in a real browser, on real machines."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from deploy.client import Lab
from tests.browser.flow import Story, chromium, logged_in
from tests.lab_world import Made


def test_the_live_page_reaches_ready_without_a_reload(alpha: Made) -> None:
    story: Story = alpha.story
    assert story.navigations == 0, "nobody touched the page, and it did not reload itself"
    assert len(set(story.headlines)) >= 3, "the headline told what was being done"
    assert story.lanes == {"www", "svn"}
    assert story.console_errors == []
    assert alpha.now["state"] == "ready"


def test_a_reloaded_page_shows_the_run_at_once(alpha: Made) -> None:
    assert alpha.story.steps_after_reload >= 15


def test_the_ready_page_gives_the_addresses(alpha: Made) -> None:
    assert set(alpha.story.addresses) == {e["url"] for e in alpha.now["endpoints"]}


def test_a_member_is_added_and_removed_in_the_browser(lab: Lab, alpha: Made) -> None:
    with chromium() as browser:
        _context, page = logged_in(browser, lab, "owner")
        page.goto("/platforms/alpha/people/")
        uid = lab.accounts["member"].uid
        row = page.locator(f"#person-{uid}")
        if row.count():
            alpha.owner("DELETE", f"/platforms/alpha/members/{uid}")
            expect(row).to_have_count(0, timeout=15_000)
            page.reload()
        page.get_by_role("searchbox").fill(uid[:4])
        page.get_by_role("button", name=re.compile("^Add ")).first.click()
        expect(row).to_contain_text("now", timeout=15_000)
        expect(row).not_to_contain_text("adding", timeout=15_000)
        assert lab.get(alpha.url("web", "/members/"), "member").status_code == 200
        row.get_by_text("Remove").first.click()
        row.get_by_role("button", name=re.compile("^Remove ")).click()
        expect(row).to_have_count(0, timeout=15_000)


def test_an_outsider_sees_nothing_of_the_platform(lab: Lab, alpha: Made) -> None:
    with chromium() as browser:
        _context, page = logged_in(browser, lab, "outsider")
        answer = page.goto("/platforms/alpha/")
        assert answer is not None and answer.status == 404
        page.goto("/")
        assert "alpha" not in page.locator("main").inner_text()


def test_the_site_opens_in_the_browser(lab: Lab, alpha: Made) -> None:
    """As a member does: the address of the ready page, the authority's certificate accepted, one password."""
    with chromium() as browser:
        account = lab.accounts["owner"]
        context = browser.new_context(
            ignore_https_errors=True,
            http_credentials={"username": account.uid, "password": account.password},
        )
        page = context.new_page()
        page.goto(alpha.url("web", "/members/"))
        assert account.uid in page.locator("body").inner_text()


def test_retiring_asks_for_the_name(lab: Lab, alpha: Made) -> None:
    with chromium() as browser:
        _context, page = logged_in(browser, lab, "owner")
        page.goto("/platforms/alpha/settings/")
        page.locator("input[name=confirm]").fill("alpa")
        page.locator("form[action$='/retire/'] button").last.click(force=True)
        expect(page.locator("main")).to_contain_text("alpha")
        assert alpha.now["state"] == "ready"
