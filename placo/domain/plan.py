"""The plan: the frozen, hashed list of everything that approving a request will make.

Every name, UUID, MAC and address is decided here, before any side effect. UUIDs are version 5 (RFC 9562) from what they
name; MACs are locally administered (the 52:54:00 prefix that QEMU uses) with bits of the UUID.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from ipaddress import IPv4Network
from typing import Any
from uuid import UUID, uuid5

from pydantic import TypeAdapter

from placo.domain import protocols
from placo.domain.catalogue import Catalogue, Machine
from placo.domain.quota import Cost

NAMESPACE = UUID("6e2a9c1c-95a4-5b5e-8a53-0c1f5c0e4a11")


@dataclass(frozen=True)
class PlannedNetwork:
    """A platform's own network on its host."""

    name: str
    uuid: str
    bridge: str
    mac: str
    subnet: str
    gateway: str
    dns_domain: str


@dataclass(frozen=True)
class PlannedMachine:
    """One virtual machine to be; memory in MiB, disks in GiB."""

    name: str
    title_en: str
    title_fr: str
    uuid: str
    domain: str
    hostname: str
    fqdn: str
    mac: str
    address: str
    image: str
    memory_mib: int
    vcpus: int
    system_disk_gib: int
    data_volume_gib: int
    system_volume: str
    data_volume: str
    seed_volume: str

    @property
    def memory_volume(self) -> str:
        """The copy of a template's memory that the machine is resumed from; gone once it has been."""
        return f"{self.data_volume.removesuffix('-data.qcow2')}-memory.save"

    @property
    def volumes(self) -> tuple[str, ...]:
        """All volumes that the machine ever has."""
        return self.system_volume, self.data_volume, self.seed_volume, self.memory_volume


@dataclass(frozen=True)
class PlannedEndpoint:
    """One public address of a service, and the machine and port that answer it; `edge_port` where it has a port of its own (ssh).
    `found_as` is what programs look for there in the DNS."""

    service: str
    title_en: str
    title_fr: str
    protocol: str
    host: str
    path: str
    url: str
    machine: str
    port: int
    edge_port: int | None = None
    found_as: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All of it. `options` maps service id -> option name -> value."""

    slug: str
    uuid: str
    title: str
    project: str
    host: str
    owners: tuple[str, ...]
    services: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]]
    days: int
    network: PlannedNetwork
    machines: tuple[PlannedMachine, ...]
    endpoints: tuple[PlannedEndpoint, ...]
    cost: Cost

    def machine(self, name: str) -> PlannedMachine:
        """The machine of that name; KeyError if there is none."""
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise KeyError(name)

    def addresses(self) -> tuple[str, ...]:
        """Where each machine answers inside the platform's network, and for which services: ``https://wiki.alpha.internal:443 wiki``.

        URIs with a label, as RFC 2079 has them.
        """
        fqdns = {machine.name: machine.fqdn for machine in self.machines}
        services: dict[str, list[str]] = {}
        for e in self.endpoints:
            at = services.setdefault(f"{e.protocol}://{fqdns[e.machine]}:{e.port}", [])
            if e.service not in at:
                at.append(e.service)
        return tuple(f"{uri} {' '.join(of)}" for uri, of in services.items())

    @property
    def images(self) -> dict[str, str]:
        """Machine name -> image name, in the order of the plan."""
        return {machine.name: machine.image for machine in self.machines}

    def as_json(self) -> dict[str, Any]:
        """Plain data, for the database and the API."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return data

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON."""
        text = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def hash_of(plan: Plan, ends_on: date | None) -> str:
    """What an administrator approves: the plan, together with another last day where a change asks for one."""
    if ends_on is None:
        return plan.hash
    return hashlib.sha256(f"{plan.hash} until {ends_on.isoformat()}".encode()).hexdigest()


def identities(plan: Plan) -> Iterator[tuple[str, str]]:
    """What no two platforms may have the same of: (kind, value)."""
    network = plan.network
    yield from (
        ("UUID", plan.uuid),
        ("UUID", network.uuid),
        ("MAC", network.mac),
        ("subnet", network.subnet),
        ("bridge", network.bridge),
    )
    for machine in plan.machines:
        yield from (("UUID", machine.uuid), ("MAC", machine.mac), ("address", machine.address))
    for endpoint in plan.endpoints:
        if endpoint.edge_port is not None:
            yield "port", str(endpoint.edge_port)


_ADAPTER = TypeAdapter(Plan)


def from_json(data: Mapping[str, Any]) -> Plan:
    """A plan as it was stored; raises pydantic's ValidationError on anything else."""
    return _ADAPTER.validate_python(data)


Options = Mapping[str, Mapping[str, Any]]
"""What was chosen: service -> option -> value."""


def cost_of(catalogue: Catalogue, services: Iterable[str], options: Options | None = None) -> Cost:
    """What a platform with these services takes from its project's quota; `options` may choose sizes of its machines."""
    total = Cost(platforms=1)
    chosen = tuple(services)
    for name in catalogue.machines_of(chosen):
        m = catalogue.sized(name, chosen, options or {})
        total += Cost(0, 1, m.vcpus, m.memory_mib, m.system_disk_gib + m.data_volume_gib)
    return total


