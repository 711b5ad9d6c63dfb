"""Live runs by server-sent events.

However many people watch, one small thread with one database connection asks every 0.4 s which of the watched runs have
changed, in one query. A viewer costs an asyncio task; only when its run has changed is its page rendered, in the same
thread, whose connection is closed when the last viewer leaves. A stream starts with the present state, so that a reload
or a lost connection misses nothing, and ends with the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.utils.translation import get_language, override
from django.views.decorators.http import require_GET

from placo import logs
from placo.platforms.models import User
from placo.services import progress
from placo.services.errors import NotFound, ServiceError

log = logs.get_logger("placo.web.live")

POLL_S = 0.4
HEARTBEAT_S = 15.0
PARTS = ("headline", "outcome", "lanes", "details")
"""The parts of the page that are sent on their own, each only when it has changed."""

_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="live")
Result = TypeVar("Result")


async def _in_thread(function: Callable[[], Result]) -> Result:
    """Call it in the live thread; a connection that failed is not used again."""

    def call() -> Result:
        try:
            return function()
        except DatabaseError:
            connection.close()
            raise

    return await sync_to_async(call, thread_sensitive=False, executor=_THREAD)()


def _close() -> None:
    connection.close()  # looked up in the thread that calls this: each has its own


class Watch:
    """Who watches which run, for one event loop. The poller lives while somebody watches."""

    def __init__(self) -> None:
        self.watched: dict[int, int] = {}
        self.versions: dict[int, int] = {}
        self.changed = asyncio.Condition()
        self.poller: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def on(self, run_id: int) -> AsyncIterator[None]:
        """Have a run polled meanwhile."""
        self.watched[run_id] = self.watched.get(run_id, 0) + 1
        if self.poller is None or self.poller.done():
            self.poller = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            self.watched[run_id] -= 1
            if not self.watched[run_id]:
                del self.watched[run_id]
                self.versions.pop(run_id, None)
            if not self.watched:
                await _in_thread(_close)

    async def newer(self, run_id: int, than: int, timeout: float) -> bool:
        """Whether the run got past this version within the time."""

        async def wait() -> None:
            async with self.changed:
                await self.changed.wait_for(lambda: self.versions.get(run_id, than) != than)

        try:
            await asyncio.wait_for(wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def _poll(self) -> None:
        while self.watched:
            ids = list(self.watched)
            try:
                found = await _in_thread(partial(progress.versions, ids))
            except DatabaseError:
                log.warning("the database does not answer; asking again")
                await asyncio.sleep(POLL_S)
                continue
            async with self.changed:
                self.versions.update(
                    {run_id: found.get(run_id, -1) for run_id in ids if run_id in self.watched}
                )
                self.changed.notify_all()
            await asyncio.sleep(POLL_S)


_watches: dict[asyncio.AbstractEventLoop, Watch] = {}


def _watch() -> Watch:
    """This event loop's watch (a server has one loop; tests have many, one after the other)."""
    loop = asyncio.get_running_loop()
    for old in [known for known in _watches if known.is_closed()]:
        del _watches[old]
    return _watches.setdefault(loop, Watch())


def message(event: str, data: str) -> str:
    """One server-sent event (WHATWG HTML, 9.2): every line of the data gets its own field."""
    lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
    return f"event: {event}\n{lines}\n"


class Viewer:
    """One person's view of one run: renders the parts that have changed since they were last sent."""

    def __init__(self, user: User, run_id: int, language: str, token: str) -> None:
        self.user, self.run_id, self.language, self.token = user, run_id, language, token
        self.usual: float | None = None
        self.pace = ""
        self.sent: dict[str, str] = {}

    def first(self) -> None:
        """What seldom changes while the run goes on; raises what the person may not see."""
        self._expect(progress.progress(acting_user=self.user, run_id=self.run_id))

    def _expect(self, view: progress.Progress) -> None:
        """How long such runs take."""
        self.pace = view.pace
        self.usual = progress.usual_seconds(view.run, view.pace)

    def render(self) -> tuple[int, bool, list[str]]:
        """The version, whether the run has ended, and the messages to send."""
        self.user.refresh_from_db()  # roles may be lost while the stream goes on
        if not self.user.is_active:
            raise NotFound
        view = progress.progress(acting_user=self.user, run_id=self.run_id)
        if view.pace != self.pace:
            self._expect(view)
        context: dict[str, Any] = {
            "view": view,
            "run": view.run,
            "platform": view.run.platform,
            "usual": self.usual,
            "user": self.user,
            "csrf_token": self.token,
            "journal": progress.journal(view.run),
        }
        messages = []
        with override(self.language):
            for part in PARTS:
                html = render_to_string(f"web/run/{part}.html", context)
                if self.sent.get(part) != html:
                    self.sent[part] = html
                    messages.append(message(part, html))
        return view.run.version, view.ended, messages


async def _stream(viewer: Viewer) -> AsyncIterator[str]:
    watch = _watch()
    yield "retry: 1000\n\n"
    async with watch.on(viewer.run_id):
        while True:
            try:
                version, ended, messages = await _in_thread(viewer.render)
            except ServiceError:
                break  # no longer theirs to see
            for text in messages:
                yield text
            if ended:
                break
            beat = time.monotonic()
            while not await watch.newer(viewer.run_id, version, 1.0):
                if time.monotonic() - beat > HEARTBEAT_S:
                    beat = time.monotonic()
                    yield ": still here\n\n"
    yield message("close", "")


def _let_go() -> None:
    """Close the request's own connection (the session was read with it): the stream needs none."""
    if not connection.in_atomic_block:
        connection.close()


@require_GET
async def events(request: HttpRequest, run_id: int) -> HttpResponseBase:
    """The run's events until it ends."""
    user = await sync_to_async(get_user)(request)
    if not isinstance(user, User):
        return HttpResponse(status=403)
    viewer = Viewer(user, run_id, get_language() or "en", await sync_to_async(get_token)(request))
    await sync_to_async(viewer.first)()
    await sync_to_async(_let_go)()
    response = StreamingHttpResponse(_stream(viewer), content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response
