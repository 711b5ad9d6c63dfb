"""What only a real slapd can show of the directory driver: half-made subtrees, what accounts see, outages, TLS."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

import ldap
import ldap.dn
import pytest

from deploy.lab.layout import BASE
from placo.drivers import openldap
from placo.drivers.ports import DriverError, MachineAccount, Person, Rejected, Unavailable
from tests.contract.directories import connect, made
from tests.contract.outside import PORTAL_DN, PORTAL_PASSWORD, PrivateSlapd, short_folder, wait_for

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
