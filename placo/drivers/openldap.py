"""The directory through OpenLDAP: the only module that imports python-ldap.

The tree is in docs/architecture.md. Three decisions make each operation repeatable from any half state:

* A subtree belongs to the platform whose uuid is the `description` of ``ou=<slug>``; that entry is made first and removed
  last.
* Groups always hold the placeholder ``cn=nobody,ou=system`` (groupOfNames needs a member), so the last person can leave
  without a special case or a race; it is never reported as a member.
* Machine passwords are set by the Password Modify operation (RFC 3062), which hashes on the server whatever its
  policy for cleartext; the account is made without a password first, so that none is ever stored in clear.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import ldap
import ldap.asyncsearch
import ldap.dn
import ldap.filter

from placo.drivers.checks import dns_label, platform_uuid
from placo.drivers.people import best_first, searchable
from placo.drivers.ports import DriverError, MachineAccount, Person, Rejected, Unavailable

_SCANNED = 200  # how many people a search looks at before it sorts them
_PERSON = ["uid", "cn", "mail"]
_DOWN = (ldap.SERVER_DOWN, ldap.TIMEOUT, ldap.CONNECT_ERROR, ldap.UNAVAILABLE, ldap.BUSY)
_REFUSED = (
    ldap.CONSTRAINT_VIOLATION,
    ldap.INVALID_DN_SYNTAX,
    ldap.INVALID_SYNTAX,
    ldap.NAMING_VIOLATION,
    ldap.OBJECT_CLASS_VIOLATION,
    ldap.UNDEFINED_TYPE,
)

Answer = TypeVar("Answer")
Entry = tuple[str, dict[str, list[bytes]]]


def connection_options(ca_file: Path, timeout_s: float) -> dict[int, Any]:
    """Options of every connection to the directory, in the order to set them (AUTH_LDAP_CONNECTION_OPTIONS takes them)."""
    return {
        ldap.OPT_PROTOCOL_VERSION: ldap.VERSION3,
        ldap.OPT_REFERRALS: 0,
        ldap.OPT_NETWORK_TIMEOUT: timeout_s,
        ldap.OPT_TIMEOUT: timeout_s,
        ldap.OPT_X_TLS_CACERTFILE: str(ca_file),
        ldap.OPT_X_TLS_REQUIRE_CERT: ldap.OPT_X_TLS_DEMAND,
        ldap.OPT_X_TLS_NEWCTX: 0,
    }


def people_search(base: str) -> tuple[str, int, str]:
    """Base, scope and filter for django-auth-ldap's LDAPSearch of the person who logs in."""
    return f"ou=people,{base}", ldap.SCOPE_ONELEVEL, "(&(objectClass=inetOrgPerson)(uid=%(user)s))"


def is_unavailable(error: BaseException) -> bool:
    """Whether an exception (of python-ldap or of this driver) means that the directory is down."""
    return isinstance(error, (*_DOWN, Unavailable))


def _words(error: ldap.LDAPError) -> str:
    details = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    said = [str(details[key]) for key in ("desc", "info") if details.get(key)]
    return ": ".join(said) or type(error).__name__


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _DOWN as error:
        raise Unavailable(f"the directory does not answer ({_words(error)})") from error
    except _REFUSED as error:
        raise Rejected(f"the directory refuses: {_words(error)}") from error
    except ldap.INVALID_CREDENTIALS as error:
        raise DriverError(
            "the directory does not accept the portal's own account; check [directory] in placo.toml"
        ) from error
    except ldap.LDAPError as error:
        raise DriverError(f"the directory answers: {_words(error)}") from error


def _text(attributes: Mapping[str, list[bytes]], name: str) -> str:
    values = attributes.get(name) or [b""]
    return values[0].decode("utf-8", "replace")


def _uid_of(dn: str) -> str:
    """The uid in a person's DN, "" for another kind of entry."""
    attribute, value, _flags = ldap.dn.str2dn(dn)[0][0]
    return str(value) if attribute.lower() == "uid" else ""


