"""The directory on OpenLDAP: platforms' subtrees and machines' accounts; people are in openldap_people.py.

Three decisions make each operation repeatable from any half state:

* A subtree belongs to the platform whose uuid is the `description` of ``ou=<slug>``; that entry is made first and removed
  last.
* Groups always hold the placeholder ``cn=nobody,ou=system`` (groupOfNames needs a member), so the last person can leave
  without a special case or a race; it is never reported as a member.
* Machine passwords are set by the Password Modify operation, which hashes on the server whatever its policy for
  cleartext; the account is made without a password first, so that none is ever stored in clear.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from placo.domain.stand_ins import is_stand_in, is_stand_in_slug
from placo.drivers.checks import dns_label, platform_uuid
from placo.drivers.ldap_session import (
    BASE,
    ONELEVEL,
    SUBTREE,
    MissingEntryError,
    Session,
    Sessions,
    connection_options,
    depth,
    is_unavailable,
)
from placo.drivers.openldap_people import PEOPLE, OpenLdapPeople, uid_of
from placo.drivers.ports import DirectoryStatus, DriverError, MachineAccount, Rejected, StandIns

__all__ = ["OpenLdapDirectory", "connection_options", "is_unavailable", "people_search"]

_OVERLAYS = ("memberof", "refint", "ppolicy")
_PPOLICY_CONTROL = "1.3.6.1.4.1.42.2.27.8.5.1"


def people_search(base: str) -> tuple[str, int, str]:
    """Base, scope and filter for django-auth-ldap's LDAPSearch of the person who logs in."""
    return f"ou=people,{base}", SUBTREE, f"(&{PEOPLE}(uid=%(user)s))"


