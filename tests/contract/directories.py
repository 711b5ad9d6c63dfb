"""The directories that the contract is proved on: the fake, a private slapd with the lab's configuration, a running lab's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import ldap
import ldap.dn
import pytest

from deploy.lab import site
from deploy.lab.layout import BASE
from deploy.rehearsal.process import short_folder
from deploy.rehearsal.servers import PORTAL_DN, PORTAL_PASSWORD, PrivateSlapd, uids_visible
from placo import config
from placo.drivers import openldap
from placo.drivers.fake_directory import FakeDirectory
from placo.drivers.ports import Directory, Person


def keys_visible(uri: str, dn: str, password: str) -> dict[str, tuple[str, ...]]:
    """The ssh keys that an account finds, as a gateway machine would look them up."""
    connection = ldap.initialize(uri)
    connection.simple_bind_s(dn, password)
    found = connection.search_s(f"ou=keys,{BASE}", ldap.SCOPE_ONELEVEL, "(sshPublicKey=*)")
    connection.unbind_s()
    return {
        entry["uid"][0].decode(): tuple(sorted(key.decode() for key in entry["sshPublicKey"]))
        for _dn, entry in found
    }


def addresses_visible(uri: str, dn: str, password: str, slug: str) -> set[str]:
    """The addresses that an account finds in a platform's subtree, as a monitoring machine would look for them."""
    connection = ldap.initialize(uri)
    connection.simple_bind_s(dn, password)
    top = f"ou=services,ou={slug},ou=platforms,{BASE}"
    try:
        found = connection.search_s(top, ldap.SCOPE_BASE, "(objectClass=*)", ["labeledURI"])
    except ldap.NO_SUCH_OBJECT:
        return set()
    finally:
        connection.unbind_s()
    return {value.decode() for _dn, entry in found for value in entry.get("labeledURI", [])}


class Outside:
    """A directory under test and the ways to look at it from directory_world."""

    directory: Directory

    def visible_to(self, dn: str, password: str) -> set[str] | None:
        raise AssertionError("each kind says how")

    def keys_visible_to(self, dn: str, password: str) -> dict[str, tuple[str, ...]]:
        raise AssertionError("each kind says how")

    def addresses_visible_to(self, dn: str, password: str, slug: str) -> set[str]:
        raise AssertionError("each kind says how")

    def opens(self, uid: str, password: str) -> bool:
        """Whether a guest can bind with this password."""
        raise AssertionError("each kind says how")


class FakeOutside(Outside):
    def __init__(self, folder: Path) -> None:
        people = [Person(p.uid, p.name, f"{p.uid}@placo.test") for p in site.people()]
        self.fake = FakeDirectory(folder, people)
        self.fake.admins = {"aurore"}
        self.fake.owners_of = {"topology": {"olivier"}}
        self.directory = self.fake

    def visible_to(self, dn: str, password: str) -> set[str] | None:
        return self.fake.visible_to(dn, password)

    def keys_visible_to(self, dn: str, password: str) -> dict[str, tuple[str, ...]]:
        return self.fake.keys_visible_to(dn, password)

    def addresses_visible_to(self, dn: str, password: str, slug: str) -> set[str]:
        return self.fake.addresses_visible_to(dn, password, slug)

    def opens(self, uid: str, password: str) -> bool:
        return self.fake.opens(uid, password)


class LdapOutside(Outside):
    def __init__(self, uri: str, directory: Directory) -> None:
        self.uri = uri
        self.directory = directory

    def visible_to(self, dn: str, password: str) -> set[str] | None:
        return uids_visible(self.uri, dn, password)

    def keys_visible_to(self, dn: str, password: str) -> dict[str, tuple[str, ...]]:
        return keys_visible(self.uri, dn, password)

    def addresses_visible_to(self, dn: str, password: str, slug: str) -> set[str]:
        return addresses_visible(self.uri, dn, password, slug)

    def opens(self, uid: str, password: str) -> bool:
        dn = f"uid={ldap.dn.escape_dn_chars(uid)},ou=guests,ou=people,{BASE}"
        connection = ldap.initialize(self.uri)
        try:
            connection.simple_bind_s(dn, password)
        except ldap.INVALID_CREDENTIALS:
            return False
        connection.unbind_s()
        return True


@pytest.fixture(scope="module")
def slapd() -> Iterator[PrivateSlapd]:
    with short_folder() as folder:
        server = PrivateSlapd(folder)
        yield server
        server.server.stop()


def connect(slapd: PrivateSlapd, **other: float) -> openldap.OpenLdapDirectory:
    return openldap.OpenLdapDirectory(slapd.uri, BASE, PORTAL_DN, PORTAL_PASSWORD, slapd.ca_file, **other)


@pytest.fixture
def real_directory(slapd: PrivateSlapd) -> Iterator[openldap.OpenLdapDirectory]:
    directory = connect(slapd)
    yield directory
    forget_platforms(directory)


def lab_outside() -> LdapOutside:
    c = config.load().config.directory
    password = config.read_secret(c.password_file)
    return LdapOutside(c.uri, openldap.OpenLdapDirectory(c.uri, c.base, c.bind_dn, password, c.ca_file))


@pytest.fixture(params=["fake", "slapd", pytest.param("lab", marks=pytest.mark.lab)])
def directory_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outside]:
    if request.param == "fake":
        yield FakeOutside(tmp_path)
        return
    if request.param == "slapd":
        server: PrivateSlapd = request.getfixturevalue("slapd")
        world = LdapOutside(server.uri, connect(server))
    else:
        world = lab_outside()
    yield world
    forget_platforms(world.directory)


def forget_platforms(directory: Directory) -> None:
    """Take away what a test made: slugs that begin with contract-, guests with g-contract, and keys."""
    for slug, uuid in directory.platforms().items():
        if slug.startswith("contract-"):
            directory.remove_platform(slug, uuid)
    for person in guests_of_tests(directory):
        directory.remove_guest(person.uid)
    for uid in directory.ssh_keys():
        directory.set_ssh_keys(uid, [])


def guests_of_tests(directory: Directory) -> list[Person]:
    """The guests that these tests make: a lab's directory may have others."""
    return [person for person in directory.guests() if person.uid.startswith("g-contract")]


@pytest.fixture
def directory(directory_world: Outside) -> Directory:
    return directory_world.directory


def made(directory: Directory, slug: str = "contract-a", owners: tuple[str, ...] = ("olivier",)) -> str:
    """A platform's uuid after making its subtree."""
    uuid = str(uuid4())
    directory.ensure_platform(slug, uuid, owners)
    return uuid
