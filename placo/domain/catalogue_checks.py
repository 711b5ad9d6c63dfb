"""What holds between the parts of a catalogue: references, cycles, names that would collide."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from placo.domain.catalogue_errors import Problem
from placo.domain.catalogue_model import BASE_SOFTWARE, Endpoint, Machine, OptionType, Service, Software
from placo.domain.protocols import SSH, SSH_PORTS

SLUG = "{slug}"


@dataclass(frozen=True)
class Parts:
    """The three levels as they were read, before they are known to fit together."""

    services: Mapping[str, Service]
    machines: Mapping[str, Machine]
    software: Mapping[str, Software]


def check_all(parts: Parts) -> list[Problem]:
    """Everything that is wrong between the parts."""
    problems: list[Problem] = []
    for service in parts.services.values():
        problems += _check_service(service, parts)
    for machine in parts.machines.values():
        problems += _check_machine(machine, parts)
    problems += _check_cycles(parts)
    problems += _check_hosts(parts)
    problems += _check_software(parts)
    problems += _check_ports(parts)
    return problems


def _known(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "none yet"


def _duplicates(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _check_service(service: Service, parts: Parts) -> list[Problem]:
    file = f"services/{service.id}.toml"
    problems = []
    for name in service.machines:
        if name not in parts.machines:
            remedy = f"Create machines/{name}/machine.toml, or name one of: {_known(parts.machines)}."
            problems.append(Problem(file, "machines", f'there is no machine "{name}".', remedy))
    for name in service.needs:
        if name not in parts.services:
            remedy = f"Create services/{name}.toml, or name one of: {_known(parts.services)}."
            problems.append(Problem(file, "needs", f'there is no service "{name}".', remedy))
    for name in _duplicates([option.name for option in service.options]):
        problems.append(
            Problem(file, "options", f'"{name}" is there twice.', "Give each option its own name.")
        )
    for name in _duplicates([endpoint.name for endpoint in service.endpoints]):
        problems.append(
            Problem(file, "endpoints", f'"{name}" is there twice.', "Give each endpoint its own name.")
        )
    problems += _check_size_options(service, parts, file)
    for number, endpoint in enumerate(service.endpoints, start=1):
        key = f"endpoints[{number}]"
        if endpoint.machine not in service.machines:
            remedy = f"Name one of this service's machines: {', '.join(service.machines)}."
            problems.append(
                Problem(file, f"{key}.machine", f'"{endpoint.machine}" is not one of them.', remedy)
            )
        elif endpoint.machine in parts.machines:
            routes = parts.machines[endpoint.machine].routes
            wanted = (endpoint.host, endpoint.protocol, service.id)
            if wanted not in {(route.host, route.protocol, route.service) for route in routes}:
                message = f'no {endpoint.protocol} route of machine "{endpoint.machine}" leads "{endpoint.host}" to this service.'
                remedy = f"Add [[routes]] to machines/{endpoint.machine}/machine.toml, or correct the host."
                problems.append(Problem(file, f"{key}.host", message, remedy))
        problems += _check_options(service, endpoint, file, key)
    return problems


def _check_options(service: Service, endpoint: Endpoint, file: str, key: str) -> list[Problem]:
    """The options that an endpoint names are options of the service; those that say who may come in are answered by yes or no."""
    problems = []
    allowed = {"slug"} | {option.name for option in service.options}
    for place, path in (("path", endpoint.path), ("login.path", endpoint.login.path)):
        for name in sorted(set(re.findall(r"\{([^}]*)\}", path)) - allowed):
            remedy = f"Use one of: {', '.join(sorted(allowed))}."
            problems.append(
                Problem(file, f"{key}.{place}", f'"{{{name}}}" is no option of this service.', remedy)
            )
    answers = {option.name for option in service.options if option.type is OptionType.BOOLEAN}
    for place, name in (("public_if", endpoint.public_if), ("owners_if", endpoint.owners_if)):
        if name and name not in answers:
            known = ", ".join(sorted(answers)) or "none yet"
            remedy = f"Name an option of type boolean: {known}."
            problems.append(
                Problem(file, f"{key}.{place}", f'"{name}" is no option that is yes or no.', remedy)
            )
    return problems


def _check_machine(machine: Machine, parts: Parts) -> list[Problem]:
    file = f"machines/{machine.name}/machine.toml"
    problems = []
    for name in machine.software:
        if name == BASE_SOFTWARE:
            problems.append(Problem(file, "software", f'"{name}" is in every machine.', "Do not list it."))
        elif name not in parts.software:
            remedy = f"Create software/{name}/software.toml, or name one of: {_known(parts.software)}."
            problems.append(Problem(file, "software", f'there is no software "{name}".', remedy))
    for name in _duplicates([port.name for port in machine.ports]):
        problems.append(Problem(file, "ports", f'"{name}" is there twice.', "Give each port its own name."))
    listening = {port.port for port in machine.ports if port.protocol == "tcp"}
    for number, route in enumerate(machine.routes, start=1):
        if route.port not in listening:
            message = f"{route.port} is not a TCP port of this machine."
            problems.append(
                Problem(file, f"routes[{number}].port", message, "Add it to [[ports]], or correct it.")
            )
        if route.service not in parts.services:
            remedy = f"Name one of: {_known(parts.services)}."
            problems.append(
                Problem(file, f"routes[{number}].service", f'there is no service "{route.service}".', remedy)
            )
        elif machine.name not in parts.services[route.service].machines:
            message = f'the service "{route.service}" has no machine "{machine.name}".'
            remedy = f"Add it to machines in services/{route.service}.toml, or correct the route."
            problems.append(Problem(file, f"routes[{number}].service", message, remedy))
    if (machine.probe.host, machine.probe.protocol) not in {(r.host, r.protocol) for r in machine.routes}:
        message = f'no {machine.probe.protocol} route of this machine has the host "{machine.probe.host}".'
        problems.append(Problem(file, "probe.host", message, "Probe a host of one of its [[routes]]."))
    problems += _check_sizes(machine, file)
    problems += _check_targets(machine, parts, file)
    return problems


def _check_size_options(service: Service, parts: Parts, file: str) -> list[Problem]:
    """An option of type size chooses among the sizes of one of the service's machines, of which only one service decides."""
    problems = []
    for number, option in enumerate(service.options, start=1):
        if option.type is not OptionType.SIZE:
            continue
        key = f"options[{number}]"
        if option.machine not in service.machines:
            remedy = f"Name one of this service's machines: {', '.join(service.machines)}."
            problems.append(
                Problem(file, f"{key}.machine", f'"{option.machine}" is not one of them.', remedy)
            )
            continue
        others = [
            (other.id, place)
            for other in parts.services.values()
            for place, it in enumerate(other.options, start=1)
            if it.type is OptionType.SIZE and it.machine == option.machine
        ]
        if others[0] != (service.id, number):
            remedy = f"Leave the size to the option of {others[0][0]}."
            problems.append(
                Problem(file, f"{key}.machine", f'the size of "{option.machine}" is chosen already.', remedy)
            )
        sizes = (
            [size.name for size in parts.machines[option.machine].sizes]
            if option.machine in parts.machines
            else []
        )
        if option.machine in parts.machines and option.default not in sizes:
            place = f"machines/{option.machine}/machine.toml"
            remedy = f"Name one of: {', '.join(sizes)}." if sizes else f"Add [[sizes]] to {place}."
            problems.append(
                Problem(
                    file, f"{key}.default", f'"{option.default}" is no size of "{option.machine}".', remedy
                )
            )
    return problems


