"""How soon a run's journal is seen: `python -m bench.progress [--runs 3] [--viewers 1] [--without-browser]`

On a rehearsed site of its own (PostgreSQL, Redis, Celery workers, fake hosts that take as long as real ones) with a portal of its own
(uvicorn), platforms of web + svn are made one after the other. Meanwhile somebody watches each run in two ways, with a session of
its owner: a client that reads the stream of events, and Chromium, where a MutationObserver notes when a row of the journal is in the
page. Every row of the journal says when it was written; what is measured is how much later it was seen. `--viewers`: how many
streams are read at the same time; the slowest counts.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from statistics import median, quantiles
from typing import TYPE_CHECKING

import httpx

from bench.makespan import DELAYS
from bench.portal import Portal
from bench.session import SPREAD_TITLES, spread, verdict
from deploy.rehearsal.process import Server, free_port, wait_for
from deploy.rehearsal.site import Shape, Site, rehearsal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from placo.platforms.models import Run, User

BOUND_S = 1.0
PATIENCE_S = 120.0
LAST_S = 10.0
"""How long the last rows of a run are waited for after its end."""
CHROMIUM = "/usr/bin/chromium"
_ROW = re.compile(
    r'<tr><td class="text-nowrap"><time datetime="([^"]+)">.*?<code>(.*?)</code></td><td>(.*?)</td>',
    re.DOTALL,
)
_OBSERVER = """() => {
    const seen = window.benchSeen = {};
    const look = () => document.querySelectorAll('#details time[datetime]').forEach(time => {
        const cells = time.closest('tr').cells;
        const key = [time.dateTime, cells[1].textContent.trim(), cells[2].textContent.trim()].join(' ');
        if (!(key in seen)) seen[key] = Date.now() / 1000;
    });
    look();
    new MutationObserver(look).observe(document.body, {childList: true, subtree: true});
}"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the bounds hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.progress", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="platforms, one after the other (default 3)")
    parser.add_argument("--viewers", type=int, default=1, help="streams of events read at once (default 1)")
    parser.add_argument("--without-browser", action="store_true", help="read streams of events only")
    options = parser.parse_args(arguments)
    shape = Shape(workers=1, delays=DELAYS)
    with rehearsal(shape) as site, ExitStack() as stack:
        portal, address = Portal(), stack.enter_context(_web(site))
        site.start_workers()
        watch = _Watch(address, _session(portal.owner), options.viewers)
        if not options.without_browser:
            watch.page = stack.enter_context(_chromium(address, watch.session))
        for number in range(options.runs):
            watch.follow(portal.approve(portal.ask(f"bench{number}", ["web", "svn"])).run)
    return 0 if _judge(watch) else 1


@contextmanager
def _web(site: Site) -> Iterator[str]:
    """The portal on a port of the loopback; its address."""
    from django.core.management import call_command

    call_command("collectstatic", interactive=False, verbosity=0)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "placo.asgi:application",
        "--port",
        str(port),
        "--no-access-log",
    ]

    def answers() -> bool:
        try:
            return httpx.get(f"{address}/login/").status_code == 200
        except httpx.TransportError:
            return False

    log = site.folder / "logs" / "web.log"
    server = Server(command, answers, log, environment=os.environ, patience_s=60)
    server.start()
    try:
        yield address
    finally:
        server.kill()


def _session(user: User) -> str:
    """The cookie of somebody who has logged in."""
    from django.conf import settings
    from django.test import Client

    client = Client()
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    return client.cookies[settings.SESSION_COOKIE_NAME].value


@contextmanager
def _chromium(address: str, session: str) -> Iterator[Page]:
    """A page of somebody who has logged in."""
    from playwright.sync_api import sync_playwright

    # Playwright runs an event loop in this thread; nothing else happens in it while the database is asked.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        browser: Browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        context = browser.new_context(base_url=address, locale="en-GB")
        context.add_cookies([{"name": "sessionid", "value": session, "url": address}])
        yield context.new_page()
        browser.close()