def subnet_of(pool: IPv4Network, prefix: int, index: int) -> IPv4Network:
    """The `index`-th subnet of the pool; IndexError when the pool has no such subnet."""
    if not 0 <= index < 2 ** (prefix - pool.prefixlen):
        raise IndexError(index)
    return IPv4Network((int(pool.network_address) + index * 2 ** (32 - prefix), prefix))


def _mac(uuid: UUID) -> str:
    return "52:54:00:" + ":".join(f"{b:02x}" for b in uuid.bytes[-3:])


@dataclass(frozen=True)
class Placement:
    """What the site decides about a platform: host, subnet, names under the site's domains, ports of the edge for ssh."""

    host: str
    subnet: IPv4Network
    edge_domain: str
    edge_port: int
    dns_domain: str
    ssh_ports: tuple[int, ...] = ()


def make_plan(
    catalogue: Catalogue,
    *,
    platform_uuid: UUID,
    slug: str,
    title: str,
    project: str,
    owners: Iterable[str],
    services: Iterable[str],
    options: Mapping[str, Mapping[str, Any]],
    days: int,
    placement: Placement,
    images: Mapping[str, str],
) -> Plan:
    """Decide everything. `images` maps a machine's name to the current name of its image.

    ValueError if the subnet has fewer addresses than the platform has machines, or the edge no ports left.
    """
    services = tuple(services)
    gateway, *addresses = (str(address) for address in placement.subnet.hosts())
    domain = f"{slug}.{placement.dns_domain}"
    names = catalogue.machines_of(services)
    machines = tuple(
        planned_machine(
            catalogue.sized(name, services, options),
            platform_uuid=platform_uuid,
            slug=slug,
            domain=domain,
            address=address,
            image=images[name],
        )
        for name, address in zip(names, addresses[: len(names)], strict=True)
    )
    network_uuid = uuid5(platform_uuid, "network")
    network = PlannedNetwork(
        name=f"placo-{slug}-{platform_uuid.hex[:8]}",
        uuid=str(network_uuid),
        bridge=f"pl{network_uuid.hex[:8]}",
        mac=_mac(network_uuid),
        subnet=str(placement.subnet),
        gateway=gateway,
        dns_domain=domain,
    )
    return Plan(
        slug=slug,
        uuid=str(platform_uuid),
        title=title,
        project=project,
        host=placement.host,
        owners=tuple(sorted(owners)),
        services=services,
        options={s: dict(options.get(s, {})) for s in services},
        days=days,
        network=network,
        machines=machines,
        endpoints=planned_endpoints(catalogue, slug, services, options, placement),
        cost=cost_of(catalogue, services, options),
    )


def planned_machine(
    kind: Machine, *, platform_uuid: UUID, slug: str, domain: str, address: str, image: str
) -> PlannedMachine:
    """A machine of the catalogue as part of a platform; `domain` is the platform's DNS domain."""
    uuid, base = uuid5(platform_uuid, f"machine/{kind.name}"), f"placo-{slug}-{kind.name}"
    # A name with the platform's UUID in it proves whose a volume is: nobody else's is ever taken over or removed.
    volume = f"{base}-{platform_uuid.hex[:8]}"
    return PlannedMachine(
        name=kind.name,
        title_en=kind.title.en,
        title_fr=kind.title.fr,
        uuid=str(uuid),
        domain=base,
        hostname=kind.name,
        fqdn=f"{kind.name}.{domain}",
        mac=_mac(uuid),
        address=address,
        image=image,
        memory_mib=kind.memory_mib,
        vcpus=kind.vcpus,
        system_disk_gib=kind.system_disk_gib,
        data_volume_gib=kind.data_volume_gib,
        system_volume=f"{volume}-system.qcow2",
        data_volume=f"{volume}-data.qcow2",
        seed_volume=f"{volume}-seed.iso",
    )


def planned_endpoints(
    catalogue: Catalogue,
    slug: str,
    services: Iterable[str],
    options: Mapping[str, Mapping[str, Any]],
    placement: Placement,
    *,
    present: Iterable[PlannedEndpoint] = (),
) -> tuple[PlannedEndpoint, ...]:
    """The public addresses of services. Those that are `present` keep their ports; ValueError if there are none left for others."""
    ports = {(e.service, e.host): e.edge_port for e in present if e.edge_port is not None}
    free = iter([port for port in placement.ssh_ports if port not in ports.values()])
    found = []
    for service in services:
        for endpoint in catalogue.services[service].endpoints:
            host = f"{endpoint.label(slug)}.{placement.edge_domain}"
            path = endpoint.path_for(slug, options.get(service, {}))
            own = None
            if endpoint.protocol == protocols.SSH:
                own = ports.get((service, host)) or next(free, None)
                if own is None:
                    raise ValueError(f"the edge has no port left for {host}")
            routes = catalogue.machines[endpoint.machine].routes
            found.append(
                PlannedEndpoint(
                    service=service,
                    title_en=endpoint.title.en,
                    title_fr=endpoint.title.fr,
                    protocol=endpoint.protocol,
                    host=host,
                    path=path,
                    url=protocols.address(
                        endpoint.protocol, host, path, own or placement.edge_port, endpoint.user
                    ),
                    machine=endpoint.machine,
                    port=next(
                        (
                            r.port
                            for r in routes
                            if (r.host, r.protocol) == (endpoint.host, endpoint.protocol)
                        ),
                        443,
                    ),
                    edge_port=own,
                    found_as=endpoint.found_as,
                )
            )
    return tuple(found)
