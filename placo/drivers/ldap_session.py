"""LDAP itself: the only module that imports python-ldap.

Connections (one a thread, renewed when they have died), the few operations that the directory driver is made of, and the
translation of LDAP's errors into those of `ports`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import ldap
import ldap.asyncsearch
import ldap.dn
import ldap.filter

from placo.drivers.ports import DriverError, PasswordRefused, Rejected, Unavailable

Answer = TypeVar("Answer")

BASE, ONELEVEL, SUBTREE = ldap.SCOPE_BASE, ldap.SCOPE_ONELEVEL, ldap.SCOPE_SUBTREE
escape_filter = ldap.filter.escape_filter_chars
escape_dn = ldap.dn.escape_dn_chars
format_filter = ldap.filter.filter_format

_DOWN = (ldap.SERVER_DOWN, ldap.TIMEOUT, ldap.CONNECT_ERROR, ldap.UNAVAILABLE, ldap.BUSY)
_REFUSED = (
    ldap.CONSTRAINT_VIOLATION,
    ldap.INVALID_DN_SYNTAX,
    ldap.INVALID_SYNTAX,
    ldap.NAMING_VIOLATION,
    ldap.OBJECT_CLASS_VIOLATION,
    ldap.UNDEFINED_TYPE,
)


class MissingEntryError(DriverError):
    """The entry, or the one above it, is not there."""


def connection_options(ca_file: Path, timeout_s: float) -> dict[int, Any]:
    """Options of every connection, in the order to set them (AUTH_LDAP_CONNECTION_OPTIONS takes them)."""
    return {
        ldap.OPT_PROTOCOL_VERSION: ldap.VERSION3,
        ldap.OPT_REFERRALS: 0,
        ldap.OPT_NETWORK_TIMEOUT: timeout_s,
        ldap.OPT_TIMEOUT: timeout_s,
        ldap.OPT_X_TLS_CACERTFILE: str(ca_file),
        ldap.OPT_X_TLS_REQUIRE_CERT: ldap.OPT_X_TLS_DEMAND,
        ldap.OPT_X_TLS_NEWCTX: 0,
    }


def is_unavailable(error: BaseException) -> bool:
    """Whether an exception (of python-ldap or of the driver) means that the directory is down."""
    return isinstance(error, (*_DOWN, Unavailable))


def rdn_value(dn: str, attribute: str) -> str:
    """The value of a DN's first part if that is of `attribute`, else ""."""
    name, value, _flags = ldap.dn.str2dn(dn)[0][0]
    return str(value) if name.lower() == attribute else ""


def is_below(dn: str, base: str) -> bool:
    """Whether an entry is somewhere below another one."""
    parts, above = _parts(dn), _parts(base)
    return len(parts) > len(above) and parts[-len(above) :] == above


def _parts(dn: str) -> list[list[tuple[str, str]]]:
    return [[(name.lower(), value.casefold()) for name, value, _flags in rdn] for rdn in ldap.dn.str2dn(dn)]


def depth(dn: str) -> int:
    """How many parts a DN has."""
    return len(ldap.dn.str2dn(dn))


@dataclass(frozen=True)
class Entry:
    """One entry found: its DN and the values asked for."""

    dn: str
    attributes: Mapping[str, list[bytes]]

    def texts(self, name: str) -> list[str]:
        """All values of an attribute."""
        return [value.decode("utf-8", "replace") for value in self.attributes.get(name, [])]

    def text(self, name: str) -> str:
        """The first value of an attribute, "" without one."""
        return next(iter(self.texts(name)), "")


