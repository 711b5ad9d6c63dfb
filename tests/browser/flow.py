"""The main job as people do it in Chromium: the owner asks, the administrator approves, the live page gets to ready."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from deploy.client import Lab

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.localhost 127.0.0.1",
]
READY_MS = 900_000


@dataclass
class Story:
    """What was seen while the platform was made."""

    navigations: int = 0
    headlines: list[str] = field(default_factory=list)
    lanes: set[str] = field(default_factory=set)
    addresses: list[str] = field(default_factory=list)
    steps_after_reload: int = 0
    console_errors: list[str] = field(default_factory=list)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def logged_in(browser: Browser, lab: Lab, role: str, **options: object) -> tuple[BrowserContext, Page]:
    """A window of its own, logged in by the form as one of the accounts."""
    context = browser.new_context(base_url=lab.portal, locale="en-GB", **options)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/login/")
    page.get_by_label("Account").fill(lab.accounts[role].uid)
    page.get_by_label("Password").fill(lab.accounts[role].password)
    page.get_by_role("button", name="Log in").click()
    expect(page).not_to_have_url(re.compile("/login/"))
    return context, page


def request_platform(page: Page, slug: str, *services: str) -> str:
    """Walk through the four steps as the owner; the address of the request."""
    page.goto("/platforms/new/")
    for box in page.locator("input[name=services]").all():
        box.set_checked((box.get_attribute("value") or "") in services, force=True)
    page.get_by_role("button", name="Continue").last.click()
    page.get_by_role("button", name="Continue").last.click()
    page.get_by_label("Name", exact=True).fill(f"Browser's {slug}")
    page.get_by_label("Short name").fill(slug)
    page.get_by_label("For how many days?").fill("30")
    page.get_by_label("What is it for?").fill("To see in a browser that it works.")
    page.get_by_role("button", name="Continue").last.click()
    expect(page.locator("main")).to_contain_text(slug)
    page.get_by_role("button", name="Send the request").click()
    page.wait_for_url(re.compile(r"/requests/\d+/"))
    return page.url


def create_through_the_browser(
    lab: Lab, slug: str, before_approval: Callable[[], object] = lambda: None
) -> Story:
    """Ask as the owner, approve as the administrator, and watch the run's page without touching it."""
    story = Story()
    with chromium() as browser:
        owners, owner = logged_in(browser, lab, "owner")
        address = request_platform(owner, slug, "web", "svn")
        before_approval()
        admins, admin = logged_in(browser, lab, "admin")
        admin.goto("/requests/")
        admin.locator(f'a[href="{address.removeprefix(lab.portal)}"]').first.click()
        admin.get_by_label("A word to go with it").fill("Welcome.")
        admin.get_by_role("button", name="Approve").click()
        admin.wait_for_url(re.compile(r"/runs/\d+/"))
        owner.goto(admin.url.removeprefix(lab.portal))
        admin.reload()
        story.steps_after_reload = int(admin.locator("progress").first.get_attribute("max") or 0)
        owner.on("framenavigated", lambda frame: _count(story))
        owner.on("console", lambda m: story.console_errors.append(m.text) if m.type == "error" else None)

        def saw(
            headline: str,
        ) -> None:  # Playwright marks what it is given: a bound method of a list it cannot
            story.headlines.append(headline)

        owner.expose_function("placoSaw", saw)
        owner.evaluate(
            """() => new MutationObserver(() => {
                 const now = document.querySelector('#headline .placo-now');
                 if (now) window.placoSaw(now.innerText);
               }).observe(document.getElementById('headline'), {childList: true, subtree: true})"""
        )
        expect(owner.locator("#outcome")).to_contain_text("Here it is", timeout=READY_MS)
        story.addresses = [a.get_attribute("href") or "" for a in owner.locator("#outcome ul a").all()]
        lanes = owner.locator("#lanes").inner_text()
        story.lanes = {name for name in ("www", "svn") if re.search(rf"\b{name}\b", lanes)}
        admins.close()
        owners.close()
    return story


def _count(story: Story) -> None:
    story.navigations += 1
