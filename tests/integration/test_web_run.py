"""The live page: what is streamed, to whom, and what a stuck run offers."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection
from django.test import AsyncClient, Client

from placo.drivers.ports import DriverError
from placo.platforms.models import Project, Run, User
from placo.services import engine
from tests import factories
from tests.fakes import World

LIVE = pytest.mark.django_db(transaction=True)
PATIENCE_S = 60


@dataclass
class Stream:
    """What a browser receives: event -> its data, in order."""

    events: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False

    def of(self, name: str) -> list[str]:
        return [data for event, data in self.events if event == name]

    def take(self, chunk: bytes) -> None:
        for block in chunk.decode().split("\n\n"):
            lines = block.splitlines()
            names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
            if names:
                data = "\n".join(line.removeprefix("data: ") for line in lines if line.startswith("data: "))
                self.events.append((names[0], data))


async def listen(client: AsyncClient, run: Run, work: Any) -> Stream:
    """Listen to a run while `work` is done; returns when the stream has ended."""
    stream = Stream()
    answer: Any = await client.get(f"/runs/{run.pk}/events/")
    assert answer.status_code == 200, answer.status_code
    assert answer["Content-Type"] == "text/event-stream"
    begun = asyncio.Event()

    async def read() -> None:
        async for chunk in answer.streaming_content:
            stream.take(chunk)
            if stream.of("headline"):
                begun.set()

    reading = asyncio.create_task(read())
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    await work(stream)
    await asyncio.wait_for(reading, PATIENCE_S)
    stream.closed = True
    return stream


async def until(condition: Any) -> None:
    """Wait until something can be seen in the stream."""

    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.05)

    await asyncio.wait_for(wait(), PATIENCE_S)


def browser(user: User) -> AsyncClient:
    client = AsyncClient()
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    return client


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


@LIVE
def test_a_run_is_seen_as_it_happens_until_the_addresses(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = factories.approve(emmy, admin)
    client = browser(emmy)

    async def work(stream: Stream) -> None:
        assert "Creating alpha" in text(stream.of("headline")[0])
        claim = await sync_to_async(engine._claim)(run.pk)
        assert claim is not None
        await until(lambda: "being done" in text(stream.of("lanes")[-1]))
        await sync_to_async(engine._perform)(claim)
        await until(lambda: "1 of " in text(stream.of("headline")[-1]))
        await sync_to_async(world.finish)(run.pk)

    stream = async_to_sync(listen)(client, run, work)
    assert stream.closed
    assert stream.events[-1][0] == "close"
    assert "alpha is ready" in text(stream.of("headline")[-1])
    assert "https://alpha-web." in stream.of("outcome")[-1]
    assert len(stream.of("headline")) >= 4


@LIVE
def test_who_comes_late_or_again_sees_the_present_at_once(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = factories.approve(emmy, admin)
    world.finish(run.pk)

    async def nothing(stream: Stream) -> None: ...

    stream = async_to_sync(listen)(browser(emmy), run, nothing)
    assert [event for event, _data in stream.events] == ["headline", "outcome", "lanes", "details", "close"]


@LIVE
def test_the_stream_is_for_those_who_manage_the_platform(
    world: World, optics: Project, emmy: User, sofia: User, admin: User
) -> None:
    run = factories.approve(emmy, admin)
    world.finish(run.pk)

    async def ask(client: AsyncClient) -> int:
        status: int = (await client.get(f"/runs/{run.pk}/events/")).status_code
        return status

    assert async_to_sync(ask)(AsyncClient()) == 403
    assert async_to_sync(ask)(browser(sofia)) == 404
    assert async_to_sync(ask)(browser(factories.make_user("otto"))) == 404


@LIVE
def test_a_viewer_holds_no_connection_of_its_own(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = factories.approve(emmy, admin)

    def connections() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            return int(cursor.fetchone()[0])

    before = connections()
    viewers = [browser(emmy) for _viewer in range(5)]

    async def watch() -> int:
        found = 0
        count = sync_to_async(connections)
        streams = [asyncio.Event() for _viewer in viewers]

        async def work(stream: Stream, mine: asyncio.Event) -> None:
            nonlocal found
            mine.set()
            await asyncio.gather(*(event.wait() for event in streams))
            if mine is streams[0]:
                found = await count()
                await sync_to_async(world.finish)(run.pk)

        async def one(client: AsyncClient, mine: asyncio.Event) -> Stream:
            return await listen(client, run, lambda stream: work(stream, mine))

        seen = await asyncio.gather(*(one(c, e) for c, e in zip(viewers, streams, strict=True)))
        assert all("is ready" in text(stream.of("headline")[-1]) for stream in seen)
        return found

    assert async_to_sync(watch)() <= before + 1
    assert connections() <= before


def stuck(world: World, emmy: User, admin: User) -> Run:
    """A creation whose host does not make volumes."""
    world.hosts["h1"].faults.fail_next("ensure_volume", DriverError("the pool is on fire"), times=1000)
    return world.finish(factories.approve(emmy, admin).pk)


def page(user: User, path: str) -> str:
    client = Client()
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    return client.get(path).content.decode()


def test_a_stuck_run_says_why_and_what_can_be_done(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = stuck(world, emmy, admin)
    assert run.state == "stuck"
    seen = page(emmy, f"/runs/{run.pk}/")
    assert "the pool is on fire" in seen
    assert "The host may be busy, full or unreachable." in seen
    assert f'action="/runs/{run.pk}/retry/"' in seen
    assert f'action="/runs/{run.pk}/undo/"' in seen
    assert f'action="/runs/{run.pk}/skip/"' not in seen, "skipping is for administrators"
    assert f'action="/runs/{run.pk}/skip/"' in page(admin, f"/runs/{run.pk}/")
    assert "waits for your choice" in page(emmy, "/")
    assert "waits for your choice" in page(admin, "/")


def test_a_stuck_run_can_be_undone_from_its_page(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    run = stuck(world, emmy, admin)
    client = Client()
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    assert client.post(f"/runs/{run.pk}/skip/").status_code == 403
    assert client.post(f"/runs/{run.pk}/nothing/").status_code == 404
    assert client.post(f"/runs/{run.pk}/undo/").status_code == 302
    assert world.finish(run.pk).state == "undone"
    assert "everything has been undone" in page(emmy, f"/runs/{run.pk}/")
    assert world.audit("alpha") == []


def test_the_usual_duration_is_learnt(world: World, optics: Project, emmy: User, admin: User) -> None:
    first = factories.approve(emmy, admin)
    assert "usually" not in page(emmy, f"/runs/{first.pk}/")
    world.finish(first.pk)
    second = factories.approve(emmy, admin, slug="beta")
    assert "usually" in page(emmy, f"/runs/{second.pk}/")
