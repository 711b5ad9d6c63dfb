"""Two plans of one platform side by side, item by item: what is shown when one is to take the place of the other.

An item is named by a path: ("machines", "www", "memory_mib"), ("services", "svn"), ("host",). What merely follows from other items
(a machine's full name from its domain, the cost from the machines) is none of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from placo.domain.plan import Plan, PlannedEndpoint, PlannedMachine

Path = tuple[str, ...]

SIZES = ("memory_mib", "vcpus", "system_disk_gib", "data_volume_gib")
MACHINE = (*SIZES, "address", "image")
"""What plans can say differently of one machine."""
FOLLOWS = {
    "Plan": {"slug", "uuid", "title", "project", "cost"},
    "PlannedMachine": {
        *("name", "title_en", "title_fr", "uuid", "domain", "hostname", "fqdn", "mac"),
        *("system_volume", "data_volume", "seed_volume"),
    },
    "PlannedNetwork": {"name", "uuid", "bridge", "mac", "gateway"},
    "PlannedEndpoint": {
        "service",
        "title_en",
        "title_fr",
        "protocol",
        "host",
        "path",
        "edge_port",
        "found_as",
    },
}
"""Fields that are no items: the same in all plans of a platform, words, or told by another item."""


@dataclass(frozen=True)
class Item:
    """What two plans say of one thing; None where a plan has no such thing."""

    path: Path
    old: Any
    new: Any

    @property
    def name(self) -> str:
        """The path as one word: "machines.www.memory_mib"."""
        return ".".join(self.path)

    @property
    def kind(self) -> str:
        """What sort of thing: "services", "options", "machines", "host" ..."""
        return self.path[0]

    @property
    def differs(self) -> bool:
        """Whether the plans disagree."""
        return bool(self.old != self.new)

    @property
    def came(self) -> bool:
        """Only the new plan has it."""
        return self.differs and self.old is None

    @property
    def went(self) -> bool:
        """Only the old plan has it."""
        return self.differs and self.new is None

    def as_json(self) -> dict[str, Any]:
        """Plain data, for the API and the audit trail."""
        return {"item": self.name, "old": _plain(self.old), "new": _plain(self.new)}


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, PlannedMachine):
        return {name: getattr(value, name) for name in MACHINE}
    return list(value) if isinstance(value, tuple) else value


def compare(old: Plan, new: Plan, ends: tuple[date | None, date | None] | None = None) -> tuple[Item, ...]:
    """Everything that the plans say, whether they agree or not; `ends` are the last days, where those are decided about too."""
    return tuple(_items(old, new, ends))


def differences(
    old: Plan, new: Plan, ends: tuple[date | None, date | None] | None = None
) -> tuple[Item, ...]:
    """Where the plans disagree."""
    return tuple(item for item in _items(old, new, ends) if item.differs)


def _items(old: Plan, new: Plan, ends: tuple[date | None, date | None] | None) -> Iterator[Item]:
    for name in _both(old.services, new.services):
        yield Item(("services", name), *(name if name in plan.services else None for plan in (old, new)))
    for service in new.services:
        before, after = old.options.get(service, {}), new.options.get(service, {})
        for option in _both(before, after):
            yield Item(("options", service, option), before.get(option), after.get(option))
    yield from _machines({m.name: m for m in old.machines}, {m.name: m for m in new.machines})
    yield Item(("host",), old.host, new.host)
    yield Item(("network", "subnet"), old.network.subnet, new.network.subnet)
    yield Item(("network", "dns_domain"), old.network.dns_domain, new.network.dns_domain)
    yield from _endpoints(old.endpoints, new.endpoints)
    yield Item(("owners",), old.owners, new.owners)
    yield Item(("days",), old.days, new.days) if ends is None else Item(("expires_on",), *ends)


def _both(old: Iterable[str], new: Iterable[str]) -> Iterable[str]:
    """Each name once, those of the old plan first."""
    return dict.fromkeys([*old, *new])


def _machines(old: Mapping[str, PlannedMachine], new: Mapping[str, PlannedMachine]) -> Iterator[Item]:
    for name in _both(old, new):
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            yield Item(("machines", name), before, after)
            continue
        for attribute in MACHINE:
            yield Item(("machines", name, attribute), getattr(before, attribute), getattr(after, attribute))


def _endpoints(old: Iterable[PlannedEndpoint], new: Iterable[PlannedEndpoint]) -> Iterator[Item]:
    before, after = _by_path(old), _by_path(new)
    for path in dict.fromkeys([*before, *after]):
        a, b = before.get(path), after.get(path)
        yield Item(path, a.url if a else None, b.url if b else None)
        if a and b and _route(a) != _route(b):
            yield Item((*path, "route"), _route(a), _route(b))


def _route(endpoint: PlannedEndpoint) -> str:
    return f"{endpoint.machine}:{endpoint.port}"


def _by_path(endpoints: Iterable[PlannedEndpoint]) -> dict[Path, PlannedEndpoint]:
    """A service may have several addresses of one protocol: they are told apart by their order."""
    found: dict[Path, PlannedEndpoint] = {}
    for endpoint in endpoints:
        path: Path = ("endpoints", endpoint.service, endpoint.protocol)
        number = 2
        while path in found:
            path, number = ("endpoints", endpoint.service, endpoint.protocol, str(number)), number + 1
        found[path] = endpoint
    return found