class Session:
    """One bound connection. Every change says by its result, not by an error, that there was nothing to do."""

    def __init__(self, connection: Any, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s

    def search(
        self, base: str, scope: int, pattern: str = "(objectClass=*)", attributes: Sequence[str] = ("1.1",)
    ) -> list[Entry]:
        """Entries found (by default their DNs only), none if the base is not there."""
        try:
            found = self._connection.search_ext_s(base, scope, pattern, list(attributes))
        except ldap.NO_SUCH_OBJECT:
            return []
        return [
            Entry(dn, values) for dn, values in found if dn or not base
        ]  # else one without DN is a referral

    def overlays(self) -> set[str]:
        """Names of the overlays in cn=config; none when this account may not read it."""
        try:
            found = self.search("cn=config", SUBTREE, "(objectClass=olcOverlayConfig)", ("olcOverlay",))
        except ldap.INSUFFICIENT_ACCESS:
            return set()
        return {entry.text("olcOverlay").rpartition("}")[2] for entry in found}

    def search_some(
        self, base: str, scope: int, pattern: str, attributes: Sequence[str], most: int
    ) -> list[Entry]:
        """At most `most` entries; that there are more is no error."""
        request = ldap.asyncsearch.List(self._connection)
        request.startSearch(base, scope, pattern, attrList=list(attributes), sizelimit=most)
        with suppress(ldap.SIZELIMIT_EXCEEDED):
            request.processResults(timeout=self._timeout_s)
        return [Entry(dn, values) for _kind, (dn, values, *_) in request.allResults if dn]

    def add(self, dn: str, attributes: Mapping[str, Sequence[str]]) -> bool:
        """False if the entry is there already (it is left as it is); MissingEntryError if the one above it is not."""
        try:
            self._connection.add_s(dn, [(name, _encoded(values)) for name, values in attributes.items()])
        except ldap.ALREADY_EXISTS:
            return False
        except ldap.NO_SUCH_OBJECT:
            raise MissingEntryError(f"the directory has nothing to put {dn} into") from None
        return True

    def replace(self, dn: str, attributes: Mapping[str, Sequence[str]]) -> None:
        """These attributes get exactly these values."""
        changes = [(ldap.MOD_REPLACE, name, _encoded(values)) for name, values in attributes.items()]
        self._connection.modify_s(dn, changes)

    def delete(self, dn: str) -> None:
        """Gone, or gone already; children are in the way."""
        with suppress(ldap.NO_SUCH_OBJECT):
            self._connection.delete_s(dn)

    def add_value(self, dn: str, attribute: str, value: str) -> None:
        """An attribute has this value among its own; MissingEntryError if there is no such entry."""
        try:
            self._connection.modify_s(dn, [(ldap.MOD_ADD, attribute, _encoded([value]))])
        except ldap.TYPE_OR_VALUE_EXISTS:
            return
        except ldap.NO_SUCH_OBJECT:
            raise MissingEntryError(f"the directory has no {dn}") from None

    def remove_value(self, dn: str, attribute: str, value: str) -> None:
        """An attribute has no longer this value."""
        with suppress(ldap.NO_SUCH_ATTRIBUTE, ldap.NO_SUCH_OBJECT):
            self._connection.modify_s(dn, [(ldap.MOD_DELETE, attribute, _encoded([value]))])

    def set_password(self, dn: str, password: str) -> None:
        """By Password Modify (RFC 3062): the server hashes, and its policy may refuse."""
        try:
            self._connection.passwd_s(dn, None, password)
        except ldap.CONSTRAINT_VIOLATION as error:
            raise PasswordRefused(f"the directory refuses the password: {_words(error)}") from error


class Sessions:
    """Sessions of one account, one a thread, opened when needed and renewed once when they turn out to be dead."""

    def __init__(self, uri: str, bind_dn: str, password: str, ca_file: Path, *, timeout_s: float) -> None:
        self.uri = uri
        self._bind_dn = bind_dn
        self._password = password
        self._options = connection_options(ca_file, timeout_s)
        self._timeout_s = timeout_s
        self._local = threading.local()

    def run(self, operation: Callable[[Session], Answer]) -> Answer:
        """Run an idempotent operation on this thread's session, again on a new one if the old had died.

        LDAP's errors come out as Unavailable, Rejected or DriverError.
        """
        with _translated():
            session, self._local.session = getattr(self._local, "session", None), None
            if session is not None:
                # It may have died since its last use: a new one tells whether the directory is really down.
                with suppress(ldap.SERVER_DOWN):
                    return self._kept(session, operation)
            connection = self._bound(self._bind_dn, self._password)
            return self._kept(Session(connection, self._timeout_s), operation)

    def opens(self, dn: str, password: str) -> bool:
        """Whether an account can bind with this password."""
        try:
            self._bound(dn, password).unbind_s()
        except (ldap.INVALID_CREDENTIALS, ldap.INAPPROPRIATE_AUTH):
            return False
        return True

    def change_password(self, dn: str, old: str, new: str) -> bool:
        """As the account itself does it: False when it cannot bind with `old`. PasswordRefused by the policy."""
        with _translated():
            try:
                connection = self._bound(dn, old)
            except (ldap.INVALID_CREDENTIALS, ldap.INAPPROPRIATE_AUTH):
                return False
            try:
                connection.passwd_s(dn, old, new)
            except ldap.CONSTRAINT_VIOLATION as error:
                raise PasswordRefused(f"the directory refuses the password: {_words(error)}") from error
            finally:
                connection.unbind_s()
            return True

    def _kept(self, session: Session, operation: Callable[[Session], Answer]) -> Answer:
        """Run the operation and keep the session for the next one, unless it failed as a connection."""
        try:
            answer = operation(session)
        except _DOWN:
            raise
        except (ldap.LDAPError, DriverError):
            self._local.session = session
            raise
        self._local.session = session
        return answer

    def _bound(self, dn: str, password: str) -> Any:
        connection = ldap.initialize(self.uri)
        for option, value in self._options.items():
            connection.set_option(option, value)
        connection.timeout = self._timeout_s
        if urlsplit(self.uri).scheme == "ldap":
            connection.start_tls_s()
        connection.simple_bind_s(dn, password)
        return connection


def _encoded(values: Sequence[str]) -> list[bytes]:
    return [value.encode() for value in values]


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
        remedy = "check bind_dn and password_file below [directory] in the site's configuration"
        raise DriverError(f"the directory does not accept the portal's own account; {remedy}") from error
    except ldap.LDAPError as error:
        raise DriverError(f"the directory answers: {_words(error)}") from error
