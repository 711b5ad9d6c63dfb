"""Edge, mail gateway, DNS zone, certificate authority and prober without servers, for tests of everything above the drivers.

What the edge serves survives the process and is shared by all processes that use the same folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from placo.domain.names import Record, owner_of
from placo.drivers.certificates import check_pair, create_root, issue_from
from placo.drivers.checks import dns_label, edge_routes, mail_domains, platform_uuid, zone_records
from placo.drivers.fake_storage import Shelf
from placo.drivers.faults import Faults
from placo.drivers.ports import (
    EdgeRoute,
    EdgeStatus,
    KeyPair,
    MailDomain,
    PlatformNames,
    ProbeResult,
    Rejected,
)


@dataclass(frozen=True)
class FakeSite:
    """What the fake edge serves for one platform."""

    uuid: str
    routes: tuple[EdgeRoute, ...]
    certificate: bytes = field(repr=False)


def _site(found: Mapping[str, Any]) -> FakeSite:
    routes = tuple(EdgeRoute(**route) for route in found["routes"])
    return FakeSite(found["uuid"], routes, found["certificate"].encode())


class FakeEdge:
    """`ports.Edge` in `folder`; `served` is the world that tests look at, `complaint` what it has against its configuration."""

    def __init__(self, folder: Path) -> None:
        self.faults = Faults("the fake edge")
        self.complaint = ""
        self._shelf = Shelf(folder)

    @property
    def served(self) -> dict[str, FakeSite]:
        """slug -> what is served for it."""
        return {found["slug"]: _site(found) for found in self._shelf.all("sites")}

    def site(self, slug: str) -> FakeSite | None:
        """What is served for one platform, for assertions: the others are not read."""
        found = self._shelf.get("sites", slug)
        return None if found is None else _site(found)

    def routed(self, host: str, protocol: str, edge_port: int | None = None) -> bool:
        """Whether a platform has a route for this name, told from the name: it begins with the platform's slug."""
        label = host.partition(".")[0]
        while label:
            site = self.site(label)
            if site is not None:
                wanted = (host, protocol, edge_port)
                return any((route.host, route.protocol, route.edge_port) == wanted for route in site.routes)
            label = label.rpartition("-")[0]
        return False

    def status(self) -> EdgeStatus:
        if self.faults.unreachable:
            return EdgeStatus(False, self.complaint)
        self.faults.check("status")
        return EdgeStatus(True, self.complaint)

    def ensure_site(
        self, slug: str, uuid: str, routes: Iterable[EdgeRoute], certificate: bytes, key: bytes
    ) -> None:
        self.faults.check("ensure_site")
        checked = edge_routes(slug, routes)
        check_pair(certificate, key)
        platform_uuid(uuid)
        with self._shelf.locked():
            served = self.served
            holder = served.get(slug)
            if holder is not None and holder.uuid != uuid:
                raise Rejected(f"the edge already has a site {slug!r} of another platform ({holder.uuid})")
            others = [route for name, site in served.items() if name != slug for route in site.routes]
            taken = {route.host for route in others} | {route.edge_port for route in others} - {None}
            for route in checked:
                if found := {route.host, route.edge_port} & taken:
                    raise Rejected(f"the edge does not accept the site: {found.pop()} is served already")
            routed = [asdict(route) for route in checked]
            site = {"slug": slug, "uuid": uuid, "routes": routed, "certificate": certificate.decode()}
            self._shelf.put("sites", slug, site)

    def remove_site(self, slug: str, uuid: str) -> None:
        self.faults.check("remove_site")
        dns_label(slug, "slug")
        with self._shelf.locked():
            if slug in self.served and self.served[slug].uuid == uuid:
                self._shelf.drop("sites", slug)

    def sites(self) -> Mapping[str, str]:
        self.faults.check("sites")
        return {found["slug"]: found["uuid"] for found in self._shelf.all("sites")}

    def certificate(self, slug: str) -> bytes | None:
        self.faults.check("certificate")
        site = self.served.get(dns_label(slug, "slug"))
        return site.certificate if site else None

    def certificates(self) -> list[str]:
        self.faults.check("certificates")
        return self._shelf.names("sites")


class FakeGateway:
    """`ports.MailGateway` in `folder`; `routed` is what tests look at, `waiting` the length of its queue."""

    def __init__(self, folder: Path) -> None:
        self.faults = Faults("the fake mail gateway")
        self.waiting: int | None = 0
        self._shelf = Shelf(folder)

    def routed(self) -> dict[str, MailDomain]:
        """domain -> where its mail goes."""
        found = [MailDomain(**d) for platform in self._shelf.all("mail") for d in platform["domains"]]
        return {domain.domain: domain for domain in found}

    def answers(self) -> bool:
        return not self.faults.unreachable

    def queued(self) -> int | None:
        return self.waiting

    def ensure_domains(self, slug: str, uuid: str, domains: Iterable[MailDomain]) -> None:
        self.faults.check("ensure_domains")
        checked = mail_domains(slug, domains)
        platform_uuid(uuid)
        with self._shelf.locked():
            holder = self._shelf.get("mail", slug)
            if checked and holder is not None and holder["uuid"] != uuid:
                raise Rejected(
                    f"the mail gateway already knows {slug!r} as another platform ({holder['uuid']})"
                )
            others = {d["domain"] for p in self._shelf.all("mail") if p["slug"] != slug for d in p["domains"]}
            for domain in checked:
                if domain.domain in others:
                    raise Rejected(f"{domain.domain} is the mail domain of another platform already")
            if checked:
                wanted = {"slug": slug, "uuid": uuid, "domains": [asdict(domain) for domain in checked]}
                self._shelf.put("mail", slug, wanted)
            elif holder is not None and holder["uuid"] == uuid:
                self._shelf.drop("mail", slug)

    def remove_domains(self, slug: str, uuid: str) -> None:
        self.faults.check("remove_domains")
        dns_label(slug, "slug")
        with self._shelf.locked():
            holder = self._shelf.get("mail", slug)
            if holder is not None and holder["uuid"] == uuid:
                self._shelf.drop("mail", slug)

    def domains(self) -> Mapping[str, str]:
        self.faults.check("domains")
        return {platform["slug"]: platform["uuid"] for platform in self._shelf.all("mail")}


