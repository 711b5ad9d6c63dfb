"""People in OpenLDAP: finding them, the accounts of guests, everybody's ssh keys.

People of the laboratory are read, never written. Guests live in ``ou=guests,ou=people``, which is the portal's to write: their
end is `pwdEndTime`, from which on slapd refuses every bind. Keys of ssh are in entries of their own, ``uid=...,ou=keys``,
whose `owner` names the person: so a machine sees those of its platform's members by the same rule as it sees the people, and
the entries of the laboratory need not be written. It is not `seeAlso`: refint, when the person goes, would have that name the
placeholder who is in every group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from placo.domain.stand_ins import STAND_IN, is_stand_in
from placo.drivers.ldap_session import (
    ONELEVEL,
    SUBTREE,
    Entry,
    MissingEntryError,
    Session,
    Sessions,
    escape_dn,
    escape_filter,
    format_filter,
    is_below,
    rdn_value,
)
from placo.drivers.people import best_first, searchable
from placo.drivers.ports import Person, Rejected

_SCANNED = 200  # how many people a search looks at before it sorts them
_AT_ONCE = 50  # how many people are asked for in one search
_PERSON = ("uid", "cn", "mail", "pwdEndTime")
_TIME = "%Y%m%d%H%M%SZ"
PEOPLE = f"(objectClass=inetOrgPerson)(!(uid={STAND_IN}*))"
"""The two conditions by which somebody is a person, and no stand-in."""


class OpenLdapPeople:
    """The part of `ports.Directory` that is about people."""

    def __init__(self, sessions: Sessions, base: str) -> None:
        self._sessions = sessions
        self._base = base
        self._people = f"ou=people,{base}"
        self._guests = f"ou=guests,{self._people}"
        self._keys = f"ou=keys,{base}"

    # --- everybody ---

    def person(self, uid: str) -> Person | None:
        if is_stand_in(uid):
            return None
        found = self._sessions.run(lambda session: self._find(session, uid))
        return self._person(found) if found else None

    def people(self, uids: Iterable[str]) -> Mapping[str, Person]:
        asked = sorted({uid for uid in uids if sendable(uid) and not is_stand_in(uid)})

        def look(session: Session) -> dict[str, Person]:
            there: dict[str, Person] = {}
            for start in range(0, len(asked), _AT_ONCE):
                some = asked[start : start + _AT_ONCE]
                wanted = {uid.casefold() for uid in some}
                either = "".join(format_filter("(uid=%s)", [uid]) for uid in some)
                pattern = f"(&(objectClass=inetOrgPerson)(|{either}))"
                for person in map(self._person, session.search(self._people, SUBTREE, pattern, _PERSON)):
                    if person.uid.casefold() in wanted:
                        there[person.uid] = person
            return there

        return self._sessions.run(look)

    def person_with_mail(self, mail: str) -> Person | None:
        if not mail.isascii() or not sendable(mail):
            return None
        pattern = format_filter(f"(&{PEOPLE}(mail=%s))", [mail])
        found = self._sessions.run(
            lambda session: session.search(self._people, SUBTREE, pattern, (*_PERSON, "mail"))
        )
        same = (e for e in found if mail.casefold() in {value.casefold() for value in e.texts("mail")})
        return next(map(self._person, same), None)

    def search_people(self, text: str, limit: int = 10) -> list[Person]:
        wanted = searchable(text)
        if not wanted:
            return []
        part = escape_filter(wanted)
        pattern = f"(&{PEOPLE}(|(uid=*{part}*)(cn=*{part}*)(mail=*{part}*)))"
        found = self._sessions.run(
            lambda session: session.search_some(self._people, SUBTREE, pattern, _PERSON, _SCANNED)
        )
        return best_first(map(self._person, found), wanted)[:limit]

    def is_guest(self, dn: str) -> bool:
        """Whether an entry is one of the portal's own people."""
        return is_below(dn, self._guests)

    # --- guests ---

    def ensure_guest(self, person: Person) -> None:
        dn = self._guest_dn(person.uid)
        attributes = {
            "cn": [person.name],
            "sn": [person.name.split()[-1] if person.name.split() else person.uid],
            "displayName": [person.name],
            "mail": [person.mail],
        }
        end = {"pwdEndTime": [person.ends_at.astimezone(UTC).strftime(_TIME)] if person.ends_at else []}

        def ensure(session: Session) -> None:
            held = self._find(session, person.uid)
            if held is not None and not self.is_guest(held.dn):
                raise Rejected(f"the uid {person.uid!r} belongs to somebody who is no guest")
            whole = {"objectClass": ["inetOrgPerson"], "uid": [person.uid], **attributes}
            given = {name: values for name, values in end.items() if values}
            if not session.add(dn, whole | given):
                session.replace(dn, attributes | end)

        self._sessions.run(ensure)

    def remove_guest(self, uid: str) -> None:
        if sendable(uid):
            dn = self._guest_dn(uid)
            self._sessions.run(lambda session: session.delete(dn))

    def guests(self) -> list[Person]:
        found = self._sessions.run(
            lambda session: session.search(self._guests, ONELEVEL, f"(&{PEOPLE})", _PERSON)
        )
        return sorted(map(self._person, found), key=lambda person: person.uid)

    def _stand_in_uids(self) -> tuple[str, ...]:
        pattern = f"(&(objectClass=inetOrgPerson)(uid={STAND_IN}*))"
        found = self._sessions.run(lambda session: session.search(self._guests, ONELEVEL, pattern, ("uid",)))
        return tuple(sorted(uid_of(entry.dn) for entry in found))

    def set_guest_password(self, uid: str, password: str) -> None:
        def change(session: Session) -> None:
            session.set_password(self._known_guest(session, uid), password)

        self._sessions.run(change)

    def change_guest_password(self, uid: str, old: str, new: str) -> bool:
        dn = self._sessions.run(lambda session: self._known_guest(session, uid))
        return self._sessions.change_password(dn, old, new)

    # --- ssh keys ---

    def ssh_keys(self) -> Mapping[str, tuple[str, ...]]:
        pattern = f"(&(objectClass=ldapPublicKey)(!(uid={STAND_IN}*)))"
        found = self._sessions.run(
            lambda session: session.search(self._keys, ONELEVEL, pattern, ("uid", "sshPublicKey"))
        )
        return {uid_of(entry.dn): tuple(sorted(entry.texts("sshPublicKey"))) for entry in found}

    def set_ssh_keys(self, uid: str, keys: Iterable[str]) -> None:
        wanted = sorted(set(keys))

        def change(session: Session) -> None:
            if not wanted:
                if sendable(uid):
                    session.delete(f"uid={escape_dn(uid)},{self._keys}")
                return
            person = self._person_dn(session, uid)
            known = uid_of(person)
            dn = f"uid={escape_dn(known)},{self._keys}"
            attributes = {"owner": [person], "sshPublicKey": wanted}
            classes = ["account", "ldapPublicKey", "extensibleObject"]
            whole = {"objectClass": classes, "uid": [known], **attributes}
            try:
                if not session.add(dn, whole):
                    session.replace(dn, attributes)
            except MissingEntryError:
                raise Rejected(f"the directory has no {self._keys} (deploy/README.md)") from None

        self._sessions.run(change)

    # --- inside ---

    def _person(self, entry: Entry) -> Person:
        guest = self.is_guest(entry.dn)
        ends = entry.text("pwdEndTime") if guest else ""
        return Person(
            uid=uid_of(entry.dn),
            name=entry.text("cn"),
            mail=entry.text("mail"),
            guest=guest,
            ends_at=datetime.strptime(ends, _TIME).replace(tzinfo=UTC) if ends else None,
        )

    def _guest_dn(self, uid: str) -> str:
        return f"uid={escape_dn(uid)},{self._guests}"

    def _known_guest(self, session: Session, uid: str) -> str:
        found = self._find(session, uid)
        if found is None or not self.is_guest(found.dn):
            raise Rejected(f"the directory has no guest with the uid {uid!r}")
        return found.dn

    def _find(self, session: Session, uid: str) -> Entry | None:
        """LDAP would ignore case, spacing and forms of letters when it compares: only another case is accepted here."""
        if not sendable(uid):
            return None
        pattern = format_filter("(&(objectClass=inetOrgPerson)(uid=%s))", [uid])
        found = session.search(self._people, SUBTREE, pattern, _PERSON)
        return next((entry for entry in found if uid_of(entry.dn).casefold() == uid.casefold()), None)

    def _person_dn(self, session: Session, uid: str) -> str:
        found = self._find(session, uid)
        if found is None:
            raise Rejected(f"the directory has nobody with the uid {uid!r}")
        return found.dn


def uid_of(dn: str) -> str:
    """The uid in a person's DN, "" for another kind of entry."""
    return rdn_value(dn, "uid")


def sendable(text: str) -> bool:
    """False for what cannot be a value of the directory at all: nothing, or half a character."""
    try:
        return bool(text.strip()) and bool(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False
