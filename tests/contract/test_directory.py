"""The directory's contract, on the fake, on a private slapd with the lab's configuration, and (PLACO_CONFIG) on a lab's."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import ldap
import ldap.dn
import pytest

from deploy.lab import site
from deploy.lab.layout import BASE
from placo import config
from placo.drivers import openldap
from placo.drivers.fake_directory import FakeDirectory
from placo.drivers.ports import Directory, DriverError, MachineAccount, Person, Rejected, Unavailable
from tests.contract.outside import PORTAL_DN, PORTAL_PASSWORD, PrivateSlapd, short_folder, uids_visible

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


class Outside:
    """A directory under test and the ways to look at it from outside."""

    directory: Directory

    def visible_to(self, dn: str, password: str) -> set[str] | None:
        raise AssertionError("each kind says how")


class FakeOutside(Outside):
    def __init__(self) -> None:
        people = [Person(p.uid, p.name, f"{p.uid}@placo.test") for p in site.people()]
        self.fake = FakeDirectory(people)
        self.directory = self.fake

    def visible_to(self, dn: str, password: str) -> set[str] | None:
        return self.fake.visible_to(dn, password)


class LdapOutside(Outside):
    def __init__(self, uri: str, directory: Directory) -> None:
        self.uri = uri
        self.directory = directory

    def visible_to(self, dn: str, password: str) -> set[str] | None:
        return uids_visible(self.uri, dn, password)


@pytest.fixture(scope="module")
def slapd() -> Iterator[PrivateSlapd]:
    with short_folder() as folder:
        server = PrivateSlapd(folder)
        yield server
        server.server.stop()


def connect(slapd: PrivateSlapd, **other: float) -> openldap.OpenLdapDirectory:
    return openldap.OpenLdapDirectory(slapd.uri, BASE, PORTAL_DN, PORTAL_PASSWORD, slapd.ca_file, **other)


@pytest.fixture
def real(slapd: PrivateSlapd) -> Iterator[openldap.OpenLdapDirectory]:
    directory = connect(slapd)
    yield directory
    forget_platforms(directory)


def lab_outside() -> LdapOutside:
    c = config.load().config.directory
    password = config.read_secret(c.password_file)
    return LdapOutside(c.uri, openldap.OpenLdapDirectory(c.uri, c.base, c.bind_dn, password, c.ca_file))


KINDS = ["fake", "slapd", *(["lab"] if os.environ.get("PLACO_CONFIG") else [])]


@pytest.fixture(params=KINDS)
def outside(request: pytest.FixtureRequest) -> Iterator[Outside]:
    if request.param == "fake":
        yield FakeOutside()
        return
    if request.param == "slapd":
        server: PrivateSlapd = request.getfixturevalue("slapd")
        world = LdapOutside(server.uri, connect(server))
    else:
        world = lab_outside()
    yield world
    forget_platforms(world.directory)


def forget_platforms(directory: Directory) -> None:
    """Take away what a test made: slugs that begin with contract-."""
    for slug, uuid in directory.platforms().items():
        if slug.startswith("contract-"):
            directory.remove_platform(slug, uuid)


@pytest.fixture
def directory(outside: Outside) -> Directory:
    return outside.directory


def made(directory: Directory, slug: str = "contract-a", owners: tuple[str, ...] = ("olivier",)) -> str:
    """A platform's uuid after making its subtree."""
    uuid = str(uuid4())
    directory.ensure_platform(slug, uuid, owners)
    return uuid


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
    assert [person.uid for person in directory.search_people("小林")] == ["haruka"]
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


def test_a_machine_sees_the_members_of_its_own_platform_only(outside: Outside) -> None:
    directory = outside.directory
    made(directory, "contract-a", ("olivier",))
    made(directory, "contract-b", ("elodie",))
    directory.ensure_member("contract-a", "maryam")
    directory.ensure_machine_account("contract-a", MachineAccount("www", "secret of a"))
    directory.ensure_machine_account("contract-b", MachineAccount("www", "secret of b"))
    www_a, www_b = (directory.machine_dn(slug, "www") for slug in ("contract-a", "contract-b"))
    assert outside.visible_to(www_a, "secret of a") == {"olivier", "maryam"}
    assert outside.visible_to(www_b, "secret of b") == {"elodie"}
    directory.remove_member("contract-a", "maryam")
    assert outside.visible_to(www_a, "secret of a") == {"olivier"}
    assert outside.visible_to(www_a, "secret of b") is None


