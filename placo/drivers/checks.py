"""What every driver refuses before it touches anything: names that could mean something else on the other side."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

from placo.domain.names import TYPES, Record, owner_of
from placo.domain.protocols import HTTPS, SSH, STREAMS
from placo.drivers.ports import EdgeRoute, MailDomain, Rejected

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_VALUE = re.compile(
    r'[a-zA-Z0-9_.:-]+(?: [a-zA-Z0-9_.:-]+)*|"[a-zA-Z0-9 _.:;=~+/-]{1,255}"(?: "[a-zA-Z0-9 _.:;=~+/-]{1,255}")*'
)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def dns_label(value: str, what: str) -> str:
    """`value` if it is one lower-case DNS label (RFC 1123, at most 63 characters), else Rejected naming `what`."""
    if not _LABEL.fullmatch(value):
        raise Rejected(
            f"{what} {value!r} is not a DNS label (a-z, 0-9 and hyphens inside, at most 63 characters)"
        )
    return value


def host_name(value: str, what: str) -> str:
    """`value` if it is a lower-case host name of DNS labels, at most 253 characters, else Rejected."""
    if len(value) > 253 or not all(_LABEL.fullmatch(label) for label in value.split(".")):
        raise Rejected(f"{what} {value!r} is not a host name")
    return value


def platform_uuid(value: str) -> str:
    """`value` if it is a UUID in its usual lower-case form, else Rejected."""
    if not _UUID.fullmatch(value):
        raise Rejected(f"platform uuid {value!r} is not a UUID")
    return value


def _is_address(value: str) -> bool:
    """An IP address without a scope: Python takes anything at all after the % of an IPv6 one."""
    try:
        return "%" not in value and bool(ip_address(value))
    except ValueError:
        return False


def _upstream(target: EdgeRoute | MailDomain) -> None:
    host_name(target.upstream_name, "upstream name")
    if not _is_address(target.address):
        raise Rejected(f"upstream address {target.address!r} is not an IP address")
    if type(target.port) is not int or not 0 < target.port < 65536:
        raise Rejected(f"upstream port {target.port!r} is not a port")


def mail_domains(slug: str, domains: Iterable[MailDomain]) -> tuple[MailDomain, ...]:
    """The mail domains of one platform, each once, with addresses and ports that are possible; else Rejected."""
    dns_label(slug, "slug")
    checked: dict[str, MailDomain] = {}
    for domain in domains:
        host_name(domain.domain, "mail domain")
        _upstream(domain)
        if domain.domain in checked:
            raise Rejected(f"mail domain {domain.domain!r} is there twice")
        checked[domain.domain] = domain
    return tuple(checked.values())


def zone_records(slug: str, records: Iterable[Record], zone: str) -> frozenset[Record]:
    """The records of one platform, of types that the portal writes and at names in the zone, with values of one line; else Rejected."""
    dns_label(slug, "slug")
    checked = frozenset(records)
    for record in checked:
        owner = owner_of(record.name)
        if not host_name(owner, "name").endswith(f".{zone}"):
            raise Rejected(f"{owner!r} is no name of the zone {zone}")
        if record.type not in TYPES:
            raise Rejected(f"{record.type!r} is no type of record that PLACO writes")
        if not _VALUE.fullmatch(record.value):
            raise Rejected(f"{record.value!r} cannot be the value of a record")
    return checked


def edge_routes(slug: str, routes: Iterable[EdgeRoute]) -> tuple[EdgeRoute, ...]:
    """The routes of one site, each host once a protocol and always the same machine, addresses and ports possible; else Rejected.

    Ports of the edge's own are above those of the system (1023).
    """
    dns_label(slug, "slug")
    checked: dict[tuple[str, str], EdgeRoute] = {}
    machines: dict[str, str] = {}
    ports: set[int] = set()
    for route in routes:
        host_name(route.host, "edge host")
        _upstream(route)
        if route.protocol not in (HTTPS, *STREAMS, SSH):
            raise Rejected(f"protocol {route.protocol!r} is none that the edge speaks")
        own = route.edge_port
        if own is not None and (type(own) is not int or not 1024 <= own < 65536 or own in ports):
            raise Rejected(f"port {own!r} of the edge is not one, or taken twice")
        if (own is not None) != (route.protocol == SSH):
            raise Rejected(f"a port of the edge's own is for {SSH}, and {SSH} needs one")
        if own is not None:
            ports.add(own)
        if (route.host, route.protocol) in checked:
            raise Rejected(f"edge host {route.host!r} is routed twice")
        if machines.setdefault(route.host, route.upstream_name) != route.upstream_name:
            raise Rejected(f"edge host {route.host!r} leads to two machines")
        checked[route.host, route.protocol] = route
    return tuple(checked.values())
