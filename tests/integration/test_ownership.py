"""Handing a platform over, stepping down, leaving for good; what happens to platforms that nobody looks after."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail

from placo.drivers.ports import DriverError, Person, Unavailable
from placo.platforms.models import (
    ApiToken,
    Guest,
    Invitation,
    Membership,
    Notice,
    Platform,
    Project,
    ProjectOwner,
    Run,
    SshKey,
    User,
)
from placo.services import (
    access,
    accounts,
    attending,
    changes,
    departures,
    doctor,
    engine,
    keys,
    members,
    notices,
    ownership,
    platforms,
    post,
    requests,
)
from placo.services.errors import Conflict, DirectoryDown, Forbidden, NotFound
from tests.factories import approve, bearer, make_user, ready_platform, submit
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.people import SENDER, SLUG, guest_of, invite, member_run

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM0oiFD2Lh7TdUbsbpJTR2vKYszOixl+IRp4643lZeJU laptop"


@pytest.fixture
def alpha(world: World, clock: Clock, optics: Project, emmy: User, admin: User, configured: Any) -> Platform:
    """A platform of emmy's in which alan is a member."""
    configured(mail=SENDER)
    world.directory.now = lambda: clock.time
    world.directory.owners_of = {"optics": {"emmy"}, "topology": {"sofia"}}
    world.directory.admins = {"ada"}
    platform = ready_platform(world, emmy, admin)
    members.add_member(acting_user=emmy, slug=SLUG, uid="alan")
    world.finish(member_run("alan").pk)
    return platform


@pytest.fixture
def alan(alpha: Platform) -> User:
    return make_user("alan", name="Alan Turing")


def hand_over(world: World, by: User, uid: str) -> None:
    """Make somebody an owner, in the directory too."""
    ownership.hand_over(acting_user=by, slug=SLUG, uid=uid)
    world.finish(member_run(uid).pk)


def step_down(world: World, who: User, uid: str = "") -> None:
    """Somebody is an owner no more, in the directory neither."""
    ownership.step_down(acting_user=who, slug=SLUG, uid=uid or who.username)
    world.finish(member_run(uid or who.username).pk)


# --- handing over ---


def test_a_platform_is_handed_over(world: World, alpha: Platform, emmy: User, alan: User) -> None:
    hand_over(world, emmy, "alan")
    assert world.directory.members(SLUG) == {"emmy": True, "alan": True}
    assert access.owners_of(alpha) == ["alan", "emmy"]
    members.add_member(acting_user=alan, slug=SLUG, uid="evariste")
    step_down(world, emmy)
    assert world.directory.members(SLUG)["emmy"] is False
    assert access.owners_of(alpha) == ["alan"]
    with pytest.raises(Forbidden):
        members.add_member(acting_user=emmy, slug=SLUG, uid="sofia")
    with pytest.raises(Forbidden):
        platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG)
    # The project, its quota and its other platforms are the directory's business.
    assert [project.slug for project in access.owned_projects(emmy)] == ["optics"]
    assert notices.recipients(alpha) == ["alan"]
    accounts.refresh_roles()
    assert access.owners_of(alpha) == ["alan"], "the directory's roles change nothing about that"
    assert Membership.objects.get(uid="alan").owner

    hand_over(world, alan, "emmy")
    assert access.owners_of(alpha) == ["alan", "emmy"]
    assert world.directory.members(SLUG)["emmy"] is True


def test_the_last_owner_stays(world: World, alpha: Platform, emmy: User, alan: User, admin: User) -> None:
    for who in (emmy, admin):
        with pytest.raises(Conflict):
            ownership.step_down(acting_user=who, slug=SLUG, uid="emmy")
    hand_over(world, emmy, "alan")
    step_down(world, alan)
    with pytest.raises(Conflict):
        ownership.step_down(acting_user=emmy, slug=SLUG, uid="emmy")
    assert access.owners_of(alpha) == ["emmy"]


def test_who_may_hand_over_what_to_whom(
    world: World, alpha: Platform, emmy: User, alan: User, sofia: User, admin: User
) -> None:
    guest = guest_of(world, emmy)
    with pytest.raises(NotFound):
        ownership.hand_over(acting_user=sofia, slug=SLUG, uid="alan")
    with pytest.raises(Forbidden):
        ownership.hand_over(acting_user=alan, slug=SLUG, uid="alan")
    with pytest.raises(Conflict):
        ownership.hand_over(acting_user=emmy, slug=SLUG, uid=guest.uid)
    for nobody in ("sofia", "*", "", "al\x00an", "x" * 200):
        with pytest.raises(NotFound):
            ownership.hand_over(acting_user=emmy, slug=SLUG, uid=nobody)
        with pytest.raises(NotFound):
            ownership.step_down(acting_user=admin, slug=SLUG, uid=nobody)
    hand_over(world, emmy, "alan")
    before = Membership.objects.get(uid="alan").version
    ownership.hand_over(acting_user=emmy, slug=SLUG, uid="alan")
    assert Membership.objects.get(uid="alan").version == before, "twice is harmless"
    with pytest.raises(Forbidden):
        ownership.step_down(acting_user=emmy, slug=SLUG, uid="alan")
    with pytest.raises(Conflict):
        members.remove_member(acting_user=emmy, slug=SLUG, uid="alan")
    ownership.step_down(acting_user=admin, slug=SLUG, uid="alan")
    assert access.owners_of(alpha) == ["emmy"]


