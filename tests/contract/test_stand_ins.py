"""Stand-ins in the directory: a machine sees them as it sees everybody, nobody else does, and nothing of them is left."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from placo.domain import stand_ins
from placo.domain.stand_ins import Role
from placo.drivers.ports import Directory, MachineAccount, Person
from placo.drivers.ssh import new_key
from tests.contract.directories import Outside, made

pytest_plugins = ("tests.contract.directories",)

PASSWORD, SECRET = "a long enough password", "a machine's password"
MEMBER, EXPIRED, STRANGER = (
    stand_ins.uid_of(17, role) for role in (Role.MEMBER, Role.EXPIRED, Role.STRANGER)
)
ELSEWHERE = stand_ins.slug_of(17)


def person(uid: str, ends_at: datetime | None = None) -> Person:
    return Person(uid, "A stand-in", f"{uid}@{stand_ins.MAIL_DOMAIN}", guest=True, ends_at=ends_at)


@pytest.fixture
def elsewhere(directory: Directory) -> Iterator[str]:
    """A platform, a stand-in who is its member, one whose time is over, and one who is a member elsewhere; the platform's uuid."""
    uuid = made(directory)
    directory.ensure_machine_account("contract-a", MachineAccount("svn", SECRET))
    directory.ensure_platform(ELSEWHERE, str(uuid4()), ())
    for uid, ends_at in (
        (MEMBER, None),
        (EXPIRED, datetime.now(UTC) - timedelta(days=1)),
        (STRANGER, None),
    ):
        directory.ensure_guest(person(uid, ends_at))
        directory.set_guest_password(uid, PASSWORD)
        directory.ensure_member(ELSEWHERE if uid == STRANGER else "contract-a", uid)
    yield uuid
    found = directory.stand_ins()
    for uid in found.uids:
        directory.remove_guest(uid)
    for slug, other in found.platforms.items():
        directory.remove_platform(slug, other)


def test_a_machine_sees_those_who_are_members_of_its_platform(
    directory_world: Outside, directory: Directory, elsewhere: str
) -> None:
    dn = directory.machine_dn("contract-a", "svn")
    assert directory_world.visible_to(dn, SECRET) == {"olivier", MEMBER, EXPIRED}
    assert directory_world.opens(MEMBER, PASSWORD)
    assert not directory_world.opens(MEMBER, PASSWORD + "x")
    assert not directory_world.opens(EXPIRED, PASSWORD), "the time is over"
    assert directory_world.opens(STRANGER, PASSWORD)
    directory.remove_member("contract-a", MEMBER)
    assert directory_world.visible_to(dn, SECRET) == {"olivier", EXPIRED}


def test_nobody_else_does(directory: Directory, elsewhere: str) -> None:
    before = directory.status().people
    assert directory.members("contract-a") == {"olivier": True}
    assert directory.person(MEMBER) is None
    assert directory.person(MEMBER.upper()) is None
    assert directory.people([MEMBER, "olivier"]).keys() == {"olivier"}
    assert directory.person_with_mail(person(MEMBER).mail) is None
    for text in (MEMBER, "stand-in", "g-0", "invalid"):
        assert directory.search_people(text) == []
    assert not any(stand_ins.is_stand_in(guest.uid) for guest in directory.guests())
    assert ELSEWHERE not in directory.platforms()
    assert directory.platforms()["contract-a"] == elsewhere
    directory.remove_guest(MEMBER)
    assert directory.status().people == before


def test_their_keys_are_seen_by_a_machine_and_by_nobody_else(
    directory_world: Outside, directory: Directory, elsewhere: str
) -> None:
    key = new_key()[1]
    for uid in (MEMBER, STRANGER):
        directory.set_ssh_keys(uid, [key])
    dn = directory.machine_dn("contract-a", "svn")
    assert directory_world.keys_visible_to(dn, SECRET) == {MEMBER: (key,)}
    assert not any(stand_ins.is_stand_in(uid) for uid in directory.ssh_keys())
    for uid in (MEMBER, STRANGER):
        directory.set_ssh_keys(uid, [])
    assert directory_world.keys_visible_to(dn, SECRET) == {}


def test_what_is_left_is_found_and_goes(
    directory_world: Outside, directory: Directory, elsewhere: str
) -> None:
    found = directory.stand_ins()
    assert set(found.uids) == {MEMBER, EXPIRED, STRANGER}
    assert set(found.platforms) == {ELSEWHERE}
    for uid in (*found.uids, *found.uids):
        directory.remove_guest(uid)
    for slug, uuid in found.platforms.items():
        directory.remove_platform(slug, uuid)
    assert directory.stand_ins() == type(found)((), {})
    assert directory.entries(ELSEWHERE) == []
    dn = directory.machine_dn("contract-a", "svn")
    assert directory_world.visible_to(dn, SECRET) == {"olivier"}
    assert directory.members("contract-a") == {"olivier": True}


def test_making_them_twice_is_making_them_once(directory: Directory, elsewhere: str) -> None:
    directory.ensure_guest(person(MEMBER))
    directory.set_guest_password(MEMBER, PASSWORD)
    directory.ensure_member("contract-a", MEMBER)
    assert len(directory.stand_ins().uids) == 3
