"""The names of all platforms in the DNS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from placo.domain.names import Record


@dataclass(frozen=True)
class PlatformNames:
    """What a zone has of a platform."""

    uuid: str
    records: frozenset[Record]


class Zone(Protocol):
    """The DNS zone with the names of all platforms. Other people's names may be in it as well."""

    def complaint(self) -> str:
        """Why the zone cannot be used now, "" when it can."""

    def ensure_names(self, slug: str, uuid: str, records: Iterable[Record]) -> None:
        """Exactly these; none is as good as removing them. Rejected for a slug or a name that another platform or somebody else has."""

    def remove_names(self, slug: str, uuid: str) -> None: ...

    def names(self) -> Mapping[str, PlatformNames]:
        """By slug."""