class FakeZone:
    """`ports.Zone` in `folder`, of the zone `zone`; `written` is what tests look at, `others` are names that somebody else put there."""

    def __init__(self, folder: Path, zone: str) -> None:
        self.faults = Faults("the fake DNS")
        self.others: set[str] = set()
        self._zone = zone
        self._shelf = Shelf(folder)

    def written(self) -> set[Record]:
        """All records of all platforms."""
        return {record for platform in self.names().values() for record in platform.records}

    def complaint(self) -> str:
        return "the fake DNS does not answer" if self.faults.unreachable else ""

    def ensure_names(self, slug: str, uuid: str, records: Iterable[Record]) -> None:
        self.faults.check("ensure_names")
        checked = zone_records(slug, records, self._zone)
        platform_uuid(uuid)
        with self._shelf.locked():
            holder = self._shelf.get("names", slug)
            if checked and holder is not None and holder["uuid"] != uuid:
                raise Rejected(f"the zone already knows {slug!r} as another platform ({holder['uuid']})")
            there = [p for p in self._shelf.all("names") if p["slug"] != slug]
            taken = {owner_of(record["name"]) for p in there for record in p["records"]} | self.others
            for record in checked:
                if owner_of(record.name) in taken:
                    raise Rejected(f"{record.name} is in the zone already")
            if checked:
                wanted = {
                    "slug": slug,
                    "uuid": uuid,
                    "records": [asdict(record) for record in sorted(checked)],
                }
                self._shelf.put("names", slug, wanted)
            elif holder is not None and holder["uuid"] == uuid:
                self._shelf.drop("names", slug)

    def remove_names(self, slug: str, uuid: str) -> None:
        self.faults.check("remove_names")
        dns_label(slug, "slug")
        with self._shelf.locked():
            holder = self._shelf.get("names", slug)
            if holder is not None and holder["uuid"] == uuid:
                self._shelf.drop("names", slug)

    def names(self) -> Mapping[str, PlatformNames]:
        self.faults.check("names")
        return {
            platform["slug"]: PlatformNames(
                platform["uuid"], frozenset(Record(**record) for record in platform["records"])
            )
            for platform in self._shelf.all("names")
        }


class FakeCertificateAuthority:
    """`ports.CertificateAuthority` with a root of its own that lives in memory only."""

    def __init__(self) -> None:
        self.faults = Faults("the fake certificate authority")
        self._root = create_root("PLACO fake root")

    def issue(self, names: Iterable[str]) -> KeyPair:
        self.faults.check("issue")
        return issue_from(self._root, names)

    def root(self) -> bytes:
        return self._root.certificate


class FakeProber:
    """`ports.Prober`: what `answers` says for a host, else 200 for what the fake edge routes; `asked` is what it was asked."""

    def __init__(self, edge: FakeEdge) -> None:
        self.faults = Faults("the fake edge")
        self.answers: dict[str, int] = {}
        self.asked: list[tuple[str, str, float]] = []
        self._edge = edge

    def https(self, host: str, path: str, expect_status: Iterable[int], timeout_s: float) -> ProbeResult:
        """`faults.unreachable` or a failure asked for "https" is an answer here, as in the real one: it never raises."""
        self.asked.append((host, path, timeout_s))
        try:
            self.faults.check("https")
        except Exception as error:  # noqa: BLE001 - whatever a test asked for
            return ProbeResult(False, str(error))
        status = self.answers.get(host, 200 if self._edge.routed(host, "https") else 404)
        expected = sorted(set(expect_status))
        if status in expected:
            return ProbeResult(True, f"answers {status}")
        return ProbeResult(False, f"answers {status} instead of {' or '.join(map(str, expected))}")

    def greeting(
        self, host: str, protocol: str, timeout_s: float, edge_port: int | None = None
    ) -> ProbeResult:
        """What the edge routes greets, unless `answers` has something for the host that is not 200."""
        self.asked.append((host, protocol, timeout_s))
        try:
            self.faults.check(protocol)
        except Exception as error:  # noqa: BLE001 - whatever a test asked for
            return ProbeResult(False, str(error))
        healthy = self.answers.get(host, 200) == 200 and self._edge.routed(host, protocol, edge_port)
        return ProbeResult(healthy, "greets" if healthy else "the connection is closed without a greeting")
