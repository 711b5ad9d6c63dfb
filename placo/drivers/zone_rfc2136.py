"""A zone of the DNS, changed by dynamic updates (RFC 2136) and read by transfers (RFC 5936), both signed (TSIG, RFC 8945).

Each name of a platform has a mark beside it, `_placo.<name> TXT "<slug>" "<uuid>"`: so the zone itself says whose a name is, and
names that somebody else put there are seen and never touched. An update is one message that the server takes as a whole or not at all,
on the condition that the marks are still as they were read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataset
import dns.tsig
import dns.tsigkeyring
import dns.update
import dns.xfr
import dns.zone
from dns.rdataclass import IN
from dns.rdatatype import ANY, TXT
from dns.rdatatype import from_text as type_of
from dns.rdatatype import to_text as type_name

from placo.domain.names import TYPES, Record, owner_of
from placo.drivers.checks import dns_label, platform_uuid, zone_records
from placo.drivers.ports import DriverError, PlatformNames, Rejected, Unavailable

MARK = "_placo"
ATTEMPTS = 4
"""So often an update is tried when others change the same names at the same time."""
_TIMEOUT_S = 5.0
_CHANGED_MEANWHILE = {
    dns.rcode.NXDOMAIN,
    dns.rcode.NXRRSET,
    dns.rcode.YXDOMAIN,
    dns.rcode.YXRRSET,
}

_Rrsets = dict[tuple[str, str], frozenset[str]]
"""(name, type) -> values, of a whole zone."""


class Rfc2136Zone:
    """`ports.Zone`; safe from several threads and processes. `key_file` holds the key in base64, `ttl_s` is that of all records."""

    def __init__(
        self, zone: str, *, server: str, port: int, key_name: str, key_file: Path, ttl_s: int
    ) -> None:
        self._origin = dns.name.from_text(zone)
        self._zone = zone
        self._where = (server, port)
        self._key_name = key_name
        self._key_file = key_file
        self._ttl_s = ttl_s

    def complaint(self) -> str:
        try:
            self._read()
        except DriverError as error:
            return str(error)
        return ""

    def names(self) -> Mapping[str, PlatformNames]:
        rrsets = self._read()
        found: dict[str, PlatformNames] = {}
        by_owner: dict[str, _Rrsets] = {}
        for (at, kind), values in rrsets.items():
            by_owner.setdefault(owner_of(at), {})[at, kind] = values
        for name, (slug, uuid) in _marks(rrsets).items():
            before = found.get(slug)
            if before is not None and before.uuid != uuid:
                continue  # somebody wrote a mark: the first one's platform is compared, its other names are missing
            records = _records(by_owner.get(name, {}), name) | (before.records if before else frozenset())
            found[slug] = PlatformNames(uuid, records)
        return found

    def ensure_names(self, slug: str, uuid: str, records: Iterable[Record]) -> None:
        platform_uuid(uuid)
        wanted = zone_records(slug, records, self._zone)
        owners = {owner_of(record.name) for record in wanted}
        for _attempt in range(ATTEMPTS):
            rrsets = self._read()
            marks = _marks(rrsets)
            own = {name for name, mark in marks.items() if mark == (slug, uuid)}
            self._check_free(owners - own, slug, uuid, rrsets, marks)
            update = self._update()
            for name in sorted(own - owners):
                self._drop(update, name, (slug, uuid), rrsets, marks)
            for name in sorted(owners):
                self._put(update, name, (slug, uuid), wanted, rrsets, new=name not in own)
            if not update.update or self._sent(update):
                return
        raise DriverError(f"others changed the names of {slug} again and again; {self}")

    def remove_names(self, slug: str, uuid: str) -> None:
        dns_label(slug, "slug")
        for _attempt in range(ATTEMPTS):
            rrsets = self._read()
            marks = _marks(rrsets)
            update = self._update()
            for name in sorted(name for name, mark in marks.items() if mark == (slug, uuid)):
                self._drop(update, name, (slug, uuid), rrsets, marks)
            if not update.update or self._sent(update):
                return
        raise DriverError(f"others changed the names of {slug} again and again; {self}")

    def __str__(self) -> str:
        server, port = self._where
        return f"the zone {self._zone} at {server} port {port}"

    # --- one update ---

    def _check_free(
        self,
        names: set[str],
        slug: str,
        uuid: str,
        rrsets: _Rrsets,
        marks: Mapping[str, tuple[str, str]],
    ) -> None:
        """Rejected for a slug or a name that is another's."""
        for name, (other, other_uuid) in marks.items():
            if other == slug and other_uuid != uuid and names:
                raise Rejected(f"the zone already knows {slug!r} as another platform ({other_uuid})")
            if name in names:
                raise Rejected(f"{name} is a name of the platform {other} already")
        used = {owner_of(name) for name, _type in rrsets}
        for name in sorted(names & used):
            raise Rejected(f"{name} is in the zone already, and not by PLACO: remove it there first")

    def _put(
        self,
        update: dns.update.UpdateMessage,
        name: str,
        mark: tuple[str, str],
        wanted: frozenset[Record],
        rrsets: _Rrsets,
        *,
        new: bool,
    ) -> None:
        """One name as it is wanted, where it is not so yet."""
        before = _grouped(_records(rrsets, name))
        after = _grouped(record for record in wanted if owner_of(record.name) == name)
        if before == after and not new:
            return
        marked = _absolute(f"{MARK}.{name}")
        if new:
            update.absent(_absolute(name))
            update.absent(marked)
            update.add(marked, self._ttl_s, "TXT", _mark(mark))
        else:
            update.present(marked, "TXT", _mark(mark))
        for at, kind in sorted(before.keys() - after.keys()):
            update.delete(_absolute(at), kind)
        for (at, kind), values in sorted(after.items()):
            if before.get((at, kind)) != values:
                update.replace(_absolute(at), self._rdataset(kind, values))

    def _drop(
        self,
        update: dns.update.UpdateMessage,
        name: str,
        mark: tuple[str, str],
        rrsets: _Rrsets,
        marks: Mapping[str, tuple[str, str]],
    ) -> None:
        """A name with all that is below of it, also what others added there; names that have a mark of their own stay."""
        update.present(_absolute(f"{MARK}.{name}"), "TXT", _mark(mark))
        for node in sorted({at for at, _type in rrsets}):
            if node == name or (node.endswith(f".{name}") and _nearest(node, marks) == name):
                update.delete(_absolute(node), ANY)

    def _rdataset(self, kind: str, values: Iterable[str]) -> dns.rdataset.Rdataset:
        return dns.rdataset.from_text_list(IN, type_of(kind), self._ttl_s, sorted(values))

    # --- the server ---

    def _key(self) -> dict[dns.name.Name, dns.tsig.Key]:
        try:
            secret = self._key_file.read_text(encoding="ascii").strip()
            name = dns.name.from_text(self._key_name)
            return {name: dns.tsig.Key(name, secret, dns.tsig.HMAC_SHA256)}
        except (OSError, ValueError, dns.exception.DNSException) as error:
            raise DriverError(f"the key of the zone cannot be read: {error}") from error

    def _update(self) -> dns.update.UpdateMessage:
        return dns.update.UpdateMessage(self._origin, keyring=self._key())

    def _sent(self, update: dns.update.UpdateMessage) -> bool:
        """Whether it was taken; False when the names are not as they were read."""
        server, port = self._where
        with self._troubles():
            answer = dns.query.tcp(update, server, port=port, timeout=_TIMEOUT_S)
        if answer.rcode() in _CHANGED_MEANWHILE:
            return False
        if answer.rcode() != dns.rcode.NOERROR:
            raise DriverError(f"{self} did not take an update: {dns.rcode.to_text(answer.rcode())}")
        return True

    def _read(self) -> _Rrsets:
        """The whole zone."""
        server, port = self._where
        zone = dns.zone.Zone(self._origin, relativize=False)
        with self._troubles():
            query, _serial = dns.xfr.make_query(zone, serial=None, keyring=self._key())
            dns.query.inbound_xfr(server, zone, query, port=port, timeout=_TIMEOUT_S, lifetime=4 * _TIMEOUT_S)
        found: dict[tuple[str, str], set[str]] = {}
        for name, rdataset in zone.iterate_rdatasets():
            at = name.to_text(omit_final_dot=True).lower()
            found.setdefault((at, type_name(rdataset.rdtype)), set()).update(r.to_text() for r in rdataset)
        return {key: frozenset(values) for key, values in found.items()}

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        try:
            yield
        except dns.xfr.TransferError as error:
            raise DriverError(f"{self} may not be read with this key: {error}") from error
        except (dns.exception.Timeout, EOFError, OSError) as error:
            raise Unavailable(f"{self} does not answer: {error}") from error
        except dns.exception.DNSException as error:
            raise DriverError(f"{self} answers what cannot be used: {error}") from error


