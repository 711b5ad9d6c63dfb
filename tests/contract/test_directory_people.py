"""The part of the directory's contract that is about people: guests, passwords, ends, ssh keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from placo.drivers.ports import Directory, MachineAccount, PasswordRefused, Person, Rejected
from tests.contract.at_once import at_once
from tests.contract.directories import Outside, guests_of_tests, made
from tests.contract.test_directory import HOSTILE_UIDS

pytest_plugins = ("tests.contract.directories",)

LATER = datetime(2099, 1, 1, tzinfo=UTC)
MARIE = Person("g-contract.marie", "Marie Skłodowska", "marie@elsewhere.test", guest=True, ends_at=LATER)
PASSWORD = "a long enough password"
KEY, OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1 marie@home", "ssh-ed25519 AAAAC3NzaC1lZDI2 marie@work"


# --- finding ---


def test_people_are_asked_for_together(directory: Directory) -> None:
    directory.ensure_guest(MARIE)
    found = directory.people(["olivier", "ELODIE", MARIE.uid, "nobody-with-this-uid"])
    assert set(found) == {"olivier", "elodie", MARIE.uid}
    assert found[MARIE.uid] == MARIE
    assert not found["olivier"].guest
    assert directory.people([]) == {}
    many = [f"somebody{number}" for number in range(230)]
    assert set(directory.people([*many, "olivier"])) == {"olivier"}


@pytest.mark.parametrize("uid", HOSTILE_UIDS)
def test_a_hostile_uid_is_nobody_among_people(directory: Directory, uid: str) -> None:
    directory.ensure_guest(MARIE)
    assert directory.people([uid]) == {}
    with pytest.raises(Rejected):
        directory.set_guest_password(uid, PASSWORD)
    with pytest.raises(Rejected):
        directory.change_guest_password(uid, PASSWORD, PASSWORD)
    with pytest.raises(Rejected):
        directory.set_ssh_keys(uid, [KEY])
    directory.remove_guest(uid)
    directory.set_ssh_keys(uid, [])
    assert guests_of_tests(directory) == [MARIE]


def test_a_person_is_found_by_the_address(directory: Directory) -> None:
    directory.ensure_guest(MARIE)
    assert directory.person_with_mail("marie@elsewhere.test") == MARIE
    assert directory.person_with_mail("Marie@Elsewhere.TEST") == MARIE
    found = directory.person_with_mail("olivier@placo.test")
    assert found is not None
    assert found.uid == "olivier"
    assert not found.guest
    for nobody in ("", "*", "mar*", "marie@elsewhere.test)(uid=*", "marïe@elsewhere.test", "\0", "\ud800"):
        assert directory.person_with_mail(nobody) is None


# --- guests ---


def test_a_guest_is_a_person_like_any_other(directory: Directory) -> None:
    for _ in range(2):
        directory.ensure_guest(MARIE)
    assert directory.person(MARIE.uid) == MARIE
    assert guests_of_tests(directory) == [MARIE]
    assert [person.uid for person in directory.search_people("Skłodowska")] == [MARIE.uid]
    made(directory)
    directory.ensure_member("contract-a", MARIE.uid)
    assert directory.members("contract-a") == {"olivier": True, MARIE.uid: False}


def test_a_guest_changes_and_keeps_the_password(directory_world: Outside) -> None:
    directory = directory_world.directory
    directory.ensure_guest(MARIE)
    assert not directory_world.opens(MARIE.uid, PASSWORD)
    directory.set_guest_password(MARIE.uid, PASSWORD)
    changed = replace(MARIE, name="Marie Curie", ends_at=None)
    directory.ensure_guest(changed)
    assert directory.person(MARIE.uid) == changed
    assert directory_world.opens(MARIE.uid, PASSWORD)


def test_a_guest_who_is_removed_is_in_no_group(directory_world: Outside) -> None:
    directory = directory_world.directory
    made(directory)
    directory.ensure_guest(MARIE)
    directory.set_guest_password(MARIE.uid, PASSWORD)
    directory.ensure_member("contract-a", MARIE.uid)
    for _ in range(2):
        directory.remove_guest(MARIE.uid)
    assert directory.members("contract-a") == {"olivier": True}
    assert directory.person(MARIE.uid) is None
    assert not directory_world.opens(MARIE.uid, PASSWORD)


def test_nobody_of_the_laboratory_is_a_guest(directory: Directory) -> None:
    olivier = directory.person("olivier")
    with pytest.raises(Rejected):
        directory.ensure_guest(Person("olivier", "Another", "another@elsewhere.test", guest=True))
    with pytest.raises(Rejected):
        directory.ensure_guest(Person("g-contract.two", "Another", "olivier@placo.test", guest=True))
    with pytest.raises(Rejected):
        directory.set_guest_password("olivier", PASSWORD)
    with pytest.raises(Rejected):
        directory.change_guest_password("olivier", "password of olivier", PASSWORD)
    directory.remove_guest("olivier")
    assert directory.person("olivier") == olivier
    assert guests_of_tests(directory) == []


def test_two_guests_have_two_addresses(directory: Directory) -> None:
    directory.ensure_guest(MARIE)
    with pytest.raises(Rejected):
        directory.ensure_guest(replace(MARIE, uid="g-contract.two", mail="MARIE@elsewhere.test"))
    assert guests_of_tests(directory) == [MARIE]


def test_two_threads_may_make_the_same_guest(directory: Directory) -> None:
    at_once(directory.ensure_guest, [MARIE] * 4)
    directory.ensure_guest(MARIE)
    assert guests_of_tests(directory) == [MARIE]


# --- ends and passwords ---


def test_beyond_the_end_nothing_opens_and_a_later_end_opens_again(directory_world: Outside) -> None:
    directory = directory_world.directory
    directory.ensure_guest(MARIE)
    directory.set_guest_password(MARIE.uid, PASSWORD)
    directory.ensure_guest(replace(MARIE, ends_at=datetime.now(UTC) - timedelta(minutes=1)))
    assert not directory_world.opens(MARIE.uid, PASSWORD)
    assert not directory.change_guest_password(MARIE.uid, PASSWORD, "another long password")
    directory.ensure_guest(MARIE)
    assert directory_world.opens(MARIE.uid, PASSWORD)


def test_a_password_is_changed_by_who_knows_it(directory_world: Outside) -> None:
    directory = directory_world.directory
    directory.ensure_guest(MARIE)
    directory.set_guest_password(MARIE.uid, PASSWORD)
    assert not directory.change_guest_password(MARIE.uid, "a wrong password", "another long password")
    assert directory_world.opens(MARIE.uid, PASSWORD)
    assert directory.change_guest_password(MARIE.uid, PASSWORD, "another löng password")
    assert directory_world.opens(MARIE.uid, "another löng password")
    assert not directory_world.opens(MARIE.uid, PASSWORD)


def test_the_policy_refuses_a_short_password(directory_world: Outside) -> None:
    directory = directory_world.directory
    directory.ensure_guest(MARIE)
    directory.set_guest_password(MARIE.uid, PASSWORD)
    with pytest.raises(PasswordRefused):
        directory.set_guest_password(MARIE.uid, "short")
    with pytest.raises(PasswordRefused):
        directory.change_guest_password(MARIE.uid, PASSWORD, "short")
    assert directory_world.opens(MARIE.uid, PASSWORD)


# --- owners ---


def test_an_owner_steps_down_and_stays_a_member(directory: Directory) -> None:
    made(directory)
    directory.ensure_member("contract-a", "maryam", owner=True)
    for _ in range(2):
        directory.remove_owner("contract-a", "Olivier")
    assert directory.members("contract-a") == {"olivier": False, "maryam": True}
    directory.remove_owner("contract-a", "nobody-with-this-uid")
    directory.remove_owner("contract-none", "olivier")
    for hostile in HOSTILE_UIDS:
        directory.remove_owner("contract-a", hostile)
    assert directory.members("contract-a") == {"olivier": False, "maryam": True}


# --- ssh keys ---


def test_keys_are_those_that_were_set_last(directory: Directory) -> None:
    directory.ensure_guest(MARIE)
    for _ in range(2):
        directory.set_ssh_keys(MARIE.uid, [OTHER_KEY, KEY, KEY])
    directory.set_ssh_keys("OLIVIER", [KEY])
    assert directory.ssh_keys() == {MARIE.uid: (KEY, OTHER_KEY), "olivier": (KEY,)}
    directory.set_ssh_keys(MARIE.uid, [OTHER_KEY])
    for _ in range(2):
        directory.set_ssh_keys("olivier", [])
    assert directory.ssh_keys() == {MARIE.uid: (OTHER_KEY,)}


def test_a_machine_sees_the_keys_of_its_members_alone(directory_world: Outside) -> None:
    directory = directory_world.directory
    made(directory, "contract-a", ("olivier",))
    made(directory, "contract-b", ("elodie",))
    directory.ensure_guest(MARIE)
    for uid in ("olivier", "elodie", MARIE.uid):
        directory.set_ssh_keys(uid, [f"{KEY} of {uid}"])
    directory.ensure_machine_account("contract-a", MachineAccount("gateway", "secret of a"))
    gateway = directory.machine_dn("contract-a", "gateway")

    def seen() -> set[str]:
        return set(directory_world.keys_visible_to(gateway, "secret of a"))

    assert seen() == {"olivier"}
    directory.ensure_member("contract-a", MARIE.uid)
    assert seen() == {"olivier", MARIE.uid}
    directory.remove_member("contract-a", MARIE.uid)
    assert seen() == {"olivier"}
    directory.ensure_member("contract-a", MARIE.uid)
    directory.remove_guest(MARIE.uid)
    assert seen() == {"olivier"}