def test_who_loses_the_project_loses_its_platforms_in_the_directory_too(
    world: World, alpha: Platform, emmy: User, alan: User
) -> None:
    hand_over(world, emmy, "alan")
    world.directory.owners_of = {"optics": {"evariste"}}
    accounts.refresh_roles()
    assert access.owners_of(alpha) == ["alan", "evariste"]
    assert attending.attend().followed == 1
    world.finish(member_run("emmy").pk)
    assert world.directory.members(SLUG) == {"emmy": False, "alan": True}


# --- leaving ---


def test_who_leaves_is_out_of_everything(
    world: World, alpha: Platform, emmy: User, alan: User, admin: User, clock: Clock
) -> None:
    ready_platform(world, emmy, admin, slug="beta", services=["web"])
    members.add_member(acting_user=emmy, slug="beta", uid="alan")
    world.finish(member_run("alan").pk)
    hand_over(world, emmy, "alan")
    keys.add(acting_user=alan, key=KEY)
    invite(alan)
    token = bearer(alan)
    with pytest.raises(Forbidden):
        departures.leave(acting_user=emmy, uid="alan")
    with pytest.raises(NotFound):
        departures.leave(acting_user=admin, uid="nobody-here")

    assert departures.leave(acting_user=admin, uid="alan") == [SLUG, "beta"]
    for run in alpha.runs.model.objects.filter(kind="member", subject="alan", ended_at=None):
        assert world.finish(run.pk).state == "done"
    assert world.directory.members(SLUG) == {"emmy": True}
    assert world.directory.members("beta") == {"emmy": True}
    assert world.directory.ssh_keys() == {}
    assert not SshKey.objects.exists()
    assert token
    assert not ApiToken.objects.filter(user=alan).exists()
    assert Invitation.objects.get().revoked_at is not None
    assert not access.visible_platforms(alan).exists()
    view = departures.person_view(acting_user=admin, uid="alan")
    assert (view.memberships, view.platforms, view.keys) == ([], [], 0)


def test_an_owner_of_the_project_who_leaves_manages_nothing(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    departures.leave(acting_user=admin, uid="emmy")
    world.finish(member_run("emmy").pk)
    accounts.refresh_roles()
    assert not access.managed_platforms(emmy).exists()
    assert world.directory.members(SLUG) == {"alan": False}
    view = departures.person_view(acting_user=admin, uid="emmy")
    assert view.projects == ["optics"], "which is told, for it is the directory's"


def test_who_goes_from_the_directory_goes_from_the_portal(
    world: World, alpha: Platform, emmy: User, alan: User
) -> None:
    guest = guest_of(world, emmy)
    keys.add(acting_user=alan, key=KEY)
    world.directory.remove_person("alan")
    world.directory.remove_guest(guest.uid)
    assert set(world.directory.members(SLUG)) == {"emmy"}
    assert attending.attend().gone == 2
    for uid in ("alan", guest.uid):
        world.finish(member_run(uid).pk)
    assert list(Membership.objects.values_list("uid", flat=True)) == ["emmy"]
    assert Guest.objects.get().state == Guest.REMOVED
    assert world.directory.ssh_keys() == {}
    assert attending.attend() == attending.Attended()


def _change_begins(emmy: User, admin: User) -> Run:
    asked = changes.submit_change(
        acting_user=emmy, slug=SLUG, services=["web"], justification="x", confirm=SLUG
    )
    return requests.approve_request(acting_user=admin, request_id=asked.pk)


def _retirement_begins(emmy: User, _admin: User) -> Run:
    return platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG)


@pytest.mark.parametrize("trouble", ["waits", "stuck"])
@pytest.mark.parametrize("begin", [_change_begins, _retirement_begins])
def test_who_leaves_is_out_at_once_where_a_platform_is_busy(
    world: World, alpha: Platform, emmy: User, alan: User, admin: User, begin: Any, trouble: str
) -> None:
    """A run waits for its host, or for a decision: people do not wait with it."""
    faults = world.host_of(alpha).faults
    if trouble == "waits":
        faults.unreachable = True
    else:
        faults.fail_next("shutdown_domain", DriverError("out"), times=99)
        faults.fail_next("kill_domain", DriverError("out"), times=99)
    busy = world.finish(begin(emmy, admin).pk)
    assert busy.state == ("running" if trouble == "waits" else "stuck")
    departures.leave(acting_user=admin, uid="alan")
    assert world.finish(member_run("alan").pk).state == "done"
    assert "alan" not in world.directory.members(SLUG)
    assert not Membership.objects.filter(uid="alan").exists()
    busy.refresh_from_db()
    assert busy.ended_at is None


