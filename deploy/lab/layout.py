"""Where a lab keeps things and how they are called: everything is derived from the lab's root folder."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from placo.domain.protocols import STREAMS

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = "dc=placo,dc=test"
PORTAL_ADDRESS = "10.77.0.1"
DIRECTORY_ADDRESS = "10.77.0.2"
LAN_PREFIX = 24
PLATFORM_POOL = "10.77.16.0/20"
PLATFORM_PREFIX = 28
DNS_DOMAIN = "placo.internal"
EDGE_DOMAIN = "placo.localhost"
DIRECTORY_HOST = f"directory.{DNS_DOMAIN}"
GATEWAY_HOST = f"gateway.{DNS_DOMAIN}"
STORAGE_POOL = "placo"
#: The environment variable that every process of a lab carries: how a killed lab's remains are found again.
MARKER = "PLACO_LAB_ID"
#: The longest path a UNIX socket may have (sun_path of unix(7), without the closing NUL).
SOCKET_PATH_LIMIT = 107


@dataclass(frozen=True)
class Host:
    """One hypervisor of the lab: a network and mount namespace with its own libvirtd."""

    lab: Lab
    name: str
    address: str

    @property
    def namespace(self) -> str:
        """The network namespace's name."""
        return f"{self.lab.namespace}-{self.name}"

    @property
    def folder(self) -> Path:
        """What stays of this host between two starts: definitions, volumes, caches."""
        return self.lab.root / "hosts" / self.name

    @property
    def volumes(self) -> Path:
        """The storage pool's folder, as /var/lib/libvirt/placo to the host; empty where `pool_image` is mounted on it."""
        return self.folder / "lib" / STORAGE_POOL

    @property
    def pool_image(self) -> Path:
        """The file system that the storage pool lives in, if the host has one (deploy/lab/pools.py)."""
        return self.folder / "pool.img"

    @property
    def run(self) -> Path:
        """What stands for /run/libvirt on this host; emptied when the host goes down, as a reboot would."""
        return self.lab.run / self.name / "libvirt"

    @property
    def uri(self) -> str:
        """The libvirt connection URI, usable from every namespace (UNIX sockets cross them)."""
        return f"qemu+unix:///system?socket={self.lab.link}/{self.name}/libvirt/libvirt-sock"


@dataclass(frozen=True)
class Lab:
    """Paths and names of one lab.

    The id is the first six hex digits of the SHA-256 of the root's real path: two checkouts (or two roots) never
    share a namespace, a socket or a process.
    """

    root: Path

    @classmethod
    def at(cls, root: Path) -> Lab:
        """The lab whose root folder is `root` (made absolute, symbolic links resolved)."""
        return cls(root=Path(root).resolve())

    @property
    def id(self) -> str:
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:6]

    @property
    def namespace(self) -> str:
        """The portal's network namespace."""
        return f"placo-{self.id}"

    @property
    def link(self) -> Path:
        """A short symbolic link to `run`, because the path of a UNIX socket holds 107 bytes."""
        return Path("/run") / f"placo-{self.id}"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def programs(self) -> Path:
        """The start scripts of the supervised processes."""
        return self.root / "programs"

    @property
    def hosts(self) -> tuple[Host, ...]:
        return (Host(self, "h1", "10.77.0.11"), Host(self, "h2", "10.77.0.12"))

    @property
    def namespaces(self) -> tuple[str, ...]:
        return (self.namespace, *(host.namespace for host in self.hosts))

    @property
    def supervisor_socket(self) -> Path:
        return self.link / "supervisor.sock"

    @property
    def database_socket_folder(self) -> Path:
        return self.link / "postgres"

    @property
    def redis_socket(self) -> Path:
        return self.link / "redis" / "redis.sock"

    @property
    def directory_socket(self) -> Path:
        return self.link / "slapd" / "ldapi"

    @property
    def directory_uri(self) -> str:
        """The directory over its UNIX socket, as libldap writes it (slashes percent-encoded)."""
        return "ldapi://" + str(self.directory_socket).replace("/", "%2F")

    @property
    def portal_socket(self) -> Path:
        return self.link / "portal.sock"

    @property
    def edge_socket(self) -> Path:
        return self.link / "edge.sock"

    @property
    def edge_sockets(self) -> tuple[Path, ...]:
        """All UNIX sockets that the edge listens on; a killed nginx leaves them, and another one cannot listen there."""
        return self.edge_socket, *(self.run / f"edge-{name}.sock" for name in STREAMS)

    @property
    def edge(self) -> Path:
        return self.root / "edge"

    @property
    def gateway(self) -> Path:
        """What the mail gateway keeps: configuration, tables, queue; /var/lib/postfix to Postfix."""
        return self.root / "gateway"

    @property
    def names(self) -> Path:
        """What the DNS server keeps: configuration, key, zone."""
        return self.root / "names"

    @property
    def configuration(self) -> Path:
        return self.root / "placo.toml"

    @property
    def credentials(self) -> Path:
        return self.root / "credentials.json"

    @property
    def ca_certificate(self) -> Path:
        return self.root / "ca" / "ca.pem"

    @property
    def ca_key(self) -> Path:
        return self.root / "ca" / "ca.key"

    @property
    def python(self) -> Path:
        """The interpreter that runs this: the venv's, so that a lab uses what its checkout locked."""
        return Path(sys.executable)
