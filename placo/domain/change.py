"""A change of a living platform: the plan that it will have, and what differs from the plan that it has.

What stays keeps its identity: UUIDs, addresses, MACs, volumes, images. Of the options of services that stay those are chosen anew which
the catalogue calls changeable, and sizes; their machines have taken the others for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import Any
from uuid import UUID

from placo.domain.catalogue import Catalogue
from placo.domain.catalogue_model import DATA_MAX_GIB, MEMORY_MAX_MIB, MEMORY_STEP_MIB, VCPUS_MAX
from placo.domain.plan import Placement, Plan, PlannedMachine, planned_endpoints, planned_machine
from placo.domain.plan_items import differences
from placo.domain.quota import Cost


@dataclass(frozen=True)
class Size:
    """What can be changed about a machine."""

    memory_mib: int
    vcpus: int
    data_volume_gib: int

    @classmethod
    def of(cls, machine: PlannedMachine) -> Size:
        return cls(machine.memory_mib, machine.vcpus, machine.data_volume_gib)


@dataclass(frozen=True)
class Difference:
    """Machines by name, services by id, in the order of the plans.

    `resized` machines get other memory or processors and are stopped for that; `grown` ones a larger data volume, and `told` ones other
    settings, while they run.
    """

    services_added: tuple[str, ...]
    services_removed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    resized: tuple[str, ...]
    grown: tuple[str, ...]
    told: tuple[str, ...]

    def __bool__(self) -> bool:
        return any(vars(self).values())


def cost_of_machines(machines: Iterable[PlannedMachine]) -> Cost:
    """What a platform of these machines takes from its project's quota."""
    total = Cost(platforms=1)
    for m in machines:
        total += Cost(0, 1, m.vcpus, m.memory_mib, m.system_disk_gib + m.data_volume_gib)
    return total


def changed_plan(
    catalogue: Catalogue,
    old: Plan,
    *,
    services: Iterable[str],
    options: Mapping[str, Mapping[str, Any]],
    sizes: Mapping[str, Size],
    images: Mapping[str, str],
    edge_domain: str,
    edge_port: int,
    ssh_ports: tuple[int, ...] = (),
) -> Plan:
    """The plan of the same platform with other services and sizes.

    `options` are those of services that come new, and what is chosen anew of those that stay; `images` maps machines that come new
    to their image, `sizes` machines that stay to theirs (as they are where it says nothing, and no size is chosen). ValueError if
    the subnet has no address left, or the edge no port.
    """
    services = tuple(services)
    chosen = {s: _options(catalogue, old, s, options.get(s, {})) for s in services}
    subnet = IPv4Network(old.network.subnet)
    names = catalogue.machines_of(services)
    kept = {m.name: m for m in old.machines if m.name in names}
    taken = {m.address for m in old.machines} | {old.network.gateway}
    free = iter([address for address in map(str, subnet.hosts()) if address not in taken])
    machines = []
    for name in names:
        if name in kept:
            given = sizes.get(name, Size.of(kept[name]))
            if given == Size.of(kept[name]):
                given = _chosen_size(catalogue, old, name, services, chosen) or given
            machines.append(replace(kept[name], **vars(given)))
            continue
        address = next(free, None)
        if address is None:
            raise ValueError(f"{subnet} has no address left for {name}")
        machines.append(
            planned_machine(
                catalogue.sized(name, services, chosen),
                platform_uuid=UUID(old.uuid),
                slug=old.slug,
                domain=old.network.dns_domain,
                address=address,
                image=images[name],
            )
        )
    place = Placement(old.host, subnet, edge_domain, edge_port, "", ssh_ports)
    return replace(
        old,
        services=services,
        options=chosen,
        machines=tuple(machines),
        endpoints=planned_endpoints(catalogue, old.slug, services, chosen, place, present=old.endpoints),
        cost=cost_of_machines(machines),
    )


def _options(catalogue: Catalogue, old: Plan, service: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a service afterwards: of one that stays they are as they were, but for what can be chosen anew."""
    if service not in old.services:
        return dict(given)
    again = {o.name for o in catalogue.services[service].options if o.again}
    return {**old.options.get(service, {}), **{name: value for name, value in given.items() if name in again}}


def _chosen_size(
    catalogue: Catalogue,
    old: Plan,
    name: str,
    services: Iterable[str],
    chosen: Mapping[str, Mapping[str, Any]],
) -> Size | None:
    """The size of a machine that stays, where another one is chosen for it. A data volume keeps what it has."""
    was, kind = (catalogue.sized(name, services, options) for options in (old.options, chosen))
    if was == kind:
        return None
    return Size(kind.memory_mib, kind.vcpus, max(old.machine(name).data_volume_gib, kind.data_volume_gib))


def difference(catalogue: Catalogue, old: Plan, new: Plan) -> Difference:
    """What has to be done to make `new` of `old`, two plans of one platform. The catalogue says whom an option concerns."""
    found = differences(old, new)

    def sized(*names: str) -> tuple[str, ...]:
        machines = [i.path[1] for i in found if i.kind == "machines" and i.path[2:] in {(n,) for n in names}]
        return tuple(dict.fromkeys(machines))

    return Difference(
        services_added=tuple(i.path[1] for i in found if i.kind == "services" and i.came),
        services_removed=tuple(i.path[1] for i in found if i.kind == "services" and i.went),
        added=tuple(i.path[1] for i in found if i.kind == "machines" and i.came),
        removed=tuple(i.path[1] for i in found if i.kind == "machines" and i.went),
        resized=sized("memory_mib", "vcpus"),
        grown=sized("data_volume_gib"),
        told=_told(catalogue, old, new),
    )


def _told(catalogue: Catalogue, old: Plan, new: Plan) -> tuple[str, ...]:
    """The machines that stay while an option of one of their services becomes another."""
    concerned = set[str]()
    for item in differences(old, new):
        if (
            item.kind != "options"
            or item.path[1] not in old.services
            or item.path[1] not in catalogue.services
        ):
            continue
        service = catalogue.services[item.path[1]]
        if any(o.name == item.path[2] and o.changeable for o in service.options):
            concerned |= set(service.machines)
    there = {m.name for m in old.machines}
    return tuple(m.name for m in new.machines if m.name in concerned & there)


def size_problems(old: PlannedMachine, new: Size, smallest_memory_mib: int) -> list[str]:
    """Why a machine cannot have this size: "memory-step", "memory-range", "vcpus-range", "data-range", "data-shrinks"."""
    found = []
    if new.memory_mib % MEMORY_STEP_MIB:
        found.append("memory-step")
    if not smallest_memory_mib <= new.memory_mib <= MEMORY_MAX_MIB:
        found.append("memory-range")
    if not 1 <= new.vcpus <= VCPUS_MAX:
        found.append("vcpus-range")
    if new.data_volume_gib > DATA_MAX_GIB:
        found.append("data-range")
    if new.data_volume_gib < old.data_volume_gib:
        found.append("data-shrinks")
    return found
