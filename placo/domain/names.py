"""The names of platforms in the DNS: which records a platform has, told from its plan. Pure.

Records are in presentation format (RFC 1035, 5.1): names in values end in a dot, texts are quoted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from placo.domain.plan import Plan
from placo.domain.protocols import SMTP, STREAMS

SERVICES = {
    "imaps": "_imaps._tcp",
    "submissions": "_submissions._tcp",
    "xmpps": "_xmpps-client._tcp",
}
"""By which name programs look for a protocol's server (RFC 6186, RFC 8314 5.1, XEP-0368)."""
POLICY = "_dmarc"
"""What becomes of mail that is not signed (RFC 7489, 6.1)."""
BELOW = (*SERVICES.values(), POLICY)
"""Names below one of a platform's that are the portal's as well."""
TYPES = ("A", "AAAA", "MX", "SRV", "TXT")
"""Types of record that the portal writes; it leaves alone what else somebody adds."""


@dataclass(frozen=True, order=True)
class Record:
    """One record: `name` without its last dot, `type` of `TYPES`, `value` in presentation format."""

    name: str
    type: str
    value: str


def owner_of(name: str) -> str:
    """The platform's name that a record's name is, or is below of."""
    for below in BELOW:
        if name.startswith(f"{below}."):
            return name.removeprefix(f"{below}.")
    return name


def records_of(plan: Plan, *, addresses: Iterable[str], mail_exchanger: str) -> frozenset[Record]:
    """All records of a platform. `addresses` are the edge's public ones; `mail_exchanger` is the mail gateway's public name."""
    found = set[Record]()
    at = list(addresses)
    for endpoint in plan.endpoints:
        host = endpoint.host
        if endpoint.protocol == SMTP:
            found |= {
                Record(host, "MX", f"10 {mail_exchanger}."),
                Record(host, "TXT", '"v=spf1 mx -all"'),
                Record(f"{POLICY}.{host}", "TXT", '"v=DMARC1; p=quarantine"'),
            }
            continue
        found |= {Record(host, "AAAA" if ":" in address else "A", address) for address in at}
        if endpoint.protocol in SERVICES:
            service = SERVICES[endpoint.protocol]
            for domain in _domains(plan, endpoint.service) or [host]:
                value = f"0 1 {STREAMS[endpoint.protocol]} {host}."
                found.add(Record(f"{service}.{domain}", "SRV", value))
    return frozenset(found)


def _domains(plan: Plan, service: str) -> list[str]:
    """What addresses of a service end in: there programs look for its servers."""
    return [e.host for e in plan.endpoints if e.service == service and e.protocol == SMTP]
