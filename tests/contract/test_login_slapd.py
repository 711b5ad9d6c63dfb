"""Logging in to the portal by a real slapd: people of the laboratory and guests, and what they are afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from deploy.lab.layout import BASE
from deploy.rehearsal.servers import PORTAL_DN, PORTAL_PASSWORD, PrivateSlapd
from placo.domain import stand_ins
from placo.drivers.openldap import OpenLdapDirectory, connection_options, people_search
from placo.drivers.ports import Person
from placo.platforms.models import User
from tests.contract.directories import connect

pytest_plugins = ("tests.contract.directories",)

PASSWORD = "seven grey whales sing"
MARIE = Person("g-contract.marie", "Marie Curie", "marie@elsewhere.test", guest=True)


@pytest.fixture
def directory(slapd: PrivateSlapd, settings: Any) -> Iterator[OpenLdapDirectory]:
    from django_auth_ldap.config import LDAPSearch

    settings.AUTH_LDAP_SERVER_URI = slapd.uri
    settings.AUTH_LDAP_BIND_DN, settings.AUTH_LDAP_BIND_PASSWORD = PORTAL_DN, PORTAL_PASSWORD
    settings.AUTH_LDAP_CONNECTION_OPTIONS = connection_options(slapd.ca_file, 5)
    settings.AUTH_LDAP_USER_SEARCH = LDAPSearch(*people_search(BASE), settings.AUTH_LDAP_USER_SEARCH.attrlist)
    made = connect(slapd)
    made.ensure_guest(MARIE)
    made.set_guest_password(MARIE.uid, PASSWORD)
    yield made
    made.remove_guest(MARIE.uid)


def logs_in(uid: str, password: str) -> bool:
    """Whether the login takes it."""
    return Client().post("/login/", {"username": uid, "password": password}).status_code == 302


@pytest.mark.django_db
def test_everybody_logs_in_and_is_what_they_are(slapd: PrivateSlapd, directory: OpenLdapDirectory) -> None:
    assert logs_in("olivier", slapd.passwords["olivier"])
    assert logs_in("aurore", slapd.passwords["aurore"])
    assert logs_in(MARIE.uid, PASSWORD)
    found = {user.username: (user.is_guest, user.is_administrator) for user in User.objects.all()}
    assert found == {"olivier": (False, False), "aurore": (False, True), MARIE.uid: (True, False)}
    assert User.objects.get(username=MARIE.uid).display_name == "Marie Curie"
    for uid, password in (
        ("olivier", PASSWORD),
        (MARIE.uid, "wrong"),
        (MARIE.uid, ""),
        ("*", PASSWORD),
        ("g-contract*", PASSWORD),
        (f"{MARIE.uid})(uid=*", PASSWORD),
        ("portal", PORTAL_PASSWORD),
    ):
        assert not logs_in(uid, password)


@pytest.mark.django_db
def test_a_guest_in_a_group_of_the_laboratory_has_no_role(
    slapd: PrivateSlapd, directory: OpenLdapDirectory
) -> None:
    import ldap

    dn = f"uid={MARIE.uid},ou=guests,ou=people,{BASE}".encode()
    root = slapd.as_root()
    for group in ("cn=admins,ou=groups", "cn=topology,ou=projects"):
        root.modify_s(f"{group},{BASE}", [(ldap.MOD_ADD, "member", [dn])])
    assert directory.administrators() == {"aurore"}
    assert directory.project_owners("topology") == {"olivier"}
    assert logs_in(MARIE.uid, PASSWORD)
    assert not User.objects.get(username=MARIE.uid).is_administrator


@pytest.mark.django_db
def test_a_guest_beyond_the_end_does_not_log_in(slapd: PrivateSlapd, directory: OpenLdapDirectory) -> None:
    past = datetime.now(UTC) - timedelta(minutes=1)
    directory.ensure_guest(Person(MARIE.uid, MARIE.name, MARIE.mail, guest=True, ends_at=past))
    assert not logs_in(MARIE.uid, PASSWORD)
    directory.ensure_guest(MARIE)
    assert logs_in(MARIE.uid, PASSWORD)


@pytest.mark.django_db
def test_a_stand_in_of_a_proof_does_not_log_in(directory: OpenLdapDirectory) -> None:
    uid = stand_ins.uid_of(17, stand_ins.Role.OWNER)
    directory.ensure_guest(Person(uid, "A stand-in", f"{uid}@{stand_ins.MAIL_DOMAIN}", guest=True))
    directory.set_guest_password(uid, PASSWORD)
    assert not logs_in(uid, PASSWORD)
    assert not User.objects.filter(username=uid).exists()
    directory.remove_guest(uid)
