"""The directory's contract, on every kind of directory."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from deploy.lab import site
from placo.drivers.ports import Directory, MachineAccount, Person, Rejected, Unavailable
from tests.contract.at_once import at_once
from tests.contract.directories import FakeOutside, Outside, made

pytest_plugins = ("tests.contract.directories",)

HOSTILE_UIDS = [
    "*",
    "olivi*",
    "olivier)(uid=*",
    "(uid=olivier)",
    "olivier\\",
    "\\2a",
    "olivier\0",
    "\0",
    "olivier,ou=people,dc=placo,dc=test",
    "olivier+cn=x",
    "ölivier",
    "\uff4flivier",
    " olivier ",
    "olivier\n",
    "",
    " ",
    "o" * 300,
    "\ud800",
    "nobody-with-this-uid",
]
HOSTILE_SLUGS = [
    "",
    "Alpha",
    "alpha,ou=platforms",
    "al pha",
    "-alpha",
    "alpha-",
    "a" * 64,
    "al*",
    "alph\u00e4",
    "a\0b",
    "a\n",
]


# --- people ---


def test_a_person_is_found_by_the_exact_uid(directory: Directory) -> None:
    assert directory.person("elodie") == Person("elodie", "Élodie N'Guessan", "elodie@placo.test")
    assert directory.person("ELODIE") == directory.person("elodie")


@pytest.mark.parametrize("uid", HOSTILE_UIDS)
def test_a_hostile_uid_is_nobody(directory: Directory, uid: str) -> None:
    assert directory.person(uid) is None


@pytest.mark.parametrize("uid", HOSTILE_UIDS)
def test_a_hostile_uid_becomes_no_member_and_removes_none(directory: Directory, uid: str) -> None:
    made(directory)
    before = directory.members("contract-a")
    with pytest.raises(Rejected):
        directory.ensure_member("contract-a", uid)
    with pytest.raises(Rejected):
        directory.ensure_platform("contract-b", str(uuid4()), ["olivier", uid])
    directory.remove_member("contract-a", uid)
    assert directory.members("contract-a") == before == {"olivier": True}
    assert "contract-b" not in directory.platforms()


def test_people_are_searched_by_uid_name_and_mail_best_first(directory: Directory) -> None:
    assert [person.uid for person in directory.search_people("olivier")] == ["olivier"]
    assert [person.uid for person in directory.search_people("  Hosseini ")] == ["maryam"]
    assert [person.uid for person in directory.search_people("ngoc@placo")] == ["ngoc"]
    assert [person.uid for person in directory.search_people("GUESSAN")] == ["elodie"]
    assert [person.uid for person in directory.search_people("menguessan")] == []
    assert directory.search_people("an")[0].uid == "anais"
    assert len(directory.search_people("placo.test", limit=5)) == 5
    assert len(directory.search_people("placo.test", limit=100)) == len(site.people())


@pytest.mark.parametrize(
    "text", ["", "a", " a ", "**", "*)(uid=*", "o*er", "\\2a\\2a", "\0\0", "\ud800\ud800", "x" * 300]
)
def test_a_search_text_is_never_a_pattern(directory: Directory, text: str) -> None:
    assert directory.search_people(text) == []


# --- platforms ---


def test_a_platform_is_made_once_and_found(directory: Directory) -> None:
    uuid = made(directory)
    first = directory.entries("contract-a")
    directory.ensure_platform("contract-a", uuid, ["olivier"])
    assert directory.entries("contract-a") == first
    assert directory.platforms()["contract-a"] == uuid
    assert directory.members("contract-a") == {"olivier": True}
    assert set(first) >= {
        directory.group_dn("contract-a", "owners"),
        directory.group_dn("contract-a", "members"),
    }


def test_a_slug_held_by_another_platform_is_refused_and_untouched(directory: Directory) -> None:
    uuid = made(directory)
    with pytest.raises(Rejected):
        directory.ensure_platform("contract-a", str(uuid4()), ["elodie"])
    directory.remove_platform("contract-a", str(uuid4()))
    assert directory.platforms()["contract-a"] == uuid
    assert directory.members("contract-a") == {"olivier": True}


def test_making_again_keeps_members_that_came_meanwhile(directory: Directory) -> None:
    uuid = made(directory)
    directory.ensure_member("contract-a", "maryam")
    directory.ensure_platform("contract-a", uuid, ["olivier"])
    assert directory.members("contract-a") == {"olivier": True, "maryam": False}


def test_a_removed_platform_leaves_nothing_and_is_removed_again(directory: Directory) -> None:
    uuid = made(directory)
    directory.ensure_machine_account("contract-a", MachineAccount("www", "secret of www"))
    directory.remove_platform("contract-a", uuid)
    directory.remove_platform("contract-a", uuid)
    assert directory.entries("contract-a") == []
    assert directory.members("contract-a") == {}
    assert "contract-a" not in directory.platforms()


@pytest.mark.parametrize("slug", HOSTILE_SLUGS)
def test_a_hostile_slug_is_refused_everywhere(directory: Directory, slug: str) -> None:
    before = directory.platforms()
    with pytest.raises(Rejected):
        directory.ensure_platform(slug, str(uuid4()), ["olivier"])
    with pytest.raises(Rejected):
        directory.ensure_machine_account(slug, MachineAccount("www", "secret"))
    with pytest.raises(Rejected):
        directory.machine_dn("contract-a", slug)
    with pytest.raises(Rejected):
        directory.remove_platform(slug, str(uuid4()))
    with pytest.raises(Rejected):
        directory.ensure_member(slug, "olivier")
    with pytest.raises(Rejected):
        directory.members(slug)
    assert directory.platforms() == before


def test_a_uuid_that_is_none_is_refused(directory: Directory) -> None:
    with pytest.raises(Rejected):
        directory.ensure_platform("contract-a", "*", ["olivier"])
    assert "contract-a" not in directory.platforms()


# --- members ---


def test_members_come_and_go_and_the_last_may_leave(directory: Directory) -> None:
    made(directory)
    for _ in range(2):
        directory.ensure_member("contract-a", "maryam")
        directory.ensure_member("contract-a", "Elodie", owner=True)
    assert directory.members("contract-a") == {"olivier": True, "maryam": False, "elodie": True}
    directory.ensure_member("contract-a", "elodie")
    assert directory.members("contract-a")["elodie"] is True
    for uid in ("maryam", "maryam", "ELODIE", "olivier", "otto"):
        directory.remove_member("contract-a", uid)
    assert directory.members("contract-a") == {}
    directory.ensure_member("contract-a", "maryam")
    assert directory.members("contract-a") == {"maryam": False}


def test_a_platform_without_owner_is_possible(directory: Directory) -> None:
    made(directory, owners=())
    assert directory.members("contract-a") == {}


def test_nothing_joins_a_platform_that_is_not_there(directory: Directory) -> None:
    with pytest.raises(Rejected):
        directory.ensure_member("contract-none", "olivier")
    with pytest.raises(Rejected):
        directory.ensure_machine_account("contract-none", MachineAccount("www", "secret"))
    directory.remove_member("contract-none", "olivier")
    directory.remove_machine_account("contract-none", "www")
    assert directory.entries("contract-none") == []


# --- machine accounts ---


def test_a_machine_sees_the_members_of_its_own_platform_only(directory_world: Outside) -> None:
    directory = directory_world.directory
    made(directory, "contract-a", ("olivier",))
    made(directory, "contract-b", ("elodie",))
    directory.ensure_member("contract-a", "maryam")
    directory.ensure_machine_account("contract-a", MachineAccount("www", "secret of a"))
    directory.ensure_machine_account("contract-b", MachineAccount("www", "secret of b"))
    www_a, www_b = (directory.machine_dn(slug, "www") for slug in ("contract-a", "contract-b"))
    assert directory_world.visible_to(www_a, "secret of a") == {"olivier", "maryam"}
    assert directory_world.visible_to(www_b, "secret of b") == {"elodie"}
    directory.remove_member("contract-a", "maryam")
    assert directory_world.visible_to(www_a, "secret of a") == {"olivier"}
    assert directory_world.visible_to(www_a, "secret of b") is None


def test_a_machine_finds_the_addresses_of_its_own_platform_only(directory_world: Outside) -> None:
    directory = directory_world.directory
    uuid = made(directory, "contract-a")
    made(directory, "contract-b")
    for slug in ("contract-a", "contract-b"):
        directory.ensure_machine_account(slug, MachineAccount("www", f"secret of {slug}"))
    www = directory.machine_dn("contract-a", "www")
    wiki, www_at = "https://wiki.a.internal:443 wiki", "https://www.a.internal:443 web"

    def found(slug: str) -> set[str]:
        return directory_world.addresses_visible_to(www, "secret of contract-a", slug)

    for addresses in ([wiki], [wiki, www_at], [wiki, www_at], [www_at], []):
        directory.ensure_platform("contract-a", uuid, ["olivier"], addresses)
        assert found("contract-a") == set(addresses)
        assert found("contract-b") == set()
    directory.ensure_platform("contract-a", uuid, ["olivier"], [wiki])
    elsewhere = directory.machine_dn("contract-b", "www")
    assert directory_world.addresses_visible_to(elsewhere, "secret of contract-b", "contract-a") == set()


def test_a_machine_account_takes_a_new_password_and_keeps_it(directory_world: Outside) -> None:
    directory = directory_world.directory
    made(directory)
    dn = directory.machine_dn("contract-a", "www")
    for password in ("first secret", "first secret", "second \u00e9 secret", "first secret"):
        directory.ensure_machine_account("contract-a", MachineAccount("www", password))
        assert directory_world.visible_to(dn, password) == {"olivier"}
    assert directory_world.visible_to(dn, "second \u00e9 secret") is None
    directory.remove_machine_account("contract-a", "www")
    directory.remove_machine_account("contract-a", "www")
    assert directory_world.visible_to(dn, "first secret") is None


def test_two_threads_may_make_the_same_platform(directory: Directory) -> None:
    uuid = str(uuid4())

    def make(machine: str) -> None:
        directory.ensure_platform("contract-a", uuid, ["olivier", "maryam"])
        directory.ensure_machine_account("contract-a", MachineAccount(machine, f"secret of {machine}"))

    at_once(make, [f"m{number}" for number in range(6)])
    assert directory.members("contract-a") == {"olivier": True, "maryam": True}
    assert len(directory.entries("contract-a")) == 4 + 6


# --- the fake alone ---


def test_the_fake_fails_on_demand(tmp_path: Path) -> None:
    fake = FakeOutside(tmp_path).fake
    fake.faults.fail_next("person", Rejected("no"), times=2)
    for _ in range(2):
        with pytest.raises(Rejected):
            fake.person("olivier")
    assert fake.person("olivier") is not None
    fake.faults.unreachable = True
    with pytest.raises(Unavailable):
        fake.members("contract-a")


def test_roles_are_the_members_of_two_kinds_of_groups(directory: Directory) -> None:
    assert directory.administrators() == {"aurore"}
    assert directory.project_owners("topology") == {"olivier"}
    assert directory.project_owners("no-such-project") == frozenset()
    for hostile in ("", "*", "a,b", "a\x00"):
        with pytest.raises(Rejected):
            directory.project_owners(hostile)


# --- how it is ---


def test_it_says_how_it_is(directory: Directory) -> None:
    status = directory.status()
    assert status.people >= len(site.people())
    assert status.missing == ()
    assert set(status.unseen) <= {"refint"}
