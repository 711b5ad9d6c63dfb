"""The site configuration: one TOML file, named by the environment variable PLACO_CONFIG.

Secrets are never in it: it names files (mode 0600) that hold them. The lab writes one (`deploy/lab`); the administrator of
a real site writes theirs after `deploy/placo.toml.example`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, IPvAnyAddress, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

ROOT = Path(__file__).resolve().parent.parent
_STRICT = ConfigDict(extra="forbid")
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


class ConfigError(Exception):
    """The configuration file cannot be used; the message names file, key and remedy."""


@checked(frozen=True, config=_STRICT)
class Site:
    """The site as a whole. `templates_ahead`: hosts have templates of all kinds of machine before anybody asks for one; else of
    those that open requests and living platforms have there.
    """

    name: str
    portal_url: str
    secret_key_file: Path
    catalogue: Path
    image_cache: Path
    state_dir: Path
    templates_ahead: bool = True


@checked(frozen=True, config=_STRICT)
class Database:
    host: str
    name: str
    user: str


@checked(frozen=True, config=_STRICT)
class Redis:
    url: str


@checked(frozen=True, config=_STRICT)
class Directory:
    uri: str
    base: str
    bind_dn: str
    password_file: Path
    ca_file: Path
    guest_host: str
    guest_address: str
    guest_port: int = 636


@checked(frozen=True, config=_STRICT)
class Edge:
    """The reverse proxy, at `address` and, if the site has IPv6, at `address6`. Each platform has four ports there for ssh, from
    `first_ssh_port` on."""

    domain: str
    port: int
    sites_dir: Path
    certificates_dir: Path
    pid_file: Path
    config_file: Path
    socket: Path
    address: str
    includes: tuple[Path, ...] = ()
    address6: IPv6Address | None = None
    first_ssh_port: Annotated[int, Field(ge=1024, le=65532)] = 22000


@checked(frozen=True, config=_STRICT)
class Gateway:
    """The mail gateway: machines reach it at `address` and `port` under the name `host`, which its certificate has.

    `tables_dir` is where the portal writes what it knows of platforms, `queue_dir` Postfix's queue.
    """

    host: str
    address: str
    tables_dir: Path
    queue_dir: Path
    port: Annotated[int, Field(ge=1, le=65535)] = 25


@checked(frozen=True, config=_STRICT)
class Dns:
    """The server that takes changes of the zone `edge.domain` (RFC 2136), signed with the key `key_name` (hmac-sha256, base64 in `key_file`).

    `addresses` are the edge's public ones; `mail_exchanger` is the mail gateway's public name, if that is not `gateway.host`.
    """

    server: IPvAnyAddress
    key_name: str
    key_file: Path
    addresses: Annotated[tuple[IPvAnyAddress, ...], Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] = 53
    ttl_s: Annotated[int, Field(ge=1, le=86400)] = 300
    mail_exchanger: Annotated[str, Field(pattern=rf"^({_LABEL}(\.{_LABEL})*)?$", max_length=253)] = ""


@checked(frozen=True, config=_STRICT)
class Ca:
    certificate_file: Path
    key_file: Path


@checked(frozen=True, config=_STRICT)
class Network:
    pool: IPv4Network
    prefix: int
    dns_domain: str


@checked(frozen=True, config=_STRICT)
class Host:
    name: str
    uri: str
    hypervisor: str
    storage_pool: str
    domain_type: str
    warm: bool = True
    resumes_at_once: int = 3


@checked(frozen=True, config=_STRICT)
class Metrics:
    """Who may read /metrics: whoever sends the token in this file. Without this table there is no such page."""

    token_file: Path


@checked(frozen=True, config=_STRICT)
class Quota:
    platforms: int
    machines: int
    vcpus: int
    memory_mib: int
    disk_gib: int


@checked(frozen=True, config=_STRICT)
class Project:
    slug: str
    title: str
    quota: Quota
    max_days: int


Days = Annotated[int, Field(ge=1, le=3650)]


@checked(frozen=True, config=_STRICT)
class Expiry:
    """What happens around the end date of platforms; everything in days."""

    reminders: tuple[Days, ...] = (30, 7, 1)
    grace_days: Days = 30
    renewal_days: Days = 30
    renewable_without_approval: bool = True


@checked(frozen=True, config=_STRICT)
class Mail:
    """How notices leave: by SMTP, or as files in `folder`. `language` is for people whose language is not known."""

    sender: str
    host: str = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    security: Literal["none", "starttls", "tls"] = "none"
    user: str = ""
    password_file: Path | None = None
    folder: Path | None = None
    language: Literal["en", "fr", "both"] = "both"


@checked(frozen=True, config=_STRICT)
class People:
    """Guests: for how long an invitation may be accepted, after how long without any platform an account is removed.

    `password_help` is where people of the laboratory change their password: a URL, or a sentence.
    """

    invitation_days: Annotated[int, Field(ge=1, le=90)] = 7
    guest_grace_days: Days = 30
    invitations_per_hour: Annotated[int, Field(ge=1, le=1000)] = 20
    password_help: str = ""


@checked(frozen=True, config=_STRICT)
class Proofs:
    """How often it is tried who is let in to a platform that is ready, in hours; 0 for never but on demand."""

    every_hours: Annotated[int, Field(ge=0, le=24 * 365)] = 24


@checked(frozen=True, config=_STRICT)
class SiteConfig:
    """The whole file. Paths are absolute or relative to the file's folder. Without `mail` the portal sends none; without
    `gateway` there is no service with mail addresses; without `dns` somebody else makes the names of platforms known."""

    site: Site
    database: Database
    redis: Redis
    directory: Directory
    edge: Edge
    ca: Ca
    network: Network
    metrics: Metrics | None = None
    gateway: Gateway | None = None
    dns: Dns | None = None
    hosts: tuple[Host, ...] = ()
    projects: tuple[Project, ...] = ()
    expiry: Expiry = Expiry()
    mail: Mail | None = None
    people: People = People()
    proofs: Proofs = Proofs()


@dataclass(frozen=True)
class Loaded:
    """A configuration and the file that it came from."""

    path: Path
    config: SiteConfig


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The file in use: $PLACO_CONFIG or the default lab's."""
    return Path(environ.get("PLACO_CONFIG") or ROOT / "var" / "lab" / "placo.toml")


def load(path: Path | None = None) -> Loaded:
    """Read and check the configuration; raises ConfigError."""
    path = path or config_path()
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: not found. Start the lab with `make up`, or set PLACO_CONFIG.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        config = TypeAdapter(SiteConfig).validate_python(data)
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)
        ]
        raise ConfigError("\n".join(lines)) from None
    if config.dns and config.edge.address6 is None and any(a.version == 6 for a in config.dns.addresses):
        raise ConfigError(
            f"{path}: dns.addresses: names would lead to an address of IPv6 at which the edge does not listen. "
            "Write edge.address6, or leave that address out."
        )
    return Loaded(path, config)


def read_secret(path: Path) -> str:
    """The content of a secret file, without its trailing newline; raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