def _absolute(name: str) -> dns.name.Name:
    return dns.name.from_text(name)


def _mark(mark: tuple[str, str]) -> str:
    return f'"{mark[0]}" "{mark[1]}"'


def _marks(rrsets: _Rrsets) -> dict[str, tuple[str, str]]:
    """name -> (slug, UUID) of all names that have a mark, in the order of names."""
    found = {}
    for (at, kind), values in sorted(rrsets.items()):
        if kind == type_name(TXT) and at.startswith(f"{MARK}.") and len(values) == 1:
            slug, _, uuid = next(iter(values)).replace('"', "").partition(" ")
            found[at.removeprefix(f"{MARK}.")] = (slug, uuid)
    return found


def _nearest(node: str, marks: Mapping[str, tuple[str, str]]) -> str:
    """The longest name with a mark that a node is, or is below of; "" for none."""
    while node and node not in marks:
        node = node.partition(".")[2]
    return node


def _records(rrsets: _Rrsets, name: str) -> frozenset[Record]:
    """What is written of a platform's name, as far as it is of the portal's kind."""
    return frozenset(
        Record(at, kind, value)
        for (at, kind), values in rrsets.items()
        if kind in TYPES and owner_of(at) == name
        for value in values
    )


def _grouped(records: Iterable[Record]) -> dict[tuple[str, str], frozenset[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for record in records:
        found.setdefault((record.name, record.type), set()).add(record.value)
    return {key: frozenset(values) for key, values in found.items()}