def _check_sizes(machine: Machine, file: str) -> list[Problem]:
    """Each size its own name, and none smaller than what the machine's image needs."""
    problems = [
        Problem(file, "sizes", f'"{name}" is there twice.', "Give each size its own name.")
        for name in _duplicates([size.name for size in machine.sizes])
    ]
    for number, size in enumerate(machine.sizes, start=1):
        if size.memory_mib < machine.memory_mib:
            message = f"{size.memory_mib} is less than the machine needs at least, its own memory_mib."
            remedy = f"Write {machine.memory_mib} or more, or lower memory_mib of the machine."
            problems.append(Problem(file, f"sizes[{number}].memory_mib", message, remedy))
    return problems


def _check_ports(parts: Parts) -> list[Problem]:
    """A platform with all services has ports enough, and whoever is reached by ssh an address that says so."""
    uses = [
        (f"services/{service.id}.toml", f"endpoints[{number}].protocol")
        for service in parts.services.values()
        for number, endpoint in enumerate(service.endpoints, start=1)
        if endpoint.protocol == SSH
    ]
    message = f"there are more than {SSH_PORTS} endpoints of {SSH} in the catalogue."
    remedy = f"A platform has {SSH_PORTS} ports for it: remove one."
    problems = [Problem(file, key, message, remedy) for file, key in uses[SSH_PORTS:]]
    for machine in parts.machines.values():
        for number, route in enumerate(machine.routes, start=1):
            endpoints = parts.services[route.service].endpoints if route.service in parts.services else ()
            if route.protocol == SSH and (route.host, SSH) not in {(e.host, e.protocol) for e in endpoints}:
                file, key = f"machines/{machine.name}/machine.toml", f"routes[{number}].host"
                message = f'no endpoint of "{route.service}" has this host, so that there is no port for it.'
                remedy = f"Add [[endpoints]] to services/{route.service}.toml, or remove the route."
                problems.append(Problem(file, key, message, remedy))
    return problems


