"""The directory in memory: the contract without a server, for tests of everything above the drivers."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from placo.drivers.checks import dns_label, platform_uuid
from placo.drivers.faults import Faults
from placo.drivers.people import best_first, searchable
from placo.drivers.ports import MachineAccount, Person, Rejected


@dataclass
class _Subtree:
    uuid: str
    owners: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)
    machines: dict[str, MachineAccount] = field(default_factory=dict)


class FakeDirectory:
    """`ports.Directory` in this process. `faults` makes it fail; people are added with `add_person`."""

    def __init__(self, people: Iterable[Person] = (), base: str = "dc=placo,dc=test") -> None:
        self.faults = Faults("the fake directory")
        self._base = base
        self._lock = threading.RLock()
        self._people: dict[str, Person] = {}
        self._platforms: dict[str, _Subtree] = {}
        self.admins: set[str] = set()
        self.owners_of: dict[str, set[str]] = {}
        for person in people:
            self.add_person(person)

    def add_person(self, person: Person) -> None:
        """Somebody joins (or changes)."""
        with self._lock:
            self._people[person.uid.casefold()] = person

    def remove_person(self, uid: str) -> None:
        """Somebody leaves the directory, and all groups with it (what refint does in slapd)."""
        with self._lock:
            self._people.pop(uid.casefold(), None)
            for group in (self.admins, *self.owners_of.values()):
                group.discard(uid)
            for subtree in self._platforms.values():
                subtree.owners.discard(uid)
                subtree.members.discard(uid)

    def visible_to(self, machine_dn: str, password: str) -> set[str] | None:
        """uids that a machine's account sees; None if it cannot bind."""
        with self._lock:
            for slug, subtree in self._platforms.items():
                for machine, account in subtree.machines.items():
                    if self.machine_dn(slug, machine) == machine_dn and account.password == password:
                        return set(subtree.members)
        return None

    # --- the contract ---

    def person(self, uid: str) -> Person | None:
        with self._operation("person"):
            return self._people.get(uid.casefold())

    def search_people(self, text: str, limit: int = 10) -> list[Person]:
        with self._operation("search_people"):
            wanted = searchable(text).casefold()
            if not wanted:
                return []
            found = [
                person
                for person in self._people.values()
                if any(wanted in value.casefold() for value in (person.uid, person.name, person.mail))
            ]
            return best_first(found, wanted)[:limit]

    def ensure_platform(self, slug: str, uuid: str, owners: Iterable[str]) -> None:
        with self._operation("ensure_platform"):
            dns_label(slug, "slug")
            platform_uuid(uuid)
            known = {self._known(uid) for uid in owners}
            subtree = self._platforms.setdefault(slug, _Subtree(uuid))
            if subtree.uuid != uuid:
                raise Rejected(
                    f"the directory already has a platform {slug!r} of another making ({subtree.uuid})"
                )
            subtree.owners |= known
            subtree.members |= known

    def ensure_machine_account(self, slug: str, account: MachineAccount) -> None:
        with self._operation("ensure_machine_account"):
            self.machine_dn(slug, account.machine)
            self._subtree(slug).machines[account.machine] = account

    def remove_machine_account(self, slug: str, machine: str) -> None:
        with self._operation("remove_machine_account"):
            self.machine_dn(slug, machine)
            if slug in self._platforms:
                self._platforms[slug].machines.pop(machine, None)

    def remove_platform(self, slug: str, uuid: str) -> None:
        with self._operation("remove_platform"):
            dns_label(slug, "slug")
            if slug in self._platforms and self._platforms[slug].uuid == uuid:
                del self._platforms[slug]

    def ensure_member(self, slug: str, uid: str, *, owner: bool = False) -> None:
        with self._operation("ensure_member"):
            dns_label(slug, "slug")
            known = self._known(uid)
            subtree = self._subtree(slug)
            subtree.members.add(known)
            if owner:
                subtree.owners.add(known)

    def remove_member(self, slug: str, uid: str) -> None:
        with self._operation("remove_member"):
            dns_label(slug, "slug")
            if slug in self._platforms:
                subtree = self._platforms[slug]
                for group in (subtree.owners, subtree.members):
                    group.difference_update({known for known in group if known.casefold() == uid.casefold()})

    def members(self, slug: str) -> Mapping[str, bool]:
        with self._operation("members"):
            subtree = self._platforms.get(dns_label(slug, "slug"))
            return {uid: uid in subtree.owners for uid in sorted(subtree.members)} if subtree else {}

    def administrators(self) -> frozenset[str]:
        with self._operation("administrators"):
            return frozenset(self.admins)

    def project_owners(self, project: str) -> frozenset[str]:
        with self._operation("project_owners"):
            return frozenset(self.owners_of.get(dns_label(project, "project"), ()))

    def platforms(self) -> Mapping[str, str]:
        with self._operation("platforms"):
            return {slug: subtree.uuid for slug, subtree in self._platforms.items()}

    def entries(self, slug: str) -> list[str]:
        with self._operation("entries"):
            top = self._top(slug)
            if slug not in self._platforms:
                return []
            machines = sorted(self.machine_dn(slug, machine) for machine in self._platforms[slug].machines)
            return [
                top,
                self.group_dn(slug, "members"),
                self.group_dn(slug, "owners"),
                f"ou=services,{top}",
                *machines,
            ]

    def machine_dn(self, slug: str, machine: str) -> str:
        return f"cn={dns_label(machine, 'machine')},ou=services,{self._top(slug)}"

    def group_dn(self, slug: str, group: str) -> str:
        if group not in ("members", "owners"):
            raise ValueError(f"a platform has no group {group!r}")
        return f"cn={group},{self._top(slug)}"

    # --- inside ---

    def _top(self, slug: str) -> str:
        return f"ou={dns_label(slug, 'slug')},ou=platforms,{self._base}"

    @contextmanager
    def _operation(self, name: str) -> Iterator[None]:
        self.faults.check(name)
        with self._lock:
            yield

    def _known(self, uid: str) -> str:
        person = self._people.get(uid.casefold())
        if person is None:
            raise Rejected(f"the directory has nobody with the uid {uid!r}")
        return person.uid

    def _subtree(self, slug: str) -> _Subtree:
        if slug not in self._platforms:
            raise Rejected(f"the directory has no platform {slug!r}")
        return self._platforms[slug]