def test_a_machine_account_takes_a_new_password_and_keeps_it(outside: Outside) -> None:
    directory = outside.directory
    made(directory)
    dn = directory.machine_dn("contract-a", "www")
    for password in ("first secret", "first secret", "second \u00e9 secret", "first secret"):
        directory.ensure_machine_account("contract-a", MachineAccount("www", password))
        assert outside.visible_to(dn, password) == {"olivier"}
    assert outside.visible_to(dn, "second \u00e9 secret") is None
    directory.remove_machine_account("contract-a", "www")
    directory.remove_machine_account("contract-a", "www")
    assert outside.visible_to(dn, "first secret") is None


def test_two_threads_may_make_the_same_platform(directory: Directory) -> None:
    uuid, failures = str(uuid4()), []

    def make(machine: str) -> None:
        try:
            directory.ensure_platform("contract-a", uuid, ["olivier", "maryam"])
            directory.ensure_machine_account("contract-a", MachineAccount(machine, f"secret of {machine}"))
        except DriverError as error:
            failures.append(error)

    threads = [threading.Thread(target=make, args=(f"m{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert directory.members("contract-a") == {"olivier": True, "maryam": True}
    assert len(directory.entries("contract-a")) == 4 + 6


# --- slapd alone: what only a real server can show ---


def test_a_subtree_made_by_half_is_completed_wherever_it_stopped(
    slapd: PrivateSlapd, real: openldap.OpenLdapDirectory
) -> None:
    uuid = made(real)
    root = slapd.as_root()
    whole = real.entries("contract-a")
    for missing in whole[1:]:
        root.delete_s(missing)
        real.ensure_platform("contract-a", uuid, ["olivier"])
        assert real.entries("contract-a") == whole
        assert real.members("contract-a") == {"olivier": True}
    for dn in reversed(whole[1:]):
        root.delete_s(dn)
    real.ensure_platform("contract-a", uuid, ["olivier"])
    assert real.entries("contract-a") == whole


def test_a_subtree_removed_by_half_is_removed(slapd: PrivateSlapd, real: openldap.OpenLdapDirectory) -> None:
    uuid = made(real)
    real.ensure_machine_account("contract-a", MachineAccount("www", "secret"))
    root = slapd.as_root()
    for dn in (real.machine_dn("contract-a", "www"), real.group_dn("contract-a", "owners")):
        root.delete_s(dn)
    real.remove_platform("contract-a", uuid)
    assert real.entries("contract-a") == []


def test_nothing_of_a_removed_platform_stays_at_its_people(
    slapd: PrivateSlapd, real: openldap.OpenLdapDirectory
) -> None:
    real.remove_platform("contract-a", made(real))
    found = slapd.as_root().search_s(BASE, ldap.SCOPE_SUBTREE, "(memberOf=*)", ["memberOf"])
    assert not [value for _dn, entry in found for value in entry["memberOf"] if b"contract-a" in value]


def test_a_machine_sees_no_password_and_no_other_platform(
    slapd: PrivateSlapd, real: openldap.OpenLdapDirectory
) -> None:
    made(real, "contract-a", ("olivier",))
    made(real, "contract-b", ("elodie",))
    for machine in ("www", "svn"):
        real.ensure_machine_account("contract-a", MachineAccount(machine, f"secret of {machine}"))
    connection = ldap.initialize(slapd.uri)
    connection.simple_bind_s(real.machine_dn("contract-a", "www"), "secret of www")
    found = connection.search_s(f"ou=people,{BASE}", ldap.SCOPE_SUBTREE, "(objectClass=*)", ["*", "+"])
    found += connection.search_s(
        real.entries("contract-a")[0], ldap.SCOPE_SUBTREE, "(objectClass=*)", ["*", "+"]
    )
    assert {dn for dn, _ in found} >= {
        f"uid=olivier,ou=people,{BASE}",
        real.group_dn("contract-a", "members"),
    }
    assert not [dn for dn, entry in found if {"userPassword", "pwdHistory"} & set(entry)]
    for elsewhere in (
        real.entries("contract-b")[0],
        f"ou=system,{BASE}",
        f"ou=groups,{BASE}",
        f"ou=projects,{BASE}",
    ):
        with pytest.raises(ldap.NO_SUCH_OBJECT):
            connection.search_s(elsewhere, ldap.SCOPE_SUBTREE)


def test_a_machine_password_is_stored_hashed_and_never_locked_out(
    slapd: PrivateSlapd, real: openldap.OpenLdapDirectory
) -> None:
    made(real)
    account = MachineAccount("www", "secret of www")
    real.ensure_machine_account("contract-a", account)
    dn = real.machine_dn("contract-a", "www")
    for _ in range(8):
        assert slapd.visible_to(dn, "a guess") is None
    assert slapd.visible_to(dn, "secret of www") == {"olivier"}
    entry = slapd.as_root().search_s(dn, ldap.SCOPE_BASE, attrlist=["userPassword"])[0][1]
    assert [value.startswith(b"{ARGON2}") for value in entry["userPassword"]] == [True]
    real.ensure_machine_account("contract-a", account)
    assert slapd.as_root().search_s(dn, ldap.SCOPE_BASE, attrlist=["userPassword"])[0][1] == entry


def test_an_account_made_without_its_password_gets_it(
    slapd: PrivateSlapd, real: openldap.OpenLdapDirectory
) -> None:
    made(real)
    dn = real.machine_dn("contract-a", "www")
    classes = [b"applicationProcess", b"extensibleObject"]
    slapd.as_root().add_s(dn, [("objectClass", classes), ("cn", [b"www"])])
    real.ensure_machine_account("contract-a", MachineAccount("www", "secret of www"))
    assert slapd.visible_to(dn, "secret of www") == {"olivier"}


def test_more_people_than_the_server_lists_give_the_first_ones(
    slapd: PrivateSlapd, real: openldap.OpenLdapDirectory
) -> None:
    root = slapd.as_root()
    uids = [f"crowd{number:03}" for number in range(230)]
    for uid in uids:
        values = {
            "objectClass": "inetOrgPerson",
            "uid": uid,
            "cn": "One of many",
            "sn": "Many",
            "mail": f"{uid}@x.test",
        }
        root.add_s(
            f"uid={uid},ou=people,{BASE}", [(name, [value.encode()]) for name, value in values.items()]
        )
    try:
        assert len(real.search_people("crowd", limit=20)) == 20
        assert [person.uid for person in real.search_people("crowd229")] == ["crowd229"]
    finally:
        for uid in uids:
            root.delete_s(f"uid={uid},ou=people,{BASE}")


def test_a_person_with_a_difficult_uid_is_a_member_like_any_other(
    slapd: PrivateSlapd, real: openldap.OpenLdapDirectory
) -> None:
    uid = "odd, (one) * \\ #é+"
    dn = f"uid={ldap.dn.escape_dn_chars(uid)},ou=people,{BASE}"
    root = slapd.as_root()
    values = {"objectClass": "inetOrgPerson", "uid": uid, "cn": "Odd", "sn": "One"}
    root.add_s(dn, [(name, [value.encode()]) for name, value in values.items()])
    made(real)
    assert real.person(uid) == Person(uid, "Odd", "")
    real.ensure_member("contract-a", uid)
    assert real.members("contract-a") == {"olivier": True, uid: False}
    root.delete_s(dn)
    assert real.members("contract-a") == {"olivier": True}


def test_a_stopped_directory_is_unavailable_at_once_and_works_again(slapd: PrivateSlapd) -> None:
    directory = connect(slapd, timeout_s=2)
    assert directory.person("olivier") is not None
    with slapd.server.stopped():
        for call in (
            lambda: directory.person("olivier"),
            lambda: directory.ensure_member("contract-a", "olivier"),
        ):
            started = time.monotonic()
            with pytest.raises(Unavailable):
                call()
            assert time.monotonic() - started < 1
    assert directory.person("olivier") is not None


def test_a_restart_between_two_calls_is_not_noticed(
    slapd: PrivateSlapd, real: openldap.OpenLdapDirectory
) -> None:
    made(real)
    with slapd.server.stopped():
        pass
    real.ensure_member("contract-a", "maryam")
    assert real.members("contract-a") == {"olivier": True, "maryam": False}


def test_a_directory_that_hangs_is_unavailable_within_the_timeout(slapd: PrivateSlapd) -> None:
    used, fresh = connect(slapd, timeout_s=0.5), connect(slapd, timeout_s=0.5)
    assert used.person("olivier") is not None
    with slapd.server.frozen():
        for directory in (used, fresh):
            started = time.monotonic()
            with pytest.raises(Unavailable):
                directory.person("olivier")
            assert time.monotonic() - started < 2
    assert used.person("olivier") == fresh.person("olivier") is not None


def test_tls_is_checked_against_the_ca(slapd: PrivateSlapd) -> None:
    trusting = openldap.OpenLdapDirectory(slapd.tls_uri, BASE, PORTAL_DN, PORTAL_PASSWORD, slapd.ca_file)
    assert trusting.person("olivier") is not None
    with short_folder() as folder:
        other = PrivateSlapd(folder)
        stranger = openldap.OpenLdapDirectory(other.tls_uri, BASE, PORTAL_DN, PORTAL_PASSWORD, slapd.ca_file)
        by_name = slapd.tls_uri.replace("127.0.0.1", "localhost")
        misnamed = openldap.OpenLdapDirectory(by_name, BASE, PORTAL_DN, PORTAL_PASSWORD, slapd.ca_file)
        for directory in (stranger, misnamed):
            with pytest.raises(Unavailable):
                directory.person("olivier")
        other.server.stop()


def test_a_wrong_password_of_the_portal_is_told_and_kept_secret(
    slapd: PrivateSlapd, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    directory = openldap.OpenLdapDirectory(slapd.uri, BASE, PORTAL_DN, "not-the-password", slapd.ca_file)
    with pytest.raises(DriverError) as caught:
        directory.person("olivier")
    assert not isinstance(caught.value, (Unavailable, Rejected))
    assert (
        "not-the-password"
        not in f"{caught.value}{directory!r}{caplog.text}{MachineAccount('www', 'not-the-password')!r}"
    )


@pytest.mark.parametrize("seconds", [0.5])
def test_the_options_for_the_login_bound_a_hanging_directory(slapd: PrivateSlapd, seconds: float) -> None:
    connection = ldap.initialize(slapd.uri)
    for option, value in openldap.connection_options(slapd.ca_file, seconds).items():
        connection.set_option(option, value)
    with slapd.server.frozen(), pytest.raises(ldap.LDAPError) as caught:
        connection.simple_bind_s(PORTAL_DN, PORTAL_PASSWORD)
    assert openldap.is_unavailable(caught.value)
    assert not openldap.is_unavailable(ldap.INVALID_CREDENTIALS())
    assert openldap.is_unavailable(Unavailable("down"))


def test_the_login_search_finds_one_person(slapd: PrivateSlapd) -> None:
    base, scope, pattern = openldap.people_search(BASE)
    found = slapd.as_root().search_s(base, scope, pattern % {"user": "olivier"}, ["uid"])
    assert [entry["uid"] for _dn, entry in found] == [[b"olivier"]]


# --- the fake alone ---


def test_the_fake_fails_on_demand() -> None:
    fake = FakeOutside().fake
    fake.faults.fail_next("person", Rejected("no"), times=2)
    for _ in range(2):
        with pytest.raises(Rejected):
            fake.person("olivier")
    assert fake.person("olivier") is not None
    fake.faults.unreachable = True
    with pytest.raises(Unavailable):
        fake.members("contract-a")
