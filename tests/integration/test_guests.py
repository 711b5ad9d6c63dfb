"""The life of a guest: until when, who removes the account, what a guest may not, the same link opened twice at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from placo.drivers.ports import Unavailable
from placo.platforms.models import (
    ApiToken,
    Guest,
    Invitation,
    Membership,
    Platform,
    User,
)
from placo.services import (
    access,
    accounts,
    attending,
    invitations,
    joining,
    members,
    platforms,
    renewal,
    requests,
)
from placo.services.errors import Conflict, Forbidden, InvalidInput, NotFound
from tests.factories import bearer, make_user, ready_platform, wish
from tests.fakes import World
from tests.integration.conftest import Clock
from tests.integration.people import (
    ADDRESS,
    PASSWORD,
    SLUG,
    guest_of,
    invite,
    join,
    member_run,
    open_to_guests,
    token_of,
    user_of,
)


@pytest.fixture
def alpha(world: World, clock: Clock, ready: Callable[..., Platform], configured: Any) -> Platform:
    open_to_guests(world, clock, configured)
    return ready()


@pytest.fixture
def marie(world: World, alpha: Platform, emmy: User) -> Guest:
    return guest_of(world, emmy)


def finish_all(world: World) -> None:
    """All runs of members, as the workers would."""
    for uid in set(Membership.objects.filter(settled=False).values_list("uid", flat=True)):
        world.finish(member_run(uid).pk)


# --- until when ---


def test_an_account_ends_with_its_platform_and_goes_on_with_it(
    world: World, alpha: Platform, marie: Guest, emmy: User, admin: User, clock: Clock
) -> None:
    end = Platform.objects.get().expires_on
    assert Guest.objects.get().ends_on == end
    assert end is not None
    renewal.set_end(acting_user=admin, slug=SLUG, expires_on=end + timedelta(days=30))
    assert attending.attend().changed == 1
    clock.go_to(end + timedelta(days=1))
    assert world.directory.opens(marie.uid, PASSWORD)
    clock.go_to(end + timedelta(days=30))
    assert not world.directory.opens(marie.uid, PASSWORD), "without anybody doing anything"
    assert attending.attend().failed == 0


def test_a_last_day_of_ones_own(
    world: World, alpha: Platform, emmy: User, api: Any, client: Client, clock: Clock
) -> None:
    last = clock.today + timedelta(days=5)
    token = token_of(invite(emmy, until=last.isoformat()))
    marie, row = join(token)
    world.finish(member_run(marie.uid).pk)
    assert (row.until, Guest.objects.get().ends_on) == (last, last)
    user = user_of(marie)
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    caller = api(user)
    clock.forward(4)
    accounts.refresh_roles()
    assert client.get("/account/").status_code == 200
    caller("GET", "/platforms/alpha", status=200)

    clock.go_to(last)
    assert not world.directory.opens(marie.uid, PASSWORD)
    accounts.refresh_roles()
    assert client.get("/account/").status_code == 302, "to the login"
    caller("GET", "/platforms", status=401)
    assert attending.attend().ended == 1
    finish_all(world)
    assert world.directory.members(SLUG) == {"emmy": True}
    assert not Membership.objects.filter(uid=marie.uid).exists()


def test_owners_move_the_last_day(
    world: World, alpha: Platform, marie: Guest, emmy: User, clock: Clock
) -> None:
    later = clock.today + timedelta(days=20)
    for wrong in (clock.today.isoformat(), "yesterday", "2027-02-30", "9999-01-01", 7, "\x00"):
        with pytest.raises(InvalidInput):
            members.set_until(acting_user=emmy, slug=SLUG, uid=marie.uid, until=wrong)
    members.set_until(acting_user=emmy, slug=SLUG, uid=marie.uid, until=later.isoformat())
    attending.attend()
    person = world.directory.person(marie.uid)
    assert person is not None
    assert person.ends_at is not None
    assert person.ends_at.astimezone().date() in (later, later - timedelta(days=1))
    assert Guest.objects.get().ends_on == later
    members.set_until(acting_user=emmy, slug=SLUG, uid=marie.uid, until="")
    attending.attend()
    assert Guest.objects.get().ends_on == Platform.objects.get().expires_on
    with pytest.raises(Conflict):
        members.set_until(acting_user=emmy, slug=SLUG, uid="emmy", until=later.isoformat())
    with pytest.raises(NotFound):
        members.set_until(acting_user=emmy, slug=SLUG, uid="sofia", until=later.isoformat())
    with pytest.raises(NotFound):
        members.set_until(acting_user=make_user("sofia"), slug=SLUG, uid=marie.uid, until="")


def test_who_is_on_no_platform_is_closed_at_once_and_removed_after_a_while(
    world: World, alpha: Platform, marie: Guest, emmy: User, clock: Clock
) -> None:
    user = user_of(marie)
    token = bearer(user)
    members.remove_member(acting_user=emmy, slug=SLUG, uid=marie.uid)
    finish_all(world)
    attending.attend()
    assert not world.directory.opens(marie.uid, PASSWORD)
    clock.forward(9)
    assert attending.attend().removed == 0
    clock.forward(1)
    assert attending.attend().removed == 1
    assert world.directory.guests() == []
    assert Guest.objects.get().state == Guest.REMOVED
    assert not User.objects.get(pk=user.pk).is_active
    assert not ApiToken.objects.filter(user=user).exists()
    assert token
    assert attending.attend() == attending.Attended()
    # Neither the account nor what looks like it is anybody else's afterwards; the address is free.
    again = token_of(invite(emmy))
    for name in ("marie", "mar1e"):
        with pytest.raises(InvalidInput):
            join(again, name=name)
    other, _row = join(again, name="mcurie")
    assert other.uid == "g-mcurie"


def test_an_invitation_opens_the_account_again(
    world: World, alpha: Platform, marie: Guest, emmy: User, clock: Clock
) -> None:
    members.remove_member(acting_user=emmy, slug=SLUG, uid=marie.uid)
    finish_all(world)
    attending.attend()
    clock.forward(9)
    row = invite(emmy)
    attending.attend()
    assert world.directory.opens(marie.uid, PASSWORD)
    joining.accept(acting_user=user_of(marie), token=token_of(row))
    finish_all(world)
    clock.forward(30)
    assert attending.attend().removed == 0
    assert world.directory.opens(marie.uid, PASSWORD)


def test_a_platform_that_ends_takes_its_guests_along(
    world: World, alpha: Platform, marie: Guest, emmy: User, clock: Clock
) -> None:
    world.finish(platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG).pk)
    attending.attend()
    assert not world.directory.opens(marie.uid, PASSWORD)
    clock.forward(10)
    assert attending.attend().removed == 1
    assert world.audit(SLUG) == []


def test_a_guest_of_two_platforms_stays_for_the_other(
    world: World, alpha: Platform, marie: Guest, emmy: User, admin: User
) -> None:
    ready_platform(world, emmy, admin, slug="beta", services=["web"])
    row = invitations.invite(acting_user=emmy, slug="beta", mail=ADDRESS)
    joining.accept(acting_user=user_of(marie), token=token_of(row))
    finish_all(world)
    members.remove_member(acting_user=emmy, slug=SLUG, uid=marie.uid)
    finish_all(world)
    attending.attend()
    assert Guest.objects.get().alone_on is None
    assert world.directory.opens(marie.uid, PASSWORD)
    assert world.directory.members("beta") == {"emmy": True, marie.uid: False}


def test_a_guest_comes_to_another_platform_by_invitation_alone(
    world: World, alpha: Platform, marie: Guest, emmy: User, admin: User
) -> None:
    ready_platform(world, emmy, admin, slug="beta", services=["web"])
    for text in (marie.uid, marie.name, ADDRESS):
        assert members.search_people(acting_user=emmy, slug="beta", text=text) == []
    with pytest.raises(Conflict, match="invitation"):
        members.add_member(acting_user=emmy, slug="beta", uid=marie.uid)
    assert marie.uid not in world.directory.members("beta")
    assert not Membership.objects.filter(uid=marie.uid, platform__slug="beta").exists()


def test_a_guest_who_was_removed_can_be_taken_back(
    world: World, alpha: Platform, marie: Guest, emmy: User
) -> None:
    members.remove_member(acting_user=emmy, slug=SLUG, uid=marie.uid)
    finish_all(world)
    (found,) = members.search_people(acting_user=emmy, slug=SLUG, text=marie.uid)
    assert found.uid == marie.uid
    members.add_member(acting_user=emmy, slug=SLUG, uid=marie.uid)
    finish_all(world)
    assert marie.uid in world.directory.members(SLUG)


def test_the_directory_is_silent_for_a_while(
    world: World, alpha: Platform, marie: Guest, emmy: User, clock: Clock
) -> None:
    members.set_until(acting_user=emmy, slug=SLUG, uid=marie.uid, until=str(clock.today + timedelta(days=3)))
    world.directory.faults.unreachable = True
    with pytest.raises(Unavailable):
        attending.attend()
    world.directory.faults.clear()
    assert attending.attend().changed == 1
    assert attending.attend() == attending.Attended()


# --- what a guest may not ---


def test_a_guest_sees_the_portal_as_a_guest(
    world: World, alpha: Platform, marie: Guest, emmy: User, admin: User, client: Client
) -> None:
    ready_platform(world, emmy, admin, slug="beta", services=["web"])
    user = user_of(marie)
    # Even if somebody put the guest into the directory's groups.
    world.directory.owners_of = {"optics": {"emmy", marie.uid}}
    world.directory.admins = {"ada", marie.uid}
    accounts.refresh_roles()
    user.refresh_from_db()
    assert (user.is_guest, user.is_administrator) == (True, False)
    assert not access.owned_projects(user).exists()
    assert [p.slug for p in access.visible_platforms(user)] == [SLUG]
    with pytest.raises(NotFound):
        requests.submit_request(acting_user=user, **wish(slug="gamma"))
    with pytest.raises(Forbidden):
        invite(user, "friend@elsewhere.test")
    client.force_login(user, backend="placo.web.auth.DirectoryBackend")
    page = client.get("/").content.decode()
    assert "beta" not in page
    assert 'href="/requests/"' not in page
    assert 'href="/operations/"' not in page
    assert client.get("/operations/people/").status_code == 403
    assert client.get("/platforms/alpha/people/").status_code == 403
    assert "guest" in client.get("/account/").content.decode()


# --- at once ---


@pytest.mark.django_db(transaction=True)
def test_a_link_opened_twice_at_once_makes_one_account(world: World, alpha: Platform, emmy: User) -> None:
    token = token_of(invite(emmy))
    came = in_threads([lambda n=n: join(token, name=f"marie{n}") for n in "abcd"])
    assert sorted(type(found).__name__ for found in came) == ["Conflict"] * 3 + ["tuple"]
    assert len(world.directory.guests()) == Guest.objects.count() == 1
    assert Invitation.objects.get().accepted_by == Guest.objects.get().uid


@pytest.mark.django_db(transaction=True)
def test_one_name_taken_twice_at_once_is_one_persons(world: World, alpha: Platform, emmy: User) -> None:
    tokens = [token_of(invite(emmy, f"somebody{n}@elsewhere.test")) for n in range(3)]
    names = ("marie", "mar1e", "m.arie")
    came = in_threads([lambda t=t, n=n: join(t, name=n) for t, n in zip(tokens, names, strict=True)])
    assert sorted(type(found).__name__ for found in came) == ["InvalidInput"] * 2 + ["tuple"]
    assert len(world.directory.guests()) == Guest.objects.count() == 1
    assert Invitation.objects.filter(accepted_at=None, guest=None).count() == 2


def in_threads(deeds: list[Callable[[], object]]) -> list[object]:
    """What came of each, done at the same time."""
    came: list[object] = []
    together = threading.Barrier(len(deeds))

    def do(deed: Callable[[], object]) -> None:
        together.wait(30)
        try:
            came.append(deed())
        except Exception as error:  # noqa: BLE001 - looked at below
            came.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=do, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return came
