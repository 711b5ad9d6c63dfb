"""The directory: people, groups, and how machines ask it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Person:
    """Somebody in the directory. `guest`: the account is the portal's own, and opens nothing from `ends_at` on."""

    uid: str
    name: str
    mail: str
    guest: bool = False
    ends_at: datetime | None = None


@dataclass(frozen=True)
class MachineAccount:
    """How a machine binds to the directory; its `seeAlso` is the members' group of its platform."""

    machine: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class DirectoryStatus:
    """What the directory says of itself: how many people, which overlays it lacks, of which that cannot be seen from here."""

    people: int
    missing: tuple[str, ...]
    unseen: tuple[str, ...]


@dataclass(frozen=True)
class StandIns:
    """What proofs have made and not taken away: uids of accounts, slug -> uuid of platforms."""

    uids: tuple[str, ...]
    platforms: Mapping[str, str]


class Directory(Protocol):
    """The one LDAP base. uids are looked up exactly (escaped), never as patterns."""

    def status(self) -> DirectoryStatus:
        """DriverError when the portal's account cannot bind or cannot read the base."""

    def person(self, uid: str) -> Person | None: ...

    def people(self, uids: Iterable[str]) -> Mapping[str, Person]:
        """Those of these who are there, by their uid as the directory writes it; in few calls, however many are asked for."""

    def person_with_mail(self, mail: str) -> Person | None:
        """Whose address this is, whatever its case; None for nobody, and for what cannot be an address in the directory."""

    def search_people(self, text: str, limit: int = 10) -> list[Person]:
        """People whose uid, name or mail contains `text`, best first, at most `limit`."""

    def ensure_platform(
        self, slug: str, uuid: str, owners: Iterable[str], addresses: Iterable[str] = ()
    ) -> None:
        """The subtree ou=<slug> with owners and members; owners are members too. Rejected if another uuid holds the slug.

        `addresses` are exactly those that the platform's machines are to find there (`Plan.addresses`)."""

    def ensure_machine_account(self, slug: str, account: MachineAccount) -> None: ...

    def remove_machine_account(self, slug: str, machine: str) -> None: ...

    def remove_platform(self, slug: str, uuid: str) -> None:
        """The whole subtree, if it belongs to `uuid`."""

    def ensure_member(self, slug: str, uid: str, *, owner: bool = False) -> None:
        """Rejected if there is no such person or platform."""

    def remove_member(self, slug: str, uid: str) -> None: ...

    def remove_owner(self, slug: str, uid: str) -> None:
        """No owner any more, but still a member."""

    def members(self, slug: str) -> Mapping[str, bool]:
        """uid -> is owner; empty when there is no such platform."""

    def platforms(self) -> Mapping[str, str]:
        """slug -> platform uuid of every subtree."""

    # Guests: accounts of people from outside, which the portal alone makes, changes and removes.

    def ensure_guest(self, person: Person) -> None:
        """This account with this name, address and end; its password is kept, and it cannot bind before it has one.

        Rejected when somebody who is no guest has the uid, or somebody else the address."""

    def remove_guest(self, uid: str) -> None:
        """Gone, from all groups too. Whoever is no guest stays."""

    def guests(self) -> list[Person]: ...

    def set_guest_password(self, uid: str, password: str) -> None:
        """PasswordRefused by the policy; Rejected for somebody who is no guest. Opens an account that failures had locked."""

    def change_guest_password(self, uid: str, old: str, new: str) -> bool:
        """As the person does it: False, and counted as a failed login, when `old` is not the password."""

    # Public keys of ssh, of guests and of everybody else.

    def ssh_keys(self) -> Mapping[str, tuple[str, ...]]:
        """uid -> keys, sorted, of all who have any, stand-ins left out."""

    def set_ssh_keys(self, uid: str, keys: Iterable[str]) -> None:
        """Exactly these keys, which the machines of the person's platforms may read; none removes the entry. Rejected when keys
        are given for somebody who is not there."""

    # Stand-ins (domain/stand_ins.py): guests, and platforms without machines, that a proof makes for a while by the calls above. No
    # other call shows them: they are nobody whom one could look up, and on no list.

    def stand_ins(self) -> StandIns:
        """Those that are there."""

    def administrators(self) -> frozenset[str]:
        """uids in cn=admins,ou=groups; guests are none."""

    def project_owners(self, project: str) -> frozenset[str]:
        """uids in cn=<project>,ou=projects; empty when there is no such group. Guests own nothing."""

    def entries(self, slug: str) -> list[str]:
        """DNs below and including ou=<slug>."""

    def machine_dn(self, slug: str, machine: str) -> str: ...

    def group_dn(self, slug: str, group: str) -> str:
        """`group` is "members" or "owners"."""
