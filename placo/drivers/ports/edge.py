"""The reverse proxy in front of all platforms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class EdgeRoute:
    """One public name that leads to a machine: TLS to TLS, the machine's certificate is checked for `upstream_name`.

    `protocol` is "https" or one of placo.domain.protocols.STREAMS; one name may have several of them at one machine. Of "ssh",
    which is passed on as it comes, `edge_port` is the port at which the edge takes it for this platform and no other.
    """

    host: str
    address: str
    port: int
    upstream_name: str
    protocol: str = "https"
    edge_port: int | None = None


@dataclass(frozen=True)
class EdgeStatus:
    """How the edge is. `complaint`: in its own words why its configuration cannot be served, "" when it can, None when
    this process may not ask."""

    running: bool
    complaint: str | None


class Edge(Protocol):
    """The reverse proxy in front of all platforms. One site per platform."""

    def status(self) -> EdgeStatus: ...

    def ensure_site(
        self, slug: str, uuid: str, routes: Iterable[EdgeRoute], certificate: bytes, key: bytes
    ) -> None:
        """Serve the routes with this PEM certificate. An invalid result is rolled back and Rejected."""

    def remove_site(self, slug: str, uuid: str) -> None: ...

    def sites(self) -> Mapping[str, str]:
        """slug -> platform uuid of every configured site."""

    def certificate(self, slug: str) -> bytes | None:
        """The PEM certificate in place for a site."""

    def certificates(self) -> list[str]:
        """Slugs for which a certificate or key file exists."""