def _depth(dn: str) -> int:
    return len(ldap.dn.str2dn(dn))


def _sendable(text: str) -> bool:
    """False for what cannot be a value of the directory at all: nothing, or half a character."""
    try:
        return bool(text.strip()) and bool(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False


class OpenLdapDirectory:
    """`ports.Directory` on slapd 2.5; safe from several threads (each has its own connection, made when needed).

    `uri` is ldapi:// (local), ldaps:// or ldap:// (then StartTLS is demanded); `timeout_s` bounds connecting and each
    operation. A connection that died since its last use is renewed once, silently.
    """

    def __init__(
        self, uri: str, base: str, bind_dn: str, password: str, ca_file: Path, *, timeout_s: float = 5.0
    ) -> None:
        self._uri = uri
        self._base = base
        self._bind_dn = bind_dn
        self._password = password
        self._options = connection_options(ca_file, timeout_s)
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._people = f"ou=people,{base}"
        self._platforms = f"ou=platforms,{base}"
        self._nobody = f"cn=nobody,ou=system,{base}"

    def __repr__(self) -> str:
        return f"OpenLdapDirectory({self._uri!r}, {self._base!r})"

    # --- people ---

    def person(self, uid: str) -> Person | None:
        found = self._call(lambda connection: self._find(connection, uid))
        return found[1] if found else None

    def search_people(self, text: str, limit: int = 10) -> list[Person]:
        wanted = searchable(text)
        if not wanted:
            return []
        escaped = ldap.filter.escape_filter_chars(wanted)
        pattern = f"(&(objectClass=inetOrgPerson)(|(uid=*{escaped}*)(cn=*{escaped}*)(mail=*{escaped}*)))"

        def search(connection: Any) -> list[Person]:
            request = ldap.asyncsearch.List(connection)
            request.startSearch(
                self._people, ldap.SCOPE_ONELEVEL, pattern, attrList=_PERSON, sizelimit=_SCANNED
            )
            # More people may match than anybody would read: what came until then is in the list.
            with suppress(ldap.SIZELIMIT_EXCEEDED):
                request.processResults(timeout=self._timeout_s)
            return [_person(entry) for _kind, entry in request.allResults if entry[0]]

        return best_first(self._call(search), wanted)[:limit]

    # --- platforms ---

    def ensure_platform(self, slug: str, uuid: str, owners: Iterable[str]) -> None:
        top, uids = self._top(slug), sorted(set(owners))
        platform_uuid(uuid)

        def ensure(connection: Any) -> None:
            owner_dns = [self._person_dn(connection, uid) for uid in uids]
            _add(connection, top, objectClass=["organizationalUnit"], ou=[slug], description=[uuid])
            holder = self._holder(connection, slug)
            if holder != uuid:
                raise Rejected(
                    f"the directory already has a platform {slug!r} of another making ({holder or 'unmarked'})"
                )
            for group in ("owners", "members"):
                dn = self.group_dn(slug, group)
                _add(
                    connection,
                    dn,
                    objectClass=["groupOfNames"],
                    cn=[group],
                    member=[self._nobody, *owner_dns],
                )
                for owner_dn in owner_dns:
                    _add_value(connection, dn, owner_dn)
            _add(connection, f"ou=services,{top}", objectClass=["organizationalUnit"], ou=["services"])

        self._call(ensure)

    def remove_platform(self, slug: str, uuid: str) -> None:
        """The whole subtree, children first (mdb has no tree delete), if it belongs to `uuid`; another's is left alone."""
        top = self._top(slug)

        def remove(connection: Any) -> None:
            if self._holder(connection, slug) != uuid:
                return
            dns = [dn for dn, _ in _search(connection, top, ldap.SCOPE_SUBTREE, attributes=["1.1"])]
            for dn in sorted(dns, key=_depth, reverse=True):
                _delete(connection, dn)

        self._call(remove)

    def platforms(self) -> Mapping[str, str]:
        def read(connection: Any) -> dict[str, str]:
            found = _search(
                connection,
                self._platforms,
                ldap.SCOPE_ONELEVEL,
                "(objectClass=organizationalUnit)",
                ["ou", "description"],
            )
            return {_text(entry, "ou"): _text(entry, "description") for _dn, entry in found}

        return self._call(read)

    def entries(self, slug: str) -> list[str]:
        top = self._top(slug)
        found = self._call(
            lambda connection: _search(connection, top, ldap.SCOPE_SUBTREE, attributes=["1.1"])
        )
        return sorted((dn for dn, _ in found), key=lambda dn: (_depth(dn), dn))

    # --- machine accounts ---

    def ensure_machine_account(self, slug: str, account: MachineAccount) -> None:
        """The account binds with the asked password and serves its platform's members; Rejected without a platform.

        The password is set only if it does not open the account already: repeating changes nothing.
        """
        dn, group = self.machine_dn(slug, account.machine), self.group_dn(slug, "members")

        def ensure(connection: Any) -> None:
            attributes = {"cn": [account.machine], "seeAlso": [group], **self._policy(connection)}
            try:
                new = _add(
                    connection, dn, objectClass=["applicationProcess", "extensibleObject"], **attributes
                )
            except ldap.NO_SUCH_OBJECT:
                raise Rejected(f"the directory has no platform {slug!r}") from None
            if not new:
                wanted = {name: [value.encode() for value in values] for name, values in attributes.items()}
                connection.modify_s(dn, [(ldap.MOD_REPLACE, name, values) for name, values in wanted.items()])
            if new or not self._opens(dn, account.password):
                connection.passwd_s(dn, None, account.password)

        self._call(ensure)

    def remove_machine_account(self, slug: str, machine: str) -> None:
        dn = self.machine_dn(slug, machine)
        self._call(lambda connection: _delete(connection, dn))

    # --- members ---

    def ensure_member(self, slug: str, uid: str, *, owner: bool = False) -> None:
        """A member, and an owner if asked; an owner is never made less by this."""
        groups = [self.group_dn(slug, group) for group in (("members", "owners") if owner else ("members",))]

        def ensure(connection: Any) -> None:
            dn = self._person_dn(connection, uid)
            for group in groups:
                try:
                    _add_value(connection, group, dn)
                except ldap.NO_SUCH_OBJECT:
                    raise Rejected(f"the directory has no platform {slug!r}") from None

        self._call(ensure)

    def remove_member(self, slug: str, uid: str) -> None:
        """Neither owner nor member any more, also for a uid that the directory has forgotten."""
        groups = [self.group_dn(slug, group) for group in ("owners", "members")]

        def remove(connection: Any) -> None:
            for group in groups:
                for dn in _group(connection, group):
                    if _uid_of(dn).casefold() == uid.casefold():
                        _remove_value(connection, group, dn)

        self._call(remove)

    def members(self, slug: str) -> Mapping[str, bool]:
        owners, everybody = self.group_dn(slug, "owners"), self.group_dn(slug, "members")

        def read(connection: Any) -> dict[str, bool]:
            own = {_uid_of(dn) for dn in _group(connection, owners)}
            return {uid: uid in own for uid in map(_uid_of, _group(connection, everybody)) if uid}

        return self._call(read)

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

    def _call(self, operation: Callable[[Any], Answer]) -> Answer:
        """Run an idempotent operation on this thread's connection, again on a new one if the old had died."""
        with _translated():
            connection, self._local.connection = getattr(self._local, "connection", None), None
            if connection is not None:
                # It may have died since its last use: a new one tells whether the directory is really down.
                with suppress(ldap.SERVER_DOWN):
                    return self._kept(connection, operation)
            return self._kept(self._connected(self._bind_dn, self._password), operation)

    def _kept(self, connection: Any, operation: Callable[[Any], Answer]) -> Answer:
        """Run the operation and keep the connection for the next one, unless it failed as a connection."""
        try:
            answer = operation(connection)
        except _DOWN:
            raise
        except (ldap.LDAPError, DriverError):
            self._local.connection = connection
            raise
        self._local.connection = connection
        return answer

    def _connected(self, dn: str, password: str) -> Any:
        connection = ldap.initialize(self._uri)
        for option, value in self._options.items():
            connection.set_option(option, value)
        connection.timeout = self._timeout_s
        if urlsplit(self._uri).scheme == "ldap":
            connection.start_tls_s()
        connection.simple_bind_s(dn, password)
        return connection

    def _policy(self, connection: Any) -> dict[str, list[str]]:
        """The machines' password policy where the site has one: without lockout, or machines could shut out each other."""
        dn = f"cn=machines,ou=policies,{self._base}"
        found = _search(connection, dn, ldap.SCOPE_BASE, attributes=["1.1"])
        return {"pwdPolicySubentry": [dn]} if found else {}

    def _opens(self, dn: str, password: str) -> bool:
        try:
            self._connected(dn, password).unbind_s()
        except (ldap.INVALID_CREDENTIALS, ldap.INAPPROPRIATE_AUTH):
            return False
        return True

    def _find(self, connection: Any, uid: str) -> tuple[str, Person] | None:
        """DN and person; LDAP would ignore case, spacing and forms of letters: only another case is accepted here."""
        if not _sendable(uid):
            return None
        pattern = ldap.filter.filter_format("(&(objectClass=inetOrgPerson)(uid=%s))", [uid])
        for entry in _search(connection, self._people, ldap.SCOPE_ONELEVEL, pattern, _PERSON):
            if _uid_of(entry[0]).casefold() == uid.casefold():
                return entry[0], _person(entry)
        return None

    def _person_dn(self, connection: Any, uid: str) -> str:
        found = self._find(connection, uid)
        if found is None:
            raise Rejected(f"the directory has nobody with the uid {uid!r}")
        return found[0]

    def _holder(self, connection: Any, slug: str) -> str | None:
        """The uuid that holds a slug, None if there is no such subtree."""
        found = _search(connection, self._top(slug), ldap.SCOPE_BASE, attributes=["description"])
        return _text(found[0][1], "description") if found else None


def _person(entry: Entry) -> Person:
    dn, attributes = entry
    return Person(uid=_uid_of(dn), name=_text(attributes, "cn"), mail=_text(attributes, "mail"))


def _search(
    connection: Any,
    base: str,
    scope: int,
    pattern: str = "(objectClass=*)",
    attributes: list[str] | None = None,
) -> list[Entry]:
    """Entries found, none if the base is not there; continuation references are not entries."""
    try:
        return [entry for entry in connection.search_ext_s(base, scope, pattern, attributes) if entry[0]]
    except ldap.NO_SUCH_OBJECT:
        return []


def _group(connection: Any, dn: str) -> list[str]:
    found = _search(connection, dn, ldap.SCOPE_BASE, attributes=["member"])
    return [value.decode() for value in found[0][1].get("member", [])] if found else []


def _add(connection: Any, dn: str, **attributes: list[str]) -> bool:
    """False if the entry was there already (and is left as it is)."""
    try:
        connection.add_s(
            dn, [(name, [value.encode() for value in values]) for name, values in attributes.items()]
        )
    except ldap.ALREADY_EXISTS:
        return False
    return True


def _delete(connection: Any, dn: str) -> None:
    try:
        connection.delete_s(dn)
    except ldap.NO_SUCH_OBJECT:
        return


def _add_value(connection: Any, group: str, dn: str) -> None:
    try:
        connection.modify_s(group, [(ldap.MOD_ADD, "member", [dn.encode()])])
    except ldap.TYPE_OR_VALUE_EXISTS:
        return


def _remove_value(connection: Any, group: str, dn: str) -> None:
    try:
        connection.modify_s(group, [(ldap.MOD_DELETE, "member", [dn.encode()])])
    except (ldap.NO_SUCH_ATTRIBUTE, ldap.NO_SUCH_OBJECT):
        return
