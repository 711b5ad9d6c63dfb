"""What only a real slapd can show of the directory driver: half-made subtrees, what accounts see, outages, TLS."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import ldap
import ldap.dn
import pytest

from deploy.lab.layout import BASE
from deploy.rehearsal.process import short_folder, wait_for
from deploy.rehearsal.servers import PORTAL_DN, PORTAL_PASSWORD, PrivateSlapd, uids_visible
from placo.drivers import openldap
from placo.drivers.ports import DriverError, MachineAccount, Person, Rejected, Unavailable
from tests.contract.directories import connect, keys_visible, made

pytest_plugins = ("tests.contract.directories",)

HANGS_S = 30
"""What takes longer than this does not come back at all: no measure of speed."""


def test_a_subtree_made_by_half_is_completed_wherever_it_stopped(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
) -> None:
    uuid = made(real_directory)
    root = slapd.as_root()
    whole = real_directory.entries("contract-a")
    for missing in whole[1:]:
        root.delete_s(missing)
        real_directory.ensure_platform("contract-a", uuid, ["olivier"])
        assert real_directory.entries("contract-a") == whole
        assert real_directory.members("contract-a") == {"olivier": True}
    for dn in reversed(whole[1:]):
        root.delete_s(dn)
    real_directory.ensure_platform("contract-a", uuid, ["olivier"])
    assert real_directory.entries("contract-a") == whole


def test_a_subtree_removed_by_half_is_removed(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
) -> None:
    uuid = made(real_directory)
    real_directory.ensure_machine_account("contract-a", MachineAccount("www", "secret"))
    root = slapd.as_root()
    for dn in (
        real_directory.machine_dn("contract-a", "www"),
        real_directory.group_dn("contract-a", "owners"),
    ):
        root.delete_s(dn)
    real_directory.remove_platform("contract-a", uuid)
    assert real_directory.entries("contract-a") == []


def test_nothing_of_a_removed_platform_stays_at_its_people(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
) -> None:
    real_directory.remove_platform("contract-a", made(real_directory))
    found = slapd.as_root().search_s(BASE, ldap.SCOPE_SUBTREE, "(memberOf=*)", ["memberOf"])
    assert not [value for _dn, entry in found for value in entry["memberOf"] if b"contract-a" in value]


def test_a_machine_sees_no_password_and_no_other_platform(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
) -> None:
    made(real_directory, "contract-a", ("olivier",))
    made(real_directory, "contract-b", ("elodie",))
    for machine in ("www", "svn"):
        real_directory.ensure_machine_account("contract-a", MachineAccount(machine, f"secret of {machine}"))
    connection = ldap.initialize(slapd.uri)
    connection.simple_bind_s(real_directory.machine_dn("contract-a", "www"), "secret of www")
    found = connection.search_s(f"ou=people,{BASE}", ldap.SCOPE_SUBTREE, "(objectClass=*)", ["*", "+"])
    found += connection.search_s(
        real_directory.entries("contract-a")[0], ldap.SCOPE_SUBTREE, "(objectClass=*)", ["*", "+"]
    )
    assert {dn for dn, _ in found} >= {
        f"uid=olivier,ou=people,{BASE}",
        real_directory.group_dn("contract-a", "members"),
    }
    assert not [dn for dn, entry in found if {"userPassword", "pwdHistory"} & set(entry)]
    for elsewhere in (
        real_directory.entries("contract-b")[0],
        f"ou=system,{BASE}",
        f"ou=groups,{BASE}",
        f"ou=projects,{BASE}",
    ):
        with pytest.raises(ldap.NO_SUCH_OBJECT):
            connection.search_s(elsewhere, ldap.SCOPE_SUBTREE)


def test_a_machine_may_ask_whose_time_is_over_and_read_no_date(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
) -> None:
    """What `keys-of` asks (catalogue/software/ssh): a key binds nobody, so the end of an account is the machine's to respect."""
    made(real_directory, "contract-a", ("olivier",))
    for slug, uid, days in (
        ("contract-a", "g-contract-over", -1),
        ("contract-a", "g-contract-lasts", 1),
        ("contract-b", "g-contract-elsewhere", 1),
    ):
        ends_at = datetime.now(UTC) + timedelta(days=days)
        real_directory.ensure_guest(Person(uid, uid, f"{uid}@placo.test", guest=True, ends_at=ends_at))
        if slug not in real_directory.platforms():
            made(real_directory, slug, ("elodie",))
        real_directory.ensure_member(slug, uid)
    real_directory.ensure_machine_account("contract-a", MachineAccount("gateway", "its secret"))
    connection = ldap.initialize(slapd.uri)
    connection.simple_bind_s(real_directory.machine_dn("contract-a", "gateway"), "its secret")

    def lasts(dn: str) -> bool:
        now = datetime.now(UTC).strftime("%Y%m%d%H%M%SZ")
        try:
            return bool(
                connection.search_s(dn, ldap.SCOPE_BASE, f"(!(pwdEndTime<={now}))", ["uid", "pwdEndTime"])
            )
        except ldap.NO_SUCH_OBJECT:
            return False

    guests = f"ou=guests,ou=people,{BASE}"
    assert lasts(f"uid=olivier,ou=people,{BASE}"), "who has no end"
    assert lasts(f"uid=g-contract-lasts,{guests}")
    assert not lasts(f"uid=g-contract-over,{guests}")
    assert not lasts(f"uid=g-contract-elsewhere,{guests}"), "nobody of another platform"
    found = connection.search_s(
        f"ou=people,{BASE}", ldap.SCOPE_SUBTREE, "(uid=g-contract-*)", ["uid", "pwdEndTime"]
    )
    assert {name for _dn, entry in found for name in entry} == {"uid"}


