"""A directory in a folder: the contract without a server, for tests of everything above the drivers.

Platforms, guests and keys survive the process and are shared by all processes that use the same folder; people of the laboratory
and their roles are each process's own (fake_people.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from placo.domain.stand_ins import is_stand_in, is_stand_in_slug
from placo.drivers.checks import dns_label, platform_uuid
from placo.drivers.fake_people import FakePeople
from placo.drivers.ports import DirectoryStatus, MachineAccount, Person, Rejected, StandIns


@dataclass
class _Subtree:
    uuid: str
    owners: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)
    machines: dict[str, str] = field(default_factory=dict)
    """Machine -> password of its account."""
    addresses: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> _Subtree:
        return cls(
            found["uuid"],
            set(found["owners"]),
            set(found["members"]),
            dict(found["machines"]),
            set(found["addresses"]),
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "uuid": self.uuid,
            "owners": sorted(self.owners),
            "members": sorted(self.members),
            "machines": self.machines,
            "addresses": sorted(self.addresses),
        }


class FakeDirectory(FakePeople):
    """`ports.Directory` in `folder`. `faults` makes it fail; people are added with `add_person`; it lacks overlays in `missing`."""

    def __init__(self, folder: Path, people: Iterable[Person] = (), base: str = "dc=placo,dc=test") -> None:
        super().__init__(folder, people)
        self._base = base
        self.missing: tuple[str, ...] = ()

    def remove_person(self, uid: str) -> None:
        """Somebody leaves the directory, and all groups with it (what refint does in slapd)."""
        self._people.pop(uid.casefold(), None)
        self._leave_groups(uid)

    def _leave_groups(self, uid: str) -> None:
        for group in (self.admins, *self.owners_of.values()):
            group.discard(uid)
        with self._shelf.locked():
            for slug in self.slugs():
                subtree = self._subtree(slug)
                subtree.owners.discard(uid)
                subtree.members.discard(uid)
                self._put(slug, subtree)

    def insiders(self, slug: str, *, owners: bool = False) -> set[str]:
        """Members, or owners, of a platform, stand-ins too."""
        with self._shelf.locked():
            found = self._find(slug)
            return set() if found is None else found.owners if owners else found.members

    def visible_to(self, machine_dn: str, password: str) -> set[str] | None:
        """uids that a machine's account sees; None if it cannot bind."""
        with self._shelf.locked():
            for slug in self.slugs():
                subtree = self._subtree(slug)
                for machine, known in subtree.machines.items():
                    if self.machine_dn(slug, machine) == machine_dn and known == password:
                        return subtree.members
        return None

    def addresses_visible_to(self, machine_dn: str, password: str, slug: str) -> set[str]:
        """The addresses that a machine's account finds in a platform's subtree: none but in its own."""
        with self._shelf.locked():
            subtree = self._subtree(slug)
            own = {(self.machine_dn(slug, name), known) for name, known in subtree.machines.items()}
            return subtree.addresses if (machine_dn, password) in own else set()

    def keys_visible_to(self, machine_dn: str, password: str) -> dict[str, tuple[str, ...]]:
        """The ssh keys that a machine's account sees: those of the people whom it sees."""
        visible = self.visible_to(machine_dn, password) or set()
        return {
            found["uid"]: tuple(found["keys"])
            for found in self._shelf.all("keys")
            if found["uid"] in visible and self._known_person(found["uid"])
        }

    # --- the contract ---

    def status(self) -> DirectoryStatus:
        with self._operation("status"):
            return DirectoryStatus(len(self._shown()), self.missing, ())

    def ensure_platform(
        self, slug: str, uuid: str, owners: Iterable[str], addresses: Iterable[str] = ()
    ) -> None:
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
            subtree.addresses = set(addresses)
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

    def remove_owner(self, slug: str, uid: str) -> None:
        with self._operation("remove_owner"):
            dns_label(slug, "slug")
            if (subtree := self._find(slug)) is not None:
                subtree.owners -= {known for known in subtree.owners if known.casefold() == uid.casefold()}
                self._put(slug, subtree)

    def members(self, slug: str) -> Mapping[str, bool]:
        with self._operation("members"):
            subtree = self._find(dns_label(slug, "slug"))
            uids = (uid for uid in sorted(subtree.members) if not is_stand_in(uid)) if subtree else ()
            return {uid: uid in subtree.owners for uid in uids} if subtree else {}

    def administrators(self) -> frozenset[str]:
        with self._operation("administrators"):
            return self._lab(self.admins)

    def project_owners(self, project: str) -> frozenset[str]:
        with self._operation("project_owners"):
            return self._lab(self.owners_of.get(dns_label(project, "project"), ()))

    def platforms(self) -> Mapping[str, str]:
        with self._operation("platforms"):
            return {slug: uuid for slug, uuid in self._subtrees().items() if not is_stand_in_slug(slug)}

    def stand_ins(self) -> StandIns:
        with self._operation("stand_ins"):
            slugs = {slug: uuid for slug, uuid in self._subtrees().items() if is_stand_in_slug(slug)}
            return StandIns(
                tuple(sorted(person.uid for person in self._guests() if is_stand_in(person.uid))), slugs
            )

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

    def _subtrees(self) -> dict[str, str]:
        return {found["slug"]: found["uuid"] for found in self._shelf.all("platforms")}

    def slugs(self) -> list[str]:
        """Of all platforms, those of stand-ins too."""
        return list(self._subtrees())
