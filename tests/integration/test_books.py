"""The check of the books: right whenever a use case or the engine has written, and every kind of wrong is found."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.utils import timezone

from placo.domain.quota import Cost
from placo.drivers.ports import DriverError, Rejected
from placo.platforms.models import LedgerEntry, Platform, Project, Run, Step, User
from placo.services import books, decisions, engine, members, platforms, quota, requests, runs
from tests.factories import approve, ready_platform, submit
from tests.fakes import World
from tests.integration.test_workers import at_once


def found() -> set[tuple[str, str]]:
    """Code and subject of everything that is wrong."""
    return {(wrong.code, wrong.subject) for wrong in books.check()}


def step_by_step(world: World, run: Run) -> Run:
    """Finish a run, checking the books after each and every step."""
    for _turn in range(400):
        claim = engine._claim(run.pk)
        assert books.check() == []
        if claim is not None:
            engine._perform(claim)
            assert books.check() == []
            continue
        run.refresh_from_db()
        if run.ended_at is not None or run.due_at is None:
            return run
        world.let_time_pass(run.pk)
    raise AssertionError("the run never ends")


def committed() -> list[bool]:
    return list(LedgerEntry.objects.values_list("committed", flat=True))


def test_the_books_are_right_all_the_way(world: World, optics: Project, emmy: User, admin: User) -> None:
    assert books.check() == []
    request = submit(emmy)
    assert (books.check(), committed()) == ([], [False])
    run = requests.approve_request(acting_user=admin, request_id=request.pk)
    assert (books.check(), committed()) == ([], [False])
    assert step_by_step(world, run).state == "done"
    assert committed() == [True]
    for action in ("stop", "start", "suspend", "resume", "restart"):
        run = platforms.power_platform(acting_user=emmy, slug="alpha", action=action)
        assert step_by_step(world, run).state == "done"
        assert committed() == [True]
    run = platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha")
    assert (books.check(), committed()) == ([], [True])
    assert step_by_step(world, run).state == "done"
    assert committed() == []


def test_the_books_are_right_on_the_way_back(world: World, optics: Project, emmy: User, admin: User) -> None:
    world.edge.faults.fail_next("ensure_site", Rejected("never"))
    assert step_by_step(world, approve(emmy, admin)).state == "undone"
    assert committed() == []

    world.directory.faults.fail_next("ensure_platform", DriverError("no"), times=6)
    run = step_by_step(world, approve(emmy, admin))
    assert (run.state, committed()) == ("stuck", [False])
    decisions.undo_run(acting_user=admin, run_id=run.pk)
    assert books.check() == []
    assert step_by_step(world, run).state == "undone"


def test_requests_that_come_to_nothing(world: World, optics: Project, emmy: User, admin: User) -> None:
    requests.withdraw_request(acting_user=emmy, request_id=submit(emmy).pk)
    rejected = submit(emmy)
    requests.replan_request(acting_user=admin, request_id=rejected.pk)
    assert books.check() == []
    requests.reject_request(acting_user=admin, request_id=rejected.pk, comment="not now")
    assert books.check() == []
    assert not LedgerEntry.objects.exists()


def test_memberships_are_not_the_life_cycle(world: World, optics: Project, emmy: User, admin: User) -> None:
    ready_platform(world, emmy, admin)
    members.add_member(acting_user=emmy, slug="alpha", uid="sofia")
    assert books.check() == []
    assert step_by_step(world, Run.objects.get(kind="member")).state == "done"


# --- every kind of wrong ---------------------------------------------------------------------------------------------


@pytest.fixture
def alpha(ready: Callable[..., Platform], emmy: User, admin: User) -> Platform:
    """A ready platform and one that is being made, with right books."""
    platform = ready()
    approve(emmy, admin, slug="beta", services=["web"])
    assert books.check() == []
    return platform


def _entry(slug: str = "alpha") -> LedgerEntry:
    return LedgerEntry.objects.get(platform__slug=slug)


def _add_project(name: str) -> Project:
    return Project.objects.get(slug=name)


def _share_machine() -> None:
    alpha, beta = Platform.objects.get(slug="alpha"), Platform.objects.get(slug="beta")
    theirs, ours = alpha.plan_data["machines"][0], beta.plan_data["machines"][0]
    ours["mac"], ours["address"], ours["uuid"] = theirs["mac"], theirs["address"], theirs["uuid"]
    beta.save()


def _set(slug: str, **columns: object) -> Callable[[], object]:
    return lambda: Platform.objects.filter(slug=slug).update(**columns)


def _set_run(**columns: object) -> Callable[[], object]:
    return lambda: Run.objects.filter(platform__slug="beta").update(**columns)


BETA = "beta run {beta}"


@pytest.mark.parametrize(
    ("break_it", "wrong"),
    [
        (lambda: _entry().delete(), {("ledger", "alpha")}),
        (lambda: LedgerEntry.objects.update(committed=True), {("ledger", "beta")}),
        (lambda: LedgerEntry.objects.update(committed=False), {("ledger", "alpha")}),
        (lambda: LedgerEntry.objects.filter(pk=_entry().pk).update(vcpus=7), {("ledger", "alpha")}),
        (
            lambda: LedgerEntry.objects.filter(pk=_entry().pk).update(project=_add_project("topology")),
            {("ledger", "alpha")},
        ),
        (_set("alpha", state="retired"), {("ledger", "alpha"), ("subnet", "alpha")}),
        (_set("alpha", subnet_index=None), {("subnet", "alpha")}),
        (_set("alpha", state="stopping"), {("life-cycle", "alpha")}),
        (_set("beta", state="stopping"), {("life-cycle", "beta"), ("ledger", "beta")}),
        (_set("beta", state="ready"), {("life-cycle", "beta"), ("ledger", "beta")}),
        (_set_run(kind="retire"), {("life-cycle", "beta")}),
        (_set_run(state="stuck"), {("run-state", BETA)}),
        (_set_run(state="unwinding"), {("doorbell", BETA)}),
        (_set_run(due_at=None), {("doorbell", BETA)}),
        (
            lambda: Step.objects.filter(run__platform__slug="beta", name="edge").update(state="failed"),
            {("run-state", BETA)},
        ),
        (
            lambda: Step.objects.filter(run__platform__slug="alpha", name="edge").update(state="running"),
            {("steps", "alpha run {alpha} edge")},
        ),
        (
            lambda: Step.objects.filter(run__platform__slug="alpha", name="edge").update(
                lease_until=timezone.now()
            ),
            {("steps", "alpha run {alpha} edge")},
        ),
        (_share_machine, {("shared", "alpha beta")}),
        (_set("alpha", plan_data={}), {("plan", "alpha")}),
    ],
)
def test_what_is_wrong_is_found(
    break_it: Callable[[], object], wrong: set[tuple[str, str]], alpha: Platform
) -> None:
    numbers = {run.platform.slug: run.pk for run in Run.objects.select_related("platform")}
    break_it()

    assert found() == {(code, subject.format(**numbers)) for code, subject in wrong}
    for discrepancy in books.check():
        assert discrepancy.code in books.CODES
        assert discrepancy.wrong.endswith(".")
        assert discrepancy.remedy.endswith(".")


def test_it_says_what_the_ledger_has_and_should_have(alpha: Platform) -> None:
    LedgerEntry.objects.filter(platform=alpha).update(vcpus=7)
    [wrong] = books.check()

    assert "committed (platforms 1, machines 2, vcpus 7, memory_mib 768" in wrong.wrong
    assert "committed (platforms 1, machines 2, vcpus 2, memory_mib 768" in wrong.wrong


def test_three_shared_things_are_three_discrepancies(alpha: Platform) -> None:
    _share_machine()
    assert len([w for w in books.check() if w.code == "shared"]) == 3


def test_few_queries(
    alpha: Platform, emmy: User, admin: User, django_assert_max_num_queries: Callable[..., object]
) -> None:
    with django_assert_max_num_queries(9):  # two of them are the savepoint's  # type: ignore[attr-defined]
        assert books.check() == []
    approve(emmy, admin, slug="gamma", services=["web"])
    with django_assert_max_num_queries(9):  # type: ignore[attr-defined]
        assert books.check() == []


# --- while others write ----------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_run_that_moves_on_meanwhile_is_no_discrepancy(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two queries of the check a whole platform comes into being or goes: the check sees one moment."""
    ready_platform(world, emmy, admin)
    moves = iter(range(3))

    def elsewhere() -> None:
        """Somebody else writes what makes a torn picture wrong everywhere: ledger, runs, steps, states, subnets."""
        if (move := next(moves, None)) is None:
            return

        def write() -> None:
            if move == 0:
                world.finish(platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha").pk)
            elif move == 1:
                engine.advance(approve(emmy, admin, slug="beta").pk)
            else:
                world.finish(Run.objects.get(platform__slug="beta").pk)

        at_once(write)

    for name in ("_ledger", "_life_cycle", "_runs"):
        real = getattr(books, name)

        def between(*arguments: object, real: Callable[..., object] = real) -> object:
            elsewhere()
            return real(*arguments)

        monkeypatch.setattr(books, name, between)

    assert books.check() == []
    assert next(moves, None) is None, "the others have written"
    assert Platform.objects.get(slug="alpha").state == "retired"
    assert Platform.objects.get(slug="beta").state == "ready"
    assert books.check() == []


@pytest.mark.django_db(transaction=True)
def test_checked_again_and_again_while_workers_work(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    over, seen = threading.Event(), []

    def look() -> None:
        while not over.is_set():
            seen.append(books.check())

    def work() -> None:
        try:
            ready_platform(world, emmy, admin)
            world.finish(platforms.retire_platform(acting_user=emmy, slug="alpha", confirm="alpha").pk)
        finally:
            over.set()

    at_once(look, work)
    assert seen
    assert [wrong for wrong in seen if wrong] == []


@pytest.mark.django_db(transaction=True)
def test_the_check_changes_nothing_and_waits_for_nobody(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    """A worker holds the run's lock: the check does not wait for it."""
    run = approve(emmy, admin)
    from django.db import transaction

    with transaction.atomic():
        runs.lock_run(run.pk)
        quota.lock(optics)
        outcome: list[object] = []
        at_once(lambda: outcome.append(books.check()))
    assert outcome == [[]]
    assert quota.used(optics) == Cost(platforms=1, machines=2, vcpus=2, memory_mib=768, disk_gib=16)