def test_a_machine_password_is_stored_hashed_and_never_locked_out(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
) -> None:
    made(real_directory)
    account = MachineAccount("www", "secret of www")
    real_directory.ensure_machine_account("contract-a", account)
    dn = real_directory.machine_dn("contract-a", "www")
    for _ in range(8):
        assert slapd.visible_to(dn, "a guess") is None
    assert slapd.visible_to(dn, "secret of www") == {"olivier"}
    entry = slapd.as_root().search_s(dn, ldap.SCOPE_BASE, attrlist=["userPassword"])[0][1]
    assert [value.startswith(b"{ARGON2}") for value in entry["userPassword"]] == [True]
    real_directory.ensure_machine_account("contract-a", account)
    assert slapd.as_root().search_s(dn, ldap.SCOPE_BASE, attrlist=["userPassword"])[0][1] == entry


def test_an_account_made_without_its_password_gets_it(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
) -> None:
    made(real_directory)
    dn = real_directory.machine_dn("contract-a", "www")
    classes = [b"applicationProcess", b"extensibleObject"]
    slapd.as_root().add_s(dn, [("objectClass", classes), ("cn", [b"www"])])
    real_directory.ensure_machine_account("contract-a", MachineAccount("www", "secret of www"))
    assert slapd.visible_to(dn, "secret of www") == {"olivier"}