class _Stream:
    """Reads the events of one run in a thread of its own; `seen`: row of the journal -> when."""

    def __init__(self, address: str, session: str, run: int) -> None:
        self.seen: dict[str, float] = {}
        self.began = threading.Event()
        self._client = httpx.Client(base_url=address, cookies={"sessionid": session}, timeout=PATIENCE_S)
        self._run = run
        self._thread = threading.Thread(target=self._read, name="stream", daemon=True)
        self._thread.start()

    def wait(self) -> dict[str, float]:
        """What was seen until the stream ended, which it does with the run."""
        self._thread.join(PATIENCE_S)
        self._client.close()
        return self.seen

    def _read(self) -> None:
        with self._client.stream("GET", f"/runs/{self._run}/events/") as answer:
            answer.raise_for_status()
            event: list[str] = []
            for line in answer.iter_lines():
                if line:
                    event.append(line)
                    continue
                self.began.set()
                if event and event[0] == "event: details":
                    self._look("\n".join(event))
                event = []

    def _look(self, event: str) -> None:
        now = time.time()
        for row in _ROW.findall(event):
            self.seen.setdefault(" ".join(cell.strip() for cell in row), now)


class _Watch:
    """Somebody who watches runs; `seen`: way of watching -> how late each row of the journals was seen."""

    def __init__(self, address: str, session: str, viewers: int) -> None:
        self.address, self.session, self.viewers = address, session, viewers
        self.page: Page | None = None
        self.seen: dict[str, list[float]] = {"stream": [], "browser": []}
        self.answers: list[float] = []
        """Seconds for the whole page, asked for meanwhile."""

    def follow(self, run: Run) -> None:
        """Watch a run to its end."""
        if self.page is not None:
            self.page.goto(f"/runs/{run.pk}/")
            self.page.evaluate(_OBSERVER)
        streams = [_Stream(self.address, self.session, run.pk) for _viewer in range(self.viewers)]
        for stream in streams:
            stream.began.wait(PATIENCE_S)
        began = time.time()
        self._ask(run)
        read = [stream.wait() for stream in streams]
        rows = _journal(run, began)
        self.seen["stream"] += [max(seen[key] for seen in read) - at for key, at in rows.items()]
        if self.page is not None:
            shown = self._shown(rows)
            self.seen["browser"] += [shown[key] - at for key, at in rows.items()]

    def _ask(self, run: Run) -> None:
        with httpx.Client(base_url=self.address, cookies={"sessionid": self.session}) as client:
            for _turn in range(5):
                asked = time.monotonic()
                client.get(f"/runs/{run.pk}/").raise_for_status()
                self.answers.append(time.monotonic() - asked)
                time.sleep(0.5)

    def _shown(self, rows: Iterable[str]) -> dict[str, float]:
        """What the browser has noted, once it has noted these rows."""
        page, noted = self.page, "() => window.benchSeen"
        if page is None:
            return {}
        wait_for(lambda: set(rows) <= page.evaluate(noted).keys(), "the last row in the browser", LAST_S)
        return dict(page.evaluate(noted))


def _journal(run: Run, since: float) -> dict[str, float]:
    """The rows written since then, as the page names them, and when."""
    run.refresh_from_db()
    if run.state != "done":
        raise SystemExit(f"run {run.pk} is not done but {run.state}")
    rows = run.journal.select_related("step").filter(at__gt=datetime.fromtimestamp(since).astimezone())
    return {f"{e.at.isoformat()} {e.step.name if e.step else ''} {e.event}": e.at.timestamp() for e in rows}


def _judge(watch: _Watch) -> bool:
    ways = {name: delays for name, delays in watch.seen.items() if delays}
    print(f"\n{'seconds from the journal row until it is seen':<48}{'n':>4}{SPREAD_TITLES}")
    for name, delays in ways.items():
        print(f"  {name:<46}{len(delays):>4}{spread(delays)}")
    whole = median(watch.answers)
    print(f"\nthe whole page, asked for meanwhile: median {whole:.2f} s")
    print(f"load average of the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    holds = True
    for name, delays in ways.items():
        what, middle = f"{name}: within {BOUND_S:g} s", median(delays)
        late = quantiles(delays, n=20, method="inclusive")[-1]
        times = middle / whole
        holds &= verdict(f"{what}, median ({middle:.2f} s, {times:.1f} times the page)", middle <= BOUND_S)
        holds &= verdict(f"{what}, 95 of 100 ({late:.2f} s, n = {len(delays)})", late <= BOUND_S)
    return holds


if __name__ == "__main__":
    raise SystemExit(main())
