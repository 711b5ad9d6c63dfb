"""A directory in a folder: the contract without a server, for tests of everything above the drivers.

Platforms survive the process and are shared by all processes that use the same folder; people and their roles are each process's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from placo.drivers.checks import dns_label, platform_uuid
from placo.drivers.fake_storage import Shelf
from placo.drivers.faults import Faults
from placo.drivers.people import best_first, searchable
from placo.drivers.ports import DirectoryStatus, MachineAccount, Person, Rejected


@dataclass
class _Subtree:
    uuid: str
    owners: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)
    machines: dict[str, str] = field(default_factory=dict)
    """Machine -> password of its account."""

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> _Subtree:
        return cls(found["uuid"], set(found["owners"]), set(found["members"]), dict(found["machines"]))

    def as_json(self) -> dict[str, Any]:
        return {
            "uuid": self.uuid,
            "owners": sorted(self.owners),
            "members": sorted(self.members),
            "machines": self.machines,
        }


class FakeDirectory:
    """`ports.Directory` in `folder`. `faults` makes it fail; people are added with `add_person`; it lacks overlays in `missing`."""

    def __init__(self, folder: Path, people: Iterable[Person] = (), base: str = "dc=placo,dc=test") -> None:
        self.faults = Faults("the fake directory")
        self._base = base
        self._shelf = Shelf(folder)
        self._people: dict[str, Person] = {}
        self.admins: set[str] = set()
        self.owners_of: dict[str, set[str]] = {}
        self.missing: tuple[str, ...] = ()
        for person in people:
            self.add_person(person)

    def add_person(self, person: Person) -> None:
        """Somebody joins (or changes)."""
        self._people[person.uid.casefold()] = person

    def remove_person(self, uid: str) -> None:
        """Somebody leaves the directory, and all groups with it (what refint does in slapd)."""
        self._people.pop(uid.casefold(), None)
        for group in (self.admins, *self.owners_of.values()):
            group.discard(uid)
        with self._shelf.locked():
            for slug in self._slugs():
                subtree = self._subtree(slug)
                subtree.owners.discard(uid)
                subtree.members.discard(uid)
                self._put(slug, subtree)

    def visible_to(self, machine_dn: str, password: str) -> set[str] | None:
        """uids that a machine's account sees; None if it cannot bind."""
        with self._shelf.locked():
            for slug in self._slugs():
                subtree = self._subtree(slug)
                for machine, known in subtree.machines.items():
                    if self.machine_dn(slug, machine) == machine_dn and known == password:
                        return subtree.members
        return None

    # --- the contract ---

    def status(self) -> DirectoryStatus:
        with self._operation("status"):
            return DirectoryStatus(len(self._people), self.missing, ())

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
            subtree = self._find(slug) or _Subtree(uuid)
            if subtree.uuid != uuid:
                raise Rejected(
                    f"the directory already has a platform {slug!r} of another making ({subtree.uuid})"
                )
            subtree.owners |= known
            subtree.members |= known
            self._put(slug, subtree)

    def ensure_machine_account(self, slug: str, account: MachineAccount) -> None:
        with self._operation("ensure_machine_account"):
            self.machine_dn(slug, account.machine)
            subtree = self._subtree(slug)
            subtree.machines[account.machine] = account.password
            self._put(slug, subtree)

    def remove_machine_account(self, slug: str, machine: str) -> None:
        with self._operation("remove_machine_account"):
            self.machine_dn(slug, machine)
            if (subtree := self._find(slug)) is not None:
                subtree.machines.pop(machine, None)
                self._put(slug, subtree)

    def remove_platform(self, slug: str, uuid: str) -> None:
        with self._operation("remove_platform"):
            dns_label(slug, "slug")
            if (subtree := self._find(slug)) is not None and subtree.uuid == uuid:
                self._shelf.drop("platforms", slug)

    def ensure_member(self, slug: str, uid: str, *, owner: bool = False) -> None:
        with self._operation("ensure_member"):
            dns_label(slug, "slug")
            known = self._known(uid)
            subtree = self._subtree(slug)
            subtree.members.add(known)
            if owner:
                subtree.owners.add(known)
            self._put(slug, subtree)

    def remove_member(self, slug: str, uid: str) -> None:
        with self._operation("remove_member"):
            dns_label(slug, "slug")
            if (subtree := self._find(slug)) is not None:
                for group in (subtree.owners, subtree.members):
                    group.difference_update({known for known in group if known.casefold() == uid.casefold()})
                self._put(slug, subtree)

    def members(self, slug: str) -> Mapping[str, bool]:
        with self._operation("members"):
            subtree = self._find(dns_label(slug, "slug"))
            return {uid: uid in subtree.owners for uid in sorted(subtree.members)} if subtree else {}

    def administrators(self) -> frozenset[str]:
        with self._operation("administrators"):
            return frozenset(self.admins)

    def project_owners(self, project: str) -> frozenset[str]:
        with self._operation("project_owners"):
            return frozenset(self.owners_of.get(dns_label(project, "project"), ()))

    def platforms(self) -> Mapping[str, str]:
        with self._operation("platforms"):
            return {found["slug"]: found["uuid"] for found in self._shelf.all("platforms")}

    def entries(self, slug: str) -> list[str]:
        with self._operation("entries"):
            top = self._top(slug)
            subtree = self._find(slug)
            if subtree is None:
                return []
            machines = sorted(self.machine_dn(slug, machine) for machine in subtree.machines)
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
        with self._shelf.locked():
            yield

    def _known(self, uid: str) -> str:
        person = self._people.get(uid.casefold())
        if person is None:
            raise Rejected(f"the directory has nobody with the uid {uid!r}")
        return person.uid

    def _find(self, slug: str) -> _Subtree | None:
        found = self._shelf.get("platforms", slug)
        return None if found is None else _Subtree.of(found)

    def _subtree(self, slug: str) -> _Subtree:
        subtree = self._find(slug)
        if subtree is None:
            raise Rejected(f"the directory has no platform {slug!r}")
        return subtree

    def _put(self, slug: str, subtree: _Subtree) -> None:
        self._shelf.put("platforms", slug, {"slug": slug, **subtree.as_json()})

    def _slugs(self) -> list[str]:
        return [found["slug"] for found in self._shelf.all("platforms")]