def _check_targets(machine: Machine, parts: Parts, file: str) -> list[Problem]:
    """Two files of one machine cannot have the same place."""
    names = (BASE_SOFTWARE, *machine.software)
    found = [parts.software[name] for name in names if name in parts.software]
    targets = [file.target for software in found for file in software.files]
    return [
        Problem(
            file, "software", f"two of its software write {target}.", "Choose another target for one of them."
        )
        for target in _duplicates(targets)
    ]


def _check_cycles(parts: Parts) -> list[Problem]:
    """A service that needs itself, directly or by way of others."""
    problems = []
    for service in parts.services.values():
        seen: set[str] = set()
        waiting = list(service.needs)
        while waiting:
            name = waiting.pop()
            if name in seen or name not in parts.services:
                continue
            seen.add(name)
            waiting += parts.services[name].needs
        if service.id in seen:
            message = f'"{service.id}" needs itself, by way of {", ".join(sorted(seen))}.'
            problems.append(Problem(f"services/{service.id}.toml", "needs", message, "Break the circle."))
    return problems


def _check_hosts(parts: Parts) -> list[Problem]:
    """No public name of one platform may ever be that of another.

    ``{slug}-web`` of the platform "x-a" and ``{slug}-a-web`` of the platform "x" would be the same name. (That a slug itself
    does not end like a host, so that ``{slug}`` can be a domain of mail addresses, is checked where slugs are chosen.)
    """
    uses = [
        (route.host, route.protocol, machine.name, number)
        for machine in parts.machines.values()
        for number, route in enumerate(machine.routes, start=1)
    ]
    problems = []
    for position, (host, protocol, machine, number) in enumerate(uses):
        for other_position, (other, other_protocol, other_machine, _) in enumerate(uses):
            if position == other_position or (SLUG in (host, other) and host != other):
                continue
            file, key = f"machines/{machine}/machine.toml", f"routes[{number}].host"
            if host == other:
                if protocol == other_protocol or machine != other_machine:
                    message = f'"{host}" is also a route of machine "{other_machine}".'
                    remedy = "Give each route its own host; one machine may use it for several protocols."
                    problems.append(Problem(file, key, message, remedy))
            elif host.removeprefix("{slug}").endswith(other.removeprefix("{slug}")):
                message = f'"{host}" can be the same name as "{other}" of another platform.'
                remedy = f'Choose a host that does not end in "{other.removeprefix("{slug}")}".'
                problems.append(Problem(file, key, message, remedy))
    return problems


def _check_software(parts: Parts) -> list[Problem]:
    if BASE_SOFTWARE in parts.software:
        return []
    remedy = "Create it: it is the first layer of every image."
    return [Problem(f"software/{BASE_SOFTWARE}/software.toml", "", "is missing.", remedy)]
