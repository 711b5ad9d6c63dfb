"""People of the fake directory: those of the laboratory, whom tests add, and guests and ssh keys, which the portal does.

Guests and keys survive the process, as platforms do; people of the laboratory and their roles are each process's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from placo.domain.stand_ins import is_stand_in
from placo.drivers.fake_storage import Shelf
from placo.drivers.faults import Faults
from placo.drivers.people import best_first, searchable
from placo.drivers.ports import PasswordRefused, Person, Rejected

_SHORTEST_PASSWORD = 10


class FakePeople(ABC):
    """The part of `ports.Directory` that is about people. `passwords` are those of the laboratory; `now` is its clock."""

    def __init__(self, folder: Path, people: Iterable[Person]) -> None:
        self.faults = Faults("the fake directory")
        self._shelf = Shelf(folder)
        self._people: dict[str, Person] = {}
        self.admins: set[str] = set()
        self.owners_of: dict[str, set[str]] = {}
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        for person in people:
            self.add_person(person)

    def add_person(self, person: Person) -> None:
        """Somebody joins (or changes)."""
        self._people[person.uid.casefold()] = person

    def opens(self, uid: str, password: str) -> bool:
        """Whether a guest can bind with this password now."""
        with self._shelf.locked():
            found = self._guest_row(uid)
            person = self._known_person(uid)
            over = person is not None and person.ends_at is not None and person.ends_at <= self.now()
            return found is not None and not over and found["password"] == password

    # --- the contract ---

    def person(self, uid: str) -> Person | None:
        with self._operation("person"):
            return None if is_stand_in(uid) else self._known_person(uid)

    def people(self, uids: Iterable[str]) -> Mapping[str, Person]:
        with self._operation("people"):
            found = [self._known_person(uid) for uid in set(uids) if not is_stand_in(uid)]
            return {person.uid: person for person in found if person is not None}

    def person_with_mail(self, mail: str) -> Person | None:
        with self._operation("person_with_mail"):
            same = (p for p in self._shown() if p.mail and p.mail.casefold() == mail.casefold())
            return next(same, None)

    def search_people(self, text: str, limit: int = 10) -> list[Person]:
        with self._operation("search_people"):
            wanted = searchable(text).casefold()
            if not wanted:
                return []
            found = [
                person
                for person in self._shown()
                if any(wanted in value.casefold() for value in (person.uid, person.name, person.mail))
            ]
            return best_first(found, wanted)[:limit]

    def ensure_guest(self, person: Person) -> None:
        with self._operation("ensure_guest"):
            if person.uid.casefold() in self._people:
                raise Rejected(f"the uid {person.uid!r} belongs to somebody who is no guest")
            if not person.mail.isascii():
                raise Rejected("the directory refuses: an address is plain ASCII")
            for other in self._everybody():
                if other.uid != person.uid and other.mail.casefold() == person.mail.casefold():
                    raise Rejected(f"the directory refuses: {person.mail!r} is somebody else's")
            before = self._guest_row(person.uid) or {"password": None}
            ends_at = person.ends_at.astimezone(UTC).replace(microsecond=0) if person.ends_at else None
            row = {"uid": person.uid, "name": person.name, "mail": person.mail}
            row["ends_at"] = ends_at.isoformat() if ends_at else ""
            self._shelf.put("guests", _file(person.uid), {**before, **row})

    def remove_guest(self, uid: str) -> None:
        with self._operation("remove_guest"):
            found = self._guest_row(uid)
            if found is not None:
                self._shelf.drop("guests", _file(uid))
                self._leave_groups(found["uid"])

    def guests(self) -> list[Person]:
        with self._operation("guests"):
            return sorted(
                (p for p in self._guests() if not is_stand_in(p.uid)), key=lambda person: person.uid
            )

    def set_guest_password(self, uid: str, password: str) -> None:
        with self._operation("set_guest_password"):
            self._set_password(uid, password)

    def change_guest_password(self, uid: str, old: str, new: str) -> bool:
        with self._operation("change_guest_password"):
            if self._guest_row(uid) is None:
                raise Rejected(f"the directory has no guest with the uid {uid!r}")
            if not self.opens(uid, old):
                return False
            self._set_password(uid, new)
            return True

    def ssh_keys(self) -> Mapping[str, tuple[str, ...]]:
        with self._operation("ssh_keys"):
            rows = [found for found in self._shelf.all("keys") if not is_stand_in(found["uid"])]
            return {found["uid"]: tuple(found["keys"]) for found in rows}

    def set_ssh_keys(self, uid: str, keys: Iterable[str]) -> None:
        with self._operation("set_ssh_keys"):
            wanted = sorted(set(keys))
            if not wanted:
                self._shelf.drop("keys", _file(uid))
                return
            known = self._known(uid)
            self._shelf.put("keys", _file(known), {"uid": known, "keys": wanted})

    # --- inside ---

    @contextmanager
    def _operation(self, name: str) -> Iterator[None]:
        self.faults.check(name)
        with self._shelf.locked():
            yield

    def _known(self, uid: str) -> str:
        person = self._known_person(uid)
        if person is None:
            raise Rejected(f"the directory has nobody with the uid {uid!r}")
        return person.uid

    def _known_person(self, uid: str) -> Person | None:
        found = self._people.get(uid.casefold())
        if found is not None:
            return found
        row = self._guest_row(uid)
        return None if row is None else _person(row)

    def _everybody(self) -> list[Person]:
        return [*self._people.values(), *self._guests()]

    def _shown(self) -> list[Person]:
        return [person for person in self._everybody() if not is_stand_in(person.uid)]

    def _guests(self) -> list[Person]:
        return [_person(row) for row in self._shelf.all("guests")]

    def _guest_row(self, uid: str) -> dict[str, Any] | None:
        return self._shelf.get("guests", _file(uid))

    def _set_password(self, uid: str, password: str) -> None:
        found = self._guest_row(uid)
        if found is None:
            raise Rejected(f"the directory has no guest with the uid {uid!r}")
        if len(password) < _SHORTEST_PASSWORD:
            raise PasswordRefused("the directory refuses the password: too short")
        self._shelf.put("guests", _file(uid), {**found, "password": password})

    @abstractmethod
    def _leave_groups(self, uid: str) -> None:
        """Out of every group, as refint does it in slapd."""

    def _lab(self, uids: Iterable[str]) -> frozenset[str]:
        """Those of these who are no guests."""
        return frozenset(uid for uid in uids if self._guest_row(uid) is None)


def _person(row: Mapping[str, Any]) -> Person:
    ends = row["ends_at"]
    person = Person(row["uid"], row["name"], row["mail"], guest=True)
    return replace(person, ends_at=datetime.fromisoformat(ends)) if ends else person


def _file(uid: str) -> str:
    """A file's name for whatever a uid holds."""
    return sha256(uid.casefold().encode("utf-8", "surrogatepass")).hexdigest()
