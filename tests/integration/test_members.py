"""Members come and go: the directory follows the last wish, whatever happens on the way."""

from __future__ import annotations

from typing import Any

import pytest

from placo.domain import saga
from placo.drivers.ports import DriverError, Rejected, Unavailable
from placo.platforms.models import Membership, Platform, Project, Run, User
from placo.services import access, engine, members, platforms, steps
from placo.services.errors import Conflict, DirectoryDown, Forbidden, InvalidInput, NotFound
from tests.factories import make_user, ready_platform
from tests.fakes import World

SLUG = "alpha"


@pytest.fixture
def platform(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    """A platform of emmy's that is ready."""
    return ready_platform(world, emmy, admin)


def run_of(uid: str) -> Run:
    """The latest run about somebody."""
    return Run.objects.filter(kind="member", subject=uid).latest("id")


def in_directory(world: World) -> set[str]:
    """Who is a member for every machine of the platform."""
    return set(world.directory.members(SLUG))


def test_added_then_removed(world: World, platform: Platform, emmy: User) -> None:
    row = members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    assert (row.name, row.wanted, row.settled) == ("Alan Turing", True, False)
    assert in_directory(world) == {"emmy"}
    assert world.finish(run_of("alan").pk).state == "done"
    assert in_directory(world) == {"emmy", "alan"}
    assert Membership.objects.get(uid="alan").settled

    row = members.remove_member(acting_user=emmy, slug=SLUG, uid="alan")
    assert (row.wanted, row.settled) == (False, False)
    assert world.finish(run_of("alan").pk).state == "done"
    assert in_directory(world) == {"emmy"}
    assert not Membership.objects.filter(uid="alan").exists()


def test_adding_twice_is_harmless(world: World, platform: Platform, emmy: User) -> None:
    first = members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    again = members.add_member(acting_user=emmy, slug=SLUG, uid="ALAN")
    assert (first.pk, first.version) == (again.pk, again.version)
    assert Run.objects.filter(kind="member").count() == 1


def test_a_member_sees_the_platform_and_a_removed_one_does_not(
    world: World, platform: Platform, emmy: User
) -> None:
    alan = make_user("alan")
    with pytest.raises(NotFound):
        access.get_platform(alan, SLUG)
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    world.finish(run_of("alan").pk)
    assert access.get_platform(alan, SLUG) == platform
    with pytest.raises(Forbidden):
        members.add_member(acting_user=alan, slug=SLUG, uid="evariste")
    with pytest.raises(Forbidden):
        platforms.retire_platform(acting_user=alan, slug=SLUG, confirm=SLUG)
    members.remove_member(acting_user=emmy, slug=SLUG, uid="alan")
    with pytest.raises(NotFound):
        access.get_platform(alan, SLUG)


def test_the_directory_fails_and_comes_back(world: World, platform: Platform, emmy: User) -> None:
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    world.directory.faults.fail_next("ensure_member", Unavailable("restarting"), times=3)
    assert world.finish(run_of("alan").pk).state == "done"
    assert in_directory(world) == {"emmy", "alan"}


def test_a_change_of_mind_before_the_step(world: World, platform: Platform, emmy: User) -> None:
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    members.remove_member(acting_user=emmy, slug=SLUG, uid="alan")
    assert Run.objects.filter(kind="member").count() == 1
    assert world.finish(run_of("alan").pk).state == "done"
    assert in_directory(world) == {"emmy"}
    assert not Membership.objects.filter(uid="alan").exists()


def test_a_change_of_mind_inside_the_step(
    world: World, platform: Platform, emmy: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wish changes after the directory was told and before the row is settled: the step looks again."""
    real = world.directory.ensure_member

    def told_then_changed(slug: str, uid: str, *, owner: bool = False) -> None:
        real(slug, uid, owner=owner)
        members.remove_member(acting_user=emmy, slug=SLUG, uid=uid)

    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    monkeypatch.setattr(world.directory, "ensure_member", told_then_changed)
    assert world.finish(run_of("alan").pk).state == "done"

    assert in_directory(world) == {"emmy"}
    assert not Membership.objects.filter(uid="alan").exists()


def test_a_change_of_mind_between_the_step_and_the_end_of_its_run(
    world: World, platform: Platform, emmy: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step has settled the row, its run has not ended yet: the new wish gets a run of its own."""
    real = steps.perform

    def done_then_changed(step: Any, verb: Any, guard: Any) -> Any:
        answer = real(step, verb, guard)
        monkeypatch.setattr(steps, "perform", real)
        members.remove_member(acting_user=emmy, slug=SLUG, uid="alan")
        return answer

    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    first = run_of("alan")
    monkeypatch.setattr(steps, "perform", done_then_changed)
    assert world.finish(first.pk).state == "done"
    second = run_of("alan")
    assert second.pk != first.pk
    assert world.finish(second.pk).state == "done"

    assert in_directory(world) == {"emmy"}
    assert not Membership.objects.filter(uid="alan").exists()


def test_a_wish_revives_a_run_that_is_stuck(world: World, platform: Platform, emmy: User) -> None:
    world.directory.faults.fail_next("ensure_member", DriverError("out"), saga.policy("member").attempts)
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    assert world.finish(run_of("alan").pk).state == "stuck"
    members.remove_member(acting_user=emmy, slug=SLUG, uid="alan")
    assert world.finish(run_of("alan").pk).state == "done"

    assert in_directory(world) == {"emmy"}
    assert not Membership.objects.filter(uid="alan").exists()


def test_somebody_who_left_meanwhile_is_refused(world: World, platform: Platform, emmy: User) -> None:
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    world.directory.remove_person("alan")
    assert world.finish(run_of("alan").pk).state == "undone"

    assert in_directory(world) == {"emmy"}
    assert not Membership.objects.filter(uid="alan").exists()


def test_a_refused_removal_is_seen_and_not_forgotten(world: World, platform: Platform, emmy: User) -> None:
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    world.finish(run_of("alan").pk)
    members.remove_member(acting_user=emmy, slug=SLUG, uid="alan")
    world.directory.faults.fail_next("remove_member", Rejected("no right to write"), times=2)
    run = world.finish(run_of("alan").pk)

    assert in_directory(world) == {"emmy", "alan"}
    assert Membership.objects.filter(uid="alan").exists()
    assert run.steps.get().state == "failed"


def test_retiring_ends_what_is_stuck_about_members(world: World, platform: Platform, emmy: User) -> None:
    world.directory.faults.fail_next("ensure_member", DriverError("out"), saga.policy("member").attempts)
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    assert world.finish(run_of("alan").pk).state == "stuck"
    world.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)

    assert run_of("alan").state == "undone"
    assert world.audit(SLUG) == []
    assert engine.due_runs() == []


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uid", ["nobody", "", "*", "a*", "al(an", "al\\an", "al\x00an", "alan,ou=people", "x" * 200]
)
def test_nobody_by_that_account(uid: str, world: World, platform: Platform, emmy: User) -> None:
    with pytest.raises(InvalidInput) as refused:
        members.add_member(acting_user=emmy, slug=SLUG, uid=uid)
    assert set(refused.value.errors) == {"uid"}
    with pytest.raises(NotFound):
        members.remove_member(acting_user=emmy, slug=SLUG, uid=uid)
    assert in_directory(world) == {"emmy"}
    assert Membership.objects.count() == 1
    assert not Run.objects.filter(kind="member").exists()


def test_an_owner_stays(world: World, platform: Platform, emmy: User) -> None:
    with pytest.raises(Conflict):
        members.remove_member(acting_user=emmy, slug=SLUG, uid="emmy")
    assert in_directory(world) == {"emmy"}


def test_people_cannot_be_changed_while_a_platform_goes(world: World, platform: Platform, emmy: User) -> None:
    platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG)
    with pytest.raises(Conflict):
        members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    assert Membership.objects.count() == 1


def test_with_the_directory_down_nothing_is_promised(world: World, platform: Platform, emmy: User) -> None:
    world.directory.faults.unreachable = True
    with pytest.raises(DirectoryDown):
        members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    with pytest.raises(DirectoryDown):
        members.search_people(acting_user=emmy, slug=SLUG, text="alan")
    assert Membership.objects.count() == 1


def test_searching_leaves_out_who_is_in_already(
    world: World, platform: Platform, emmy: User, sofia: User
) -> None:
    assert [p.uid for p in members.search_people(acting_user=emmy, slug=SLUG, text="Galois")] == ["evariste"]
    assert members.search_people(acting_user=emmy, slug=SLUG, text="Noether") == []
    assert members.search_people(acting_user=emmy, slug=SLUG, text="a") == []
    assert members.search_people(acting_user=emmy, slug=SLUG, text="al\x00an") == []
    with pytest.raises(NotFound):
        members.search_people(acting_user=sofia, slug=SLUG, text="Galois")