def test_an_owner_removes_a_member_from_a_platform_that_waits(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    world.host_of(alpha).faults.unreachable = True
    for begin in (_change_begins, _retirement_begins):
        busy = world.finish(begin(emmy, admin).pk)
        uid = "alan" if begin is _change_begins else "evariste"
        members.remove_member(acting_user=emmy, slug=SLUG, uid=uid)
        assert world.finish(member_run(uid).pk).state == "done"
        assert uid not in world.directory.members(SLUG)
        if begin is _change_begins:
            members.add_member(acting_user=emmy, slug=SLUG, uid="evariste")
            assert world.finish(member_run("evariste").pk).state == "done"
            world.host_of(alpha).faults.unreachable = False
            assert world.finish(busy.pk).state == "done"
            world.host_of(alpha).faults.unreachable = True
        else:
            with pytest.raises(Conflict):
                members.add_member(acting_user=emmy, slug=SLUG, uid=uid)


def test_who_leaves_while_a_platform_is_made_is_not_let_in_by_it(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step that makes the subtree has read who owns it, and they leave before it acts: whoever is later, they are out."""
    run = approve(emmy, admin)
    real = world.directory.ensure_platform

    def left_meanwhile(*arguments: Any) -> None:
        monkeypatch.setattr(world.directory, "ensure_platform", real)
        departures.leave(acting_user=admin, uid="emmy")
        engine.advance(member_run("emmy").pk)
        assert member_run("emmy").ended_at is None
        real(*arguments)
        assert "emmy" in world.directory.members(SLUG), "the other one was later"

    monkeypatch.setattr(world.directory, "ensure_platform", left_meanwhile)
    assert world.finish(run.pk).state == "done"
    assert world.finish(member_run("emmy").pk).state == "done"
    assert world.directory.members(SLUG) == {}


def test_who_leaves_before_a_platform_is_approved_is_never_let_in(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    asked = submit(emmy)
    departures.leave(acting_user=admin, uid="emmy")
    assert not Run.objects.exists()
    assert world.finish(requests.approve_request(acting_user=admin, request_id=asked.pk).pk).state == "done"
    assert world.directory.members(SLUG) == {}


def test_a_directory_that_lost_its_people_removes_nobody(
    world: World, alpha: Platform, emmy: User, clock: Clock
) -> None:
    for number in range(12):
        uid = f"somebody{number}"
        world.directory.add_person(Person(uid, uid, f"{uid}@example.org"))
        members.add_member(acting_user=emmy, slug=SLUG, uid=uid)
        world.finish(member_run(uid).pk)
    for number in range(6):
        world.directory.remove_person(f"somebody{number}")
    assert attending.attend().gone == 0
    assert Membership.objects.filter(wanted=True).count() == 14
    [result] = [r for r in doctor.records.look_at_people() if r.level is doctor.Level.FAILURE]
    assert "6 of 14" in result.text


def test_a_silent_directory_is_nobodys_departure(
    world: World, alpha: Platform, emmy: User, admin: User
) -> None:
    world.directory.faults.unreachable = True
    with pytest.raises(Unavailable):
        attending.attend()
    with pytest.raises(DirectoryDown):
        departures.leave(acting_user=admin, uid="alan")
    assert departures.person_view(acting_user=admin, uid="alan").silent
    assert Membership.objects.filter(wanted=True).count() == 2


# --- nobody looks after it ---


def test_a_platform_without_owner_is_reported_once(
    world: World, alpha: Platform, emmy: User, alan: User, admin: User, clock: Clock
) -> None:
    assert attending.attend().ownerless == 0
    world.directory.remove_person("emmy")
    accounts.refresh_roles()
    assert not ProjectOwner.objects.filter(uid="emmy").exists()
    assert attending.attend().ownerless == 1
    [notice] = Notice.objects.all()
    assert (notice.uid, notice.kind) == ("ada", Notice.OWNERLESS)
    assert attending.attend().ownerless == 0
    mail.outbox.clear()
    assert post.send_due() == 1
    assert "Nobody looks after alpha" in mail.outbox[0].subject
    assert "/platforms/alpha/people/" in mail.outbox[0].body
    [result] = doctor.records.look_at_people()
    assert result.level is doctor.Level.WARNING
    assert SLUG in result.text
    assert [p.slug for p in ownership.ownerless()] == [SLUG]

    ownership.hand_over(acting_user=admin, slug=SLUG, uid="alan")
    assert ownership.ownerless() == []
    assert notices.unread(admin).count() == 0
    assert [r.level for r in doctor.records.look_at_people()] == [doctor.Level.OK]