class OpenLdapDirectory(OpenLdapPeople):
    """`ports.Directory` on slapd 2.5; safe from several threads (each has its own connection, made when needed).

    `uri` is ldapi:// (local), ldaps:// or ldap:// (then StartTLS is demanded); `timeout_s` bounds connecting and each
    operation.
    """

    def __init__(
        self, uri: str, base: str, bind_dn: str, password: str, ca_file: Path, *, timeout_s: float = 5.0
    ) -> None:
        super().__init__(Sessions(uri, bind_dn, password, ca_file, timeout_s=timeout_s), base)
        self._platforms = f"ou=platforms,{base}"
        self._nobody = f"cn=nobody,ou=system,{base}"

    def __repr__(self) -> str:
        return f"OpenLdapDirectory({self._sessions.uri!r}, {self._base!r})"

    def status(self) -> DirectoryStatus:
        """Overlays are read from cn=config where the portal may; else told from what they do, as far as that shows."""

        def look(session: Session) -> DirectoryStatus:
            if not session.search(self._people, BASE):
                raise DriverError(f"the directory shows no {self._people} to the portal's account")
            people = len(session.search(self._people, SUBTREE, f"(&{PEOPLE})"))
            seen = session.overlays()
            if seen:
                return DirectoryStatus(people, tuple(name for name in _OVERLAYS if name not in seen), ())
            told = {"memberof": self._tells_groups(session), "ppolicy": _tells_policies(session)}
            return DirectoryStatus(
                people,
                tuple(name for name in _OVERLAYS if told.get(name) is False),
                tuple(name for name in _OVERLAYS if told.get(name) is None),
            )

        return self._sessions.run(look)

    # --- platforms ---

    def ensure_platform(
        self, slug: str, uuid: str, owners: Iterable[str], addresses: Iterable[str] = ()
    ) -> None:
        top, uids = self._top(slug), sorted(set(owners))
        platform_uuid(uuid)
        services = {
            "objectClass": ["organizationalUnit", "labeledURIObject"],
            "labeledURI": sorted(set(addresses)),
        }

        def ensure(session: Session) -> None:
            owner_dns = [self._person_dn(session, uid) for uid in uids]
            session.add(top, {"objectClass": ["organizationalUnit"], "ou": [slug], "description": [uuid]})
            holder = self._holder(session, slug)
            if holder != uuid:
                held = f"held by {holder or 'an unmarked entry'}"
                raise Rejected(f"the directory already has another platform {slug!r}, {held}")
            for group in ("owners", "members"):
                dn, members = self.group_dn(slug, group), [self._nobody, *owner_dns]
                if not session.add(dn, {"objectClass": ["groupOfNames"], "cn": [group], "member": members}):
                    for owner_dn in owner_dns:
                        session.add_value(dn, "member", owner_dn)
            listed = {name: values for name, values in services.items() if values}
            if not session.add(f"ou=services,{top}", {"ou": ["services"], **listed}):
                session.replace(f"ou=services,{top}", services)

        self._sessions.run(ensure)

    def remove_platform(self, slug: str, uuid: str) -> None:
        """The whole subtree, children first (mdb has no tree delete), if it belongs to `uuid`; another's is left alone."""
        top = self._top(slug)

        def remove(session: Session) -> None:
            if self._holder(session, slug) != uuid:
                return
            dns = [entry.dn for entry in session.search(top, SUBTREE)]
            for dn in sorted(dns, key=depth, reverse=True):
                session.delete(dn)

        self._sessions.run(remove)

    def platforms(self) -> Mapping[str, str]:
        return {slug: uuid for slug, uuid in self._subtrees().items() if not is_stand_in_slug(slug)}

    def stand_ins(self) -> StandIns:
        slugs = {slug: uuid for slug, uuid in self._subtrees().items() if is_stand_in_slug(slug)}
        return StandIns(self._stand_in_uids(), slugs)

    def _subtrees(self) -> dict[str, str]:
        found = self._sessions.run(
            lambda session: session.search(
                self._platforms, ONELEVEL, "(objectClass=organizationalUnit)", ("ou", "description")
            )
        )
        return {entry.text("ou"): entry.text("description") for entry in found}

    def entries(self, slug: str) -> list[str]:
        top = self._top(slug)
        found = self._sessions.run(lambda session: session.search(top, SUBTREE))
        return sorted((entry.dn for entry in found), key=lambda dn: (depth(dn), dn))

    # --- machine accounts ---

    def ensure_machine_account(self, slug: str, account: MachineAccount) -> None:
        """The account binds with the asked password and serves its platform's members; Rejected without a platform.

        The password is set only if it does not open the account already: repeating changes nothing.
        """
        dn, group = self.machine_dn(slug, account.machine), self.group_dn(slug, "members")

        def ensure(session: Session) -> None:
            attributes = {"cn": [account.machine], "seeAlso": [group], **self._policy(session)}
            classes = {"objectClass": ["applicationProcess", "extensibleObject"]}
            try:
                new = session.add(dn, classes | attributes)
            except MissingEntryError:
                raise Rejected(f"the directory has no platform {slug!r}") from None
            if not new:
                session.replace(dn, attributes)
            if new or not self._sessions.opens(dn, account.password):
                session.set_password(dn, account.password)

        self._sessions.run(ensure)

    def remove_machine_account(self, slug: str, machine: str) -> None:
        dn = self.machine_dn(slug, machine)
        self._sessions.run(lambda session: session.delete(dn))

    # --- members ---

    def ensure_member(self, slug: str, uid: str, *, owner: bool = False) -> None:
        """A member, and an owner if asked; an owner is never made less by this."""
        groups = [self.group_dn(slug, group) for group in (("members", "owners") if owner else ("members",))]

        def ensure(session: Session) -> None:
            dn = self._person_dn(session, uid)
            try:
                for group in groups:
                    session.add_value(group, "member", dn)
            except MissingEntryError:
                raise Rejected(f"the directory has no platform {slug!r}") from None

        self._sessions.run(ensure)

    def remove_member(self, slug: str, uid: str) -> None:
        """Neither owner nor member any more, also for a uid that the directory has forgotten."""
        groups = [self.group_dn(slug, group) for group in ("owners", "members")]

        def remove(session: Session) -> None:
            for group in groups:
                for dn in _members(session, group):
                    if uid_of(dn).casefold() == uid.casefold():
                        session.remove_value(group, "member", dn)

        self._sessions.run(remove)

    def remove_owner(self, slug: str, uid: str) -> None:
        owners = self.group_dn(slug, "owners")

        def remove(session: Session) -> None:
            for dn in _members(session, owners):
                if uid_of(dn).casefold() == uid.casefold():
                    session.remove_value(owners, "member", dn)

        self._sessions.run(remove)

    def members(self, slug: str) -> Mapping[str, bool]:
        owners, everybody = self.group_dn(slug, "owners"), self.group_dn(slug, "members")

        def read(session: Session) -> dict[str, bool]:
            own = {uid_of(dn) for dn in _members(session, owners)}
            uids = map(uid_of, _members(session, everybody))
            return {uid: uid in own for uid in uids if uid and not is_stand_in(uid)}

        return self._sessions.run(read)

    def administrators(self) -> frozenset[str]:
        return self._people_in(f"cn=admins,ou=groups,{self._base}")

    def project_owners(self, project: str) -> frozenset[str]:
        return self._people_in(f"cn={dns_label(project, 'project')},ou=projects,{self._base}")

    def _people_in(self, group: str) -> frozenset[str]:
        return self._sessions.run(
            lambda session: frozenset(
                uid for dn in _members(session, group) if (uid := uid_of(dn)) and not self.is_guest(dn)
            )
        )

    # --- names ---

    def machine_dn(self, slug: str, machine: str) -> str:
        return f"cn={dns_label(machine, 'machine')},ou=services,{self._top(slug)}"

    def group_dn(self, slug: str, group: str) -> str:
        if group not in ("members", "owners"):
            raise ValueError(f"a platform has no group {group!r}")
        return f"cn={group},{self._top(slug)}"

    def _top(self, slug: str) -> str:
        return f"ou={dns_label(slug, 'slug')},{self._platforms}"

    # --- inside ---

    def _tells_groups(self, session: Session) -> bool | None:
        """Whether an administrator's entry names the group of administrators; None when there is none to look at."""
        group = f"cn=admins,ou=groups,{self._base}"
        for dn in _members(session, group):
            if uid_of(dn):
                found = session.search(dn, BASE, attributes=("memberOf",))
                return bool(found and found[0].texts("memberOf"))
        return None

    def _policy(self, session: Session) -> dict[str, list[str]]:
        """The machines' password policy where the site has one: without lockout, or machines could shut out each other."""
        dn = f"cn=machines,ou=policies,{self._base}"
        return {"pwdPolicySubentry": [dn]} if session.search(dn, BASE) else {}

    def _holder(self, session: Session, slug: str) -> str | None:
        """The uuid that holds a slug, None if there is no such subtree."""
        found = session.search(self._top(slug), BASE, attributes=("description",))
        return found[0].text("description") if found else None


def _tells_policies(session: Session) -> bool:
    """Whether the server knows the control of password policies."""
    root = session.search("", BASE, attributes=("supportedControl",))
    return bool(root and _PPOLICY_CONTROL in root[0].texts("supportedControl"))


def _members(session: Session, group: str) -> list[str]:
    found = session.search(group, BASE, attributes=("member",))
    return found[0].texts("member") if found else []
