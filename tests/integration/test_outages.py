"""What a worker or the portal does while the database, or Redis, is away for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.test import Client
from kombu.exceptions import OperationalError as BrokerAway
from psycopg_pool import ConnectionPool, PoolTimeout

from deploy.client import wait_for
from placo.platforms.models import JournalEntry, Project, Run, User
from placo.services import access, engine, outage, runs, steps
from placo.services.commits import after_commit
from tests.factories import approve
from tests.fakes import World

pytestmark = pytest.mark.django_db(transaction=True)


def _cut() -> None:
    """The server ends this thread's session."""
    words = connection.settings_dict
    pid = connection.connection.info.backend_pid
    with psycopg.connect(host=words["HOST"], dbname=words["NAME"], user=words["USER"]) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])


def _whole(run: Run) -> bool:
    """It ended well; no step waited for a lease to end, and each was done once."""
    done = JournalEntry.objects.filter(run=run, event="done").values_list("step", flat=True)
    attempts = dict(run.steps.values_list("pk", "attempts"))
    ended = Run.objects.get(pk=run.pk).state == "done"
    return ended and set(attempts.values()) == {1} and sorted(done) == sorted(attempts)


def test_what_came_of_an_effect_outlives_an_outage(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "PAUSE_S", 0)
    run, real = approve(emmy, admin, services=["web"]), steps.perform

    def perform(*words: Any) -> Any:
        answer = real(*words)
        _cut()
        return answer

    monkeypatch.setattr(steps, "perform", perform)
    world.finish(run.pk)
    assert _whole(run)


def test_a_claim_outlives_an_outage(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "PAUSE_S", 0)
    run, real = approve(emmy, admin, services=["web"]), engine._perform

    def perform(*words: Any, **options: Any) -> Any:
        _cut()
        return real(*words, **options)

    monkeypatch.setattr(engine, "_perform", perform)
    world.finish(run.pk)
    assert _whole(run)


def test_a_commit_of_which_nothing_was_heard_is_found_again(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction had also given the worker the next step: that one waits for no lease to end, and nobody was fenced."""
    monkeypatch.setattr(outage, "PAUSE_S", 0)
    run, real, unheard = approve(emmy, admin, services=["web"]), engine._write, []

    def write(claim: engine.Claim, *words: Any, **options: Any) -> Any:
        following = real(claim, *words, **options)
        if claim.step_id not in unheard:
            unheard.append(claim.step_id)
            raise OperationalError("the server closed the connection")
        return following

    monkeypatch.setattr(engine, "_write", write)
    assert engine.advance(run.pk) == run.steps.count()
    _whole(run)
    assert not run.journal.filter(event="fenced").exists()


def test_a_long_outage_is_left_to_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "PATIENCE_S", -1)

    def away() -> None:
        raise OperationalError("no server")

    with pytest.raises(OperationalError):
        outage.through_outage(away)


def test_nothing_is_repeated_inside_a_transaction() -> None:
    """Half of it would be lost."""
    tries = []

    def away() -> None:
        tries.append(1)
        raise OperationalError("no server")

    with pytest.raises(OperationalError), transaction.atomic():
        outage.through_outage(away)
    assert len(tries) == 1


def test_without_redis_requests_are_decided_and_steps_are_written(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unheard(*_words: Any) -> None:
        raise BrokerAway("no Redis")

    monkeypatch.setattr(runs, "_send", unheard)
    run = approve(emmy, admin, services=["web"])
    assert engine.due_runs() == [run.pk], "the sweep will ring"
    world.finish(run.pk)
    assert _whole(run)


def test_one_call_after_the_commit_does_not_hinder_the_next() -> None:
    told: list[str] = []

    def fails(_word: str) -> None:
        raise BrokerAway("no Redis")

    with transaction.atomic():
        after_commit(fails, "first")
        after_commit(told.append, "second")
        assert told == []
    assert told == ["second"]


@pytest.fixture
def way(tmp_path: Path) -> Path:
    """The server's socket under another path, which a test can take away."""
    socket = Path(connection.settings_dict["HOST"]) / ".s.PGSQL.5432"
    link = tmp_path / socket.name
    link.symlink_to(socket)
    return link


@pytest.fixture
def pool(way: Path) -> Iterator[ConnectionPool[Any]]:
    """A pool as the portal has it, but for how long its clients wait."""
    portal: Any = settings.DATABASES["default"]
    options = portal["OPTIONS"]["pool"] | {"timeout": 0.1}
    known = connection.settings_dict
    words = {"host": str(way.parent), "dbname": known["NAME"], "user": known["USER"]}
    with ConnectionPool(kwargs=words, open=False, **options) as made:
        made.wait()
        yield made


def test_after_a_long_outage_the_database_is_found_at_once(way: Path, pool: ConnectionPool[Any]) -> None:
    """Whoever asks has another attempt made; the pool's own ones would be ever further apart."""
    with pool.connection() as first:
        first.close()
        socket = way.readlink()
        way.unlink()
    # The pool gives up by itself, and leaves the next attempt to those who ask.
    wait_for(lambda: pool.get_stats()["pool_size"] == 0, 10, "the pool to give up", every_s=0.05)
    with suppress(PoolTimeout):
        pool.getconn()
    way.symlink_to(socket)
    with pool.connection(timeout=3) as found:
        assert found.execute("SELECT 1").fetchone() == (1,)


def test_without_the_database_the_portal_says_so(
    api: Any, emmy: User, optics: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_words: Any) -> Any:
        raise OperationalError("no server")

    monkeypatch.setattr(access, "visible_platforms", away)
    answer = api(emmy)("GET", "/platforms", status=503)
    assert answer["title"] == "The portal's database does not answer"
    assert "Platforms go on running" in answer["remedy"]

    browser = Client(raise_request_exception=False)
    browser.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    page = browser.get("/")
    assert page.status_code == 500
    assert "Platforms go on running" in page.content.decode()
