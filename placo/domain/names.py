"""The names of platforms in the DNS: which records a platform has, told from its plan. Pure.

Records are in presentation format (RFC 1035, 5.1): names in values end in a dot, texts are quoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from placo.domain.plan import Plan
from placo.domain.protocols import SMTP, STREAMS

SERVICES = {
    "imaps": "_imaps._tcp",
    "submissions": "_submissions._tcp",
    "xmpps": "_xmpps-client._tcp",
    "caldavs": "_caldavs._tcp",
    "carddavs": "_carddavs._tcp",
}
"""By which name programs look for a server (RFC 6186, RFC 8314 5.1, XEP-0368, RFC 6764 3)."""
POLICY = "_dmarc"
"""What becomes of mail that is not signed (RFC 7489, 6.1)."""
SIGNER = "placo._domainkey"
"""Where the key is found that mail is signed with (RFC 6376, 3.6.2.1); `placo` is the selector that machines sign with."""
BELOW = (*SERVICES.values(), POLICY, SIGNER)
"""Names below one of a platform's that are the portal's as well."""
_STRING = 200
"""A text of the DNS consists of strings of at most 255 characters (RFC 1035, 3.3.14)."""
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


def records_of(
    plan: Plan, *, addresses: Iterable[str], port: int, mail_exchanger: str, keys: Mapping[str, str]
) -> frozenset[Record]:
    """All records of a platform. `addresses` are the edge's public ones, `port` its own of HTTPS; `mail_exchanger` is the mail gateway's
    public name; `keys` are the public halves (base64) of those that machines sign mail with, by the machine's name."""
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
            if key := keys.get(endpoint.machine):
                found.add(Record(f"{SIGNER}.{host}", "TXT", _text(f"v=DKIM1; k=rsa; p={key}")))
            continue
        found |= {Record(host, "AAAA" if ":" in address else "A", address) for address in at}
        if endpoint.protocol in SERVICES:
            service = SERVICES[endpoint.protocol]
            for domain in _domains(plan, endpoint.service) or [host]:
                value = f"0 1 {STREAMS[endpoint.protocol]} {host}."
                found.add(Record(f"{service}.{domain}", "SRV", value))
        for kind in endpoint.found_as:
            # Who gives the address of the service, or their address of the platform, if there are such.
            for domain in (host, *(d for d in _all_domains(plan) if d.startswith(f"{plan.slug}."))):
                name = f"{SERVICES[kind]}.{domain}"
                found.add(Record(name, "SRV", f"0 1 {port} {host}."))
                found.add(Record(name, "TXT", _text(f"path={endpoint.path}")))
    return frozenset(found)


def _text(value: str) -> str:
    return " ".join(f'"{value[at : at + _STRING]}"' for at in range(0, len(value), _STRING))


def _all_domains(plan: Plan) -> list[str]:
    return [e.host for e in plan.endpoints if e.protocol == SMTP]


def _domains(plan: Plan, service: str) -> list[str]:
    """What addresses of a service end in: there programs look for its servers."""
    return [e.host for e in plan.endpoints if e.service == service and e.protocol == SMTP]