def test_more_people_than_the_server_lists_give_the_first_ones(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
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
        assert len(real_directory.search_people("crowd", limit=20)) == 20
        assert [person.uid for person in real_directory.search_people("crowd229")] == ["crowd229"]
    finally:
        for uid in uids:
            root.delete_s(f"uid={uid},ou=people,{BASE}")


def test_a_person_with_a_difficult_uid_is_a_member_like_any_other(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
) -> None:
    uid = "odd, (one) * \\ #é+"
    dn = f"uid={ldap.dn.escape_dn_chars(uid)},ou=people,{BASE}"
    root = slapd.as_root()
    values = {"objectClass": "inetOrgPerson", "uid": uid, "cn": "Odd", "sn": "One"}
    root.add_s(dn, [(name, [value.encode()]) for name, value in values.items()])
    made(real_directory)
    assert real_directory.person(uid) == Person(uid, "Odd", "")
    real_directory.ensure_member("contract-a", uid)
    assert real_directory.members("contract-a") == {"olivier": True, uid: False}
    root.delete_s(dn)
    assert real_directory.members("contract-a") == {"olivier": True}


def test_a_stopped_directory_is_unavailable_at_once_and_works_again(slapd: PrivateSlapd) -> None:
    directory = connect(slapd, timeout_s=2)
    assert directory.person("olivier") is not None
    with slapd.server.stopped():
        calls: list[Callable[[], object]] = [
            lambda: directory.person("olivier"),
            lambda: directory.ensure_member("contract-a", "olivier"),
        ]
        for call in calls:
            started = time.monotonic()
            with pytest.raises(Unavailable):
                call()
            assert time.monotonic() - started < HANGS_S
    assert directory.person("olivier") is not None


def test_a_restart_between_two_calls_is_not_noticed(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
) -> None:
    made(real_directory)
    with slapd.server.stopped():
        pass
    real_directory.ensure_member("contract-a", "maryam")
    assert real_directory.members("contract-a") == {"olivier": True, "maryam": False}


def test_a_directory_that_hangs_is_unavailable_within_the_timeout(slapd: PrivateSlapd) -> None:
    used, fresh = connect(slapd, timeout_s=0.5), connect(slapd, timeout_s=0.5)
    assert used.person("olivier") is not None
    with slapd.server.frozen():
        for directory in (used, fresh):
            started = time.monotonic()
            with pytest.raises(Unavailable):
                directory.person("olivier")
            assert time.monotonic() - started < HANGS_S
    for directory in (used, fresh):
        wait_for(partial(_answers, directory), "the directory to answer again")


def _answers(directory: openldap.OpenLdapDirectory) -> bool:
    """A thawed server on a busy machine may still be slower than the half second that it is given here."""
    try:
        return directory.person("olivier") is not None
    except Unavailable:
        return False


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


def test_the_portal_writes_guests_and_nobody_else_among_people(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
) -> None:
    guest = Person("g-contract.marie", "Marie Curie", "marie@elsewhere.test", guest=True)
    real_directory.ensure_guest(guest)
    real_directory.set_guest_password(guest.uid, "a long enough password")
    portal = ldap.initialize(slapd.uri)
    portal.simple_bind_s(PORTAL_DN, PORTAL_PASSWORD)
    own = f"uid={guest.uid},ou=guests,ou=people,{BASE}"
    assert "userPassword" not in portal.search_s(own, ldap.SCOPE_BASE, attrlist=["*", "+"])[0][1]
    stored = slapd.as_root().search_s(own, ldap.SCOPE_BASE, attrlist=["userPassword"])[0][1]
    assert [value.startswith(b"{ARGON2}") for value in stored["userPassword"]] == [True]
    olivier = f"uid=olivier,ou=people,{BASE}"
    entry = [("objectClass", [b"inetOrgPerson"]), ("uid", [b"x"]), ("cn", [b"x"]), ("sn", [b"x"])]
    deeds: list[Callable[[], object]] = [
        lambda: portal.modify_s(olivier, [(ldap.MOD_REPLACE, "displayName", [b"x"])]),
        lambda: portal.modify_s(olivier, [(ldap.MOD_REPLACE, "pwdEndTime", [b"20200101000000Z"])]),
        lambda: portal.passwd_s(olivier, None, "a long enough password"),
        lambda: portal.delete_s(olivier),
        lambda: portal.add_s(f"uid=x,ou=people,{BASE}", entry),
        lambda: portal.delete_s(f"ou=guests,ou=people,{BASE}"),
        lambda: portal.rename_s(olivier, "uid=olivier", f"ou=guests,ou=people,{BASE}"),
        lambda: portal.rename_s(own, f"uid={guest.uid}", f"ou=people,{BASE}"),
    ]
    for deed in deeds:
        with pytest.raises(ldap.INSUFFICIENT_ACCESS):
            deed()


def test_a_guest_writes_nothing_but_the_password_and_sees_nobody(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
) -> None:
    guest = Person("g-contract.marie", "Marie Curie", "marie@elsewhere.test", guest=True)
    real_directory.ensure_guest(guest)
    real_directory.set_guest_password(guest.uid, "a long enough password")
    real_directory.set_ssh_keys("olivier", ["ssh-ed25519 AAAA"])
    own = f"uid={guest.uid},ou=guests,ou=people,{BASE}"
    self_ = ldap.initialize(slapd.uri)
    self_.simple_bind_s(own, "a long enough password")
    for attribute, value in (
        ("displayName", b"x"),
        ("pwdEndTime", b"20990101000000Z"),
        ("mail", b"a@b.test"),
    ):
        with pytest.raises(ldap.INSUFFICIENT_ACCESS):
            self_.modify_s(own, [(ldap.MOD_REPLACE, attribute, [value])])
    assert uids_visible(slapd.uri, own, "a long enough password") == {guest.uid}
    assert self_.search_s(f"ou=keys,{BASE}", ldap.SCOPE_ONELEVEL) == []


def test_keys_of_somebody_who_has_left_are_nobodys(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
) -> None:
    """What refint leaves behind when a person goes must not let the placeholder of groups stand in."""
    made(real_directory)
    real_directory.ensure_machine_account("contract-a", MachineAccount("gateway", "secret of a"))
    guest = Person("g-contract.marie", "Marie Curie", "marie@elsewhere.test", guest=True)
    real_directory.ensure_guest(guest)
    real_directory.ensure_member("contract-a", guest.uid)
    real_directory.set_ssh_keys(guest.uid, ["ssh-ed25519 AAAA"])
    slapd.as_root().delete_s(f"uid={guest.uid},ou=guests,ou=people,{BASE}")
    gateway = real_directory.machine_dn("contract-a", "gateway")
    wait_for(lambda: real_directory.members("contract-a") == {"olivier": True}, "refint")
    assert keys_visible(slapd.uri, gateway, "secret of a") == {}
    assert set(real_directory.ssh_keys()) == {guest.uid}


def test_failures_lock_a_guest_out_and_a_reset_opens_again(
    slapd: PrivateSlapd, real_directory: openldap.OpenLdapDirectory
) -> None:
    guest = Person("g-contract.marie", "Marie Curie", "marie@elsewhere.test", guest=True)
    real_directory.ensure_guest(guest)
    real_directory.set_guest_password(guest.uid, "a long enough password")
    own = f"uid={guest.uid},ou=guests,ou=people,{BASE}"
    for _ in range(6):
        assert not real_directory.change_guest_password(guest.uid, "a guess", "another long password")
    assert uids_visible(slapd.uri, own, "a long enough password") is None
    real_directory.set_guest_password(guest.uid, "another long password")
    assert uids_visible(slapd.uri, own, "another long password") == {guest.uid}
