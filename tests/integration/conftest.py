"""A database, people, two hosts, and the fake world."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.postgresql.operations import DatabaseOperations
from django.test import Client
from django.utils import timezone, translation

from placo import wiring
from placo.config import Expiry, Mail, People, Proofs
from placo.platforms.models import Project, Template, User
from placo.services import clock as portal_clock
from tests import factories
from tests.fakes import World, make_world
from tests.integration.kept import EVERYWHERE


@pytest.fixture(scope="session", autouse=True)
def emptied_by_deleting() -> Iterator[None]:
    """Tests with transactions of their own have few rows: deleting them takes milliseconds, TRUNCATE of all tables a second."""

    def statements(
        _operations: DatabaseOperations, _style: Any, tables: Iterable[str], **_options: bool
    ) -> list[str]:
        return [f'DELETE FROM "{table}"' for table in sorted(set(tables) - set(EVERYWHERE))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", statements)
        yield


@pytest.fixture
def world(db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    """The fakes instead of hosts, directory, edge, images and broker."""
    with translation.override("en"):
        yield make_world(monkeypatch, tmp_path)


@pytest.fixture
def admin(db: None) -> User:
    """An administrator of the site who owns no project."""
    return factories.make_user("ada", administrator=True, name="Ada Lovelace")


@pytest.fixture
def emmy(db: None) -> User:
    """Owner of the project optics."""
    return factories.make_user("emmy", name="Emmy Noether")


@pytest.fixture
def sofia(db: None) -> User:
    """Owner of the project topology: a stranger to optics."""
    return factories.make_user("sofia", name="Sofia Kovalevskaya")


@pytest.fixture
def optics(world: World, emmy: User, sofia: User) -> Project:
    """The project that most tests are about, with two hosts to live on; `topology` is there too."""
    factories.make_hosts()
    factories.make_project("topology", sofia)
    return factories.make_project("optics", emmy)


@pytest.fixture
def warm(world: World, optics: Project) -> World:
    """The world, with templates on both hosts."""
    world.warm()
    assert set(Template.objects.values_list("state", flat=True)) == {Template.READY}
    assert Template.objects.count() == len(wiring.catalogue().machines) * 2
    return world


class Clock:
    """The portal's clock, in the hands of a test. It stands on the day on which the test begins."""

    def __init__(self) -> None:
        self.time = timezone.now()
        self.first = timezone.localdate(self.time)

    def forward(self, days: int = 0, **more: int) -> date:
        """Let time pass; the date after that."""
        self.time += timedelta(days=days, **more)
        return self.today

    def go_to(self, day: date) -> None:
        """Let time pass until noon of that day."""
        self.time = datetime.combine(day, time(12), tzinfo=timezone.get_current_timezone())

    @property
    def today(self) -> date:
        return timezone.localdate(self.time)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that the test moves; everything that happens because of a date goes by it."""
    moved = Clock()
    monkeypatch.setattr(portal_clock, "source", lambda: moved.time)
    return moved


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`configured(expiry={...}, mail={...}, people={...}, proofs={...})`: the site's configuration with these sections; without the one that is None."""

    def made(**sections: dict[str, Any] | None) -> None:
        kinds = {"expiry": Expiry, "mail": Mail, "people": People, "proofs": Proofs}
        values = {name: None if v is None else kinds[name](**v) for name, v in sections.items()}
        changed = replace(wiring.site(), **values)
        monkeypatch.setattr(wiring, "site", lambda: changed)

    return made


@dataclass
class Api:
    """The API in somebody's name."""

    client: Client
    headers: dict[str, str]

    def __call__(self, method: str, path: str, body: Any = None, status: int | None = None) -> Any:
        """The JSON of the answer, which has to have this status (any success if None)."""
        answer = self.client.generic(
            method,
            f"/api/v1{path}",
            self.client._encode_json(body, "application/json") if body is not None else b"",
            content_type="application/json",
            headers=self.headers,
        )
        found = answer.json()
        if status is None:
            assert answer.status_code < 300, (method, path, answer.status_code, found)
        else:
            assert answer.status_code == status, (method, path, answer.status_code, found)
        if answer.status_code >= 400:
            assert answer["Content-Type"] == "application/problem+json"
            assert found["status"] == answer.status_code
            assert found["title"]
            assert found["detail"]
        return found


@pytest.fixture
def api() -> Any:
    """`api(user)` calls the API in the name of somebody; `api(None)` in nobody's."""

    def made(user: User | None) -> Api:
        return Api(Client(raise_request_exception=False), factories.bearer(user) if user else {})

    return made
