"""Quota: counted in the database under a lock, said in words, given back at the end."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pytest

from placo.domain.quota import RESOURCES, Cost
from placo.platforms.models import LedgerEntry, Platform, Project, Request, User
from placo.services import placement, platforms, quota, requests
from placo.services.errors import Conflict, InvalidInput
from tests.factories import ready_platform, submit
from tests.fakes import World
from tests.integration.test_workers import at_once

COST = Cost(platforms=1, machines=2, vcpus=2, memory_mib=768, disk_gib=16)
"""Of web + svn in the catalogue of this checkout."""


@pytest.mark.parametrize("resource", RESOURCES)
def test_each_resource_is_a_limit(resource: str, world: World, optics: Project, emmy: User) -> None:
    needed = getattr(COST, resource)
    Project.objects.filter(pk=optics.pk).update(**{f"quota_{resource}": needed - 1})
    with pytest.raises(InvalidInput) as refused:
        submit(emmy)

    [message] = refused.value.errors["services"]
    assert f"1 {quota.RESOURCE_LABELS[resource]} missing ({needed} asked, {needed - 1} left)" in str(message)
    assert not Platform.objects.exists()
    assert not LedgerEntry.objects.exists()

    Project.objects.filter(pk=optics.pk).update(**{f"quota_{resource}": needed})
    assert quota.used(submit(emmy).platform.project) == COST


def test_reservations_count(world: World, optics: Project, emmy: User) -> None:
    Project.objects.filter(pk=optics.pk).update(quota_machines=3)
    submit(emmy)
    with pytest.raises(InvalidInput) as refused:
        submit(emmy, slug="beta")
    assert "1 machines missing (2 asked, 1 left)" in str(refused.value.errors["services"][0])
    submit(emmy, slug="gamma", services=["web"])


def test_retirement_gives_back(world: World, optics: Project, emmy: User, admin: User) -> None:
    Project.objects.filter(pk=optics.pk).update(quota_platforms=1)
    ready_platform(world, emmy, admin)
    with pytest.raises(InvalidInput):
        submit(emmy, slug="beta")
    world.finish(platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha").pk)
    submit(emmy, slug="beta")


def test_before_and_after_for_the_screens(world: World, optics: Project, emmy: User, admin: User) -> None:
    ready_platform(world, emmy, admin)
    rows = {row["resource"]: row for row in quota.view(optics, COST).rows}
    assert rows["machines"] == {
        "resource": "machines",
        "label": quota.RESOURCE_LABELS["machines"],
        "limit": 8,
        "before": 2,
        "wanted": 2,
        "after": 4,
        "missing": 0,
    }


# --- two at once -----------------------------------------------------------------------------------------------------


def _race(emmy: User, monkeypatch: pytest.MonkeyPatch, *wishes: dict[str, Any]) -> list[object]:
    """Submit the wishes at the same moment: each has counted before any of them writes, unless a lock prevents it."""
    real, counted = quota.view, threading.Barrier(len(wishes))
    outcomes: list[object] = []

    def view(*args: Any, **options: Any) -> quota.QuotaView:
        seen = real(*args, **options)
        with suppress(threading.BrokenBarrierError):  # a lock kept the other one out: as it has to be
            counted.wait(timeout=1.5)
        return seen

    def ask(wish: dict[str, Any]) -> None:
        try:
            outcomes.append(submit(emmy, **wish).platform.slug)
        except (InvalidInput, Conflict) as error:
            outcomes.append(error)

    monkeypatch.setattr(quota, "view", view)
    at_once(*[lambda wish=wish: ask(wish) for wish in wishes])  # type: ignore[misc]
    return outcomes


@pytest.mark.django_db(transaction=True)
def test_room_for_one_and_two_at_once(
    world: World, optics: Project, emmy: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    Project.objects.filter(pk=optics.pk).update(quota_platforms=1)
    outcomes = _race(emmy, monkeypatch, {"slug": "alpha"}, {"slug": "beta"})

    won = [o for o in outcomes if isinstance(o, str)]
    [lost] = [o for o in outcomes if isinstance(o, InvalidInput)]
    assert len(won) == 1
    assert "1 platforms missing (1 asked, 0 left)" in str(lost.errors["services"][0])
    assert Platform.objects.count() == LedgerEntry.objects.count() == 1
    assert quota.used(optics) == COST


@pytest.mark.django_db(transaction=True)
def test_without_the_lock_both_would_get_in(
    world: World, optics: Project, emmy: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shows that the test above can fail: with the locks taken away, the race that it makes is really lost."""
    Project.objects.filter(pk=optics.pk).update(quota_platforms=1)
    monkeypatch.setattr(quota, "lock", lambda project: project)
    monkeypatch.setattr(placement, "lock", lambda: None)
    numbers = iter(range(1, 3))
    real = placement.choose

    def choose(*arguments: Any, **options: Any) -> Any:
        place, _index = real(*arguments, **options)
        return place, next(numbers)  # the subnets' own lock is gone too: this test is about quota

    monkeypatch.setattr(placement, "choose", choose)
    outcomes = _race(emmy, monkeypatch, {"slug": "alpha"}, {"slug": "beta"})

    assert sorted(map(str, outcomes)) == ["alpha", "beta"]
    assert quota.used(optics).platforms == 2


@pytest.mark.django_db(transaction=True)
def test_one_name_and_two_at_once(
    world: World, optics: Project, emmy: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = _race(emmy, monkeypatch, {"slug": "alpha"}, {"slug": "alpha"})

    assert [o for o in outcomes if isinstance(o, str)] == ["alpha"]
    [lost] = [o for o in outcomes if isinstance(o, InvalidInput)]
    assert set(lost.errors) == {"slug"}
    assert quota.used(optics) == COST


@pytest.mark.django_db(transaction=True)
def test_two_projects_at_once_get_different_addresses(
    world: World, optics: Project, emmy: User, sofia: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(
        lambda: submit(emmy),
        lambda: submit(sofia, project_slug="topology", slug="beta"),
    )
    subnets = [p.plan.network.subnet for p in Platform.objects.all()]
    assert len(set(subnets)) == 2


@pytest.mark.django_db(transaction=True)
def test_approved_and_withdrawn_at_once(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One decision wins, the other is told; whichever it is, the books are right."""
    request = submit(emmy)
    refused: list[Conflict] = []

    def decide(act: Any, user: User) -> None:
        try:
            act(acting_user=user, request_id=request.pk)
        except Conflict as error:
            refused.append(error)

    at_once(
        lambda: decide(requests.approve_request, admin),
        lambda: decide(requests.withdraw_request, emmy),
    )

    assert len(refused) == 1
    decided = Request.objects.get(pk=request.pk)
    assert decided.state in ("approved", "withdrawn")
    assert not LedgerEntry.objects.filter(committed=True).exists()
    assert quota.used(optics).platforms == (1 if decided.state == "approved" else 0)
