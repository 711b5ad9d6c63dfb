"""Two hundred people ask at the same moment, and there is room for ten: ten get in, every time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections

from placo.platforms.models import LedgerEntry, Platform, Project, Request, User
from placo.services import placement, quota, requests
from placo.services.errors import Conflict, InvalidInput
from tests.factories import submit
from tests.fakes import World

pytestmark = pytest.mark.django_db(transaction=True)
PEOPLE, ROOM, ROUNDS = 200, 10, 50
CONNECTIONS = 25


@pytest.fixture
def many_connections(transactional_db: None) -> Iterator[None]:
    """As many connections as the database spares, and patience for one of them."""
    options = connection.settings_dict["OPTIONS"]
    usual = options["pool"]
    connection.close_pool()  # type: ignore[attr-defined] # of the PostgreSQL backend
    options["pool"] = {**usual, "max_size": CONNECTIONS, "timeout": 60}
    yield
    connection.close_pool()  # type: ignore[attr-defined]
    options["pool"] = usual


def _round(emmy: User, number: int) -> Counter[str]:
    """What came of a submission by each of them, all sent off at once."""
    gate = threading.Barrier(PEOPLE)

    def ask(person: int) -> str:
        gate.wait(timeout=60)
        try:
            submit(emmy, slug=f"r{number}-{person}", services=["web"])
        except InvalidInput as error:
            assert set(error.errors) == {"services"}
            return "refused"
        finally:
            connections.close_all()
        return "accepted"

    with ThreadPoolExecutor(PEOPLE) as crowd:
        return Counter(crowd.map(ask, range(PEOPLE)))


def _give_back(emmy: User) -> None:
    for request in Request.objects.filter(state="submitted"):
        requests.withdraw_request(acting_user=emmy, request_id=request.pk)


def test_ten_of_two_hundred_every_time(
    world: World, optics: Project, emmy: User, many_connections: None
) -> None:
    Project.objects.filter(pk=optics.pk).update(
        quota_platforms=ROOM,
        quota_machines=1000,
        quota_vcpus=1000,
        quota_memory_mib=10**6,
        quota_disk_gib=10**5,
    )
    for number in range(ROUNDS):
        assert _round(emmy, number) == {"accepted": ROOM, "refused": PEOPLE - ROOM}
        assert quota.used(optics).platforms == ROOM == LedgerEntry.objects.count()
        _give_back(emmy)
        assert not LedgerEntry.objects.exists()


def test_without_the_lock_more_get_in(
    world: World, optics: Project, emmy: User, many_connections: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shows that the test above can fail."""
    Project.objects.filter(pk=optics.pk).update(
        quota_platforms=ROOM,
        quota_machines=1000,
        quota_vcpus=1000,
        quota_memory_mib=10**6,
        quota_disk_gib=10**5,
    )
    monkeypatch.setattr(quota, "lock", lambda project: project)
    monkeypatch.setattr(placement, "lock", lambda: None)
    taken, numbers = threading.Lock(), iter(range(PEOPLE))
    real = placement.choose

    def choose(hypervisor: str | None = None, *, staying: Platform | None = None) -> Any:
        place, _index = real(hypervisor, staying=staying)
        with taken:
            return place, next(numbers)  # the subnets' own lock is gone too: this test is about quota

    monkeypatch.setattr(placement, "choose", choose)
    try:
        outcome = _round(emmy, 0)
    except Conflict:
        pytest.fail("only the quota should have been in the way")
    assert outcome["accepted"] > ROOM
    assert Platform.objects.count() == outcome["accepted"]
