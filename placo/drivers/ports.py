"""The contracts between PLACO and the outside world.

A driver implements one of these protocols. Every ``ensure_*`` and ``remove_*`` is idempotent: "already there" and
"already gone" are successes, and a call that was interrupted at any line may be repeated. What is there under the right
name but with another content is brought to the asked content where that destroys nothing, else `Rejected` is raised.

Drivers know neither Django nor the database: they get frozen values and return frozen values. Names of the objects they
make come from the plan, so that a driver never invents one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from placo.domain.names import Record


class DriverError(Exception):
    """Something went wrong that may go right when tried again; the message is for an administrator."""


class Unavailable(DriverError):
    """The other side does not answer (host unreachable, directory down)."""


class Rejected(DriverError):
    """A definitive refusal: trying again cannot help. Unwinds a run."""


class PasswordRefused(Rejected):
    """The directory's policy does not take this password."""


class TemplateBroken(Rejected):
    """A saved template cannot be used: damaged, cut off, or a part of it is gone. It has to be made again."""


# --- hypervisors -----------------------------------------------------------------------------------------------------


class Power(StrEnum):
    """What a domain is doing, as PLACO needs to know it."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    MISSING = "missing"


@dataclass(frozen=True)
class ImageFiles:
    """An image on this machine: `name` is its identity (it ends in the content hash), sizes in bytes.

    A stock image (placo.domain.stock) has no kernel and initrd beside its disk: it boots by its own boot loader.
    """

    name: str
    disk: Path
    kernel: Path | None
    initrd: Path | None
    virtual_size: int


@dataclass(frozen=True)
class Lease:
    """One DHCP reservation and the DNS name that goes with it."""

    mac: str
    address: str
    hostname: str


@dataclass(frozen=True)
class NetworkSpec:
    """A platform's network on its host: bridge (at most 15 characters), IPv4 subnet, reservations, extra DNS names."""

    name: str
    uuid: str
    bridge: str
    mac: str
    gateway: str
    prefix: int
    dns_domain: str
    leases: tuple[Lease, ...]
    dns_hosts: tuple[tuple[str, str], ...] = ()  # (address, name)


@dataclass(frozen=True)
class DomainSpec:
    """One machine as the hypervisor shall see it. Volumes are names in the host's pool; memory in MiB."""

    name: str
    uuid: str
    title: str
    memory_mib: int
    vcpus: int
    image: str
    system_volume: str
    data_volume: str
    seed_volume: str | None
    network: str
    mac: str
    address: str
    platform_uuid: str


@dataclass(frozen=True)
class TemplateSpec:
    """What decides what a template is, beside its host: an image and the sizes of its clones (MiB, GiB)."""

    image: str
    memory_mib: int
    vcpus: int
    system_disk_gib: int
    data_volume_gib: int


@dataclass(frozen=True)
class TemplateState:
    """A template on its host: what its volumes take there, in bytes."""

    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class DomainInfo:
    """A domain found on a host. `platform_uuid` is None for a domain that PLACO did not make.

    `memory_mib` and `vcpus`: what a running one has, what any other one will be started with; 0 where the host did not say.
    """

    name: str
    uuid: str
    power: Power
    autostart: bool
    platform_uuid: str | None
    memory_mib: int = 0
    vcpus: int = 0


@dataclass(frozen=True)
class Inventory:
    """Everything in a host that could belong to PLACO, from a few bulk calls: names of volumes and networks.

    `idle_networks` are those of the networks that are only defined: no guest is connected by them.
    """

    domains: tuple[DomainInfo, ...]
    volumes: tuple[str, ...]
    networks: tuple[str, ...]
    idle_networks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class HostStatus:
    """What a host says of itself; memory in MiB, disk in GiB."""

    hypervisor: str
    version: str
    vcpus: int
    memory_mib: int
    memory_free_mib: int
    disk_gib: int
    disk_free_gib: int
    nwfilter: bool
    overlay: bool


@dataclass(frozen=True)
class DomainEvent:
    """Something happened to a domain. `power` is what it does now, None when that is to be asked (its definition changed)."""

    uuid: str
    power: Power | None


class Watch(Protocol):
    """Somebody who listens to a host."""

    @property
    def alive(self) -> bool:
        """Events still come. False once the connection has broken: they were missed since, and another watch is needed."""

    def close(self) -> None:
        """No event comes afterwards."""


class Hypervisor(Protocol):
    """One host. All calls are safe from several threads; each raises Unavailable when the host does not answer."""

    def status(self) -> HostStatus: ...

    def inventory(self) -> Inventory: ...

    def watch(self, callback: Callable[[DomainEvent], None]) -> Watch:
        """Have `callback` called, from a thread of the driver's, for each change in the life of a domain. It has to return at once."""

    def ensure_image(self, image: ImageFiles) -> None:
        """Upload disk, kernel and initrd, those that it has, as volumes ``<image>.qcow2``, ``.vmlinuz``, ``.initrd``; a half
        upload is redone."""

    def ensure_network(self, spec: NetworkSpec) -> None:
        """Defined, active and started with the host. A changed reservation is updated in place."""

    def remove_network(self, name: str) -> None: ...

    def ensure_overlay(self, volume: str, image: str, size_gib: int) -> None:
        """A system disk: copy-on-write over the image's disk."""

    def ensure_volume(self, volume: str, size_gib: int) -> None:
        """An empty data volume. An existing one keeps its content; a smaller one is never made of it."""

    def grow_volume(self, uuid: str, volume: str, size_gib: int) -> None:
        """Make a data volume larger, under its domain if that runs. What it holds is not changed; it never shrinks."""

    def grow_file_system(self, uuid: str) -> bool:
        """Have a running domain's file system fill its data volume; False while the guest does not answer."""

    def tell_settings(self, uuid: str, archive: bytes) -> bool:
        """Hand a running domain another settings archive, and wait until its guest has taken it; False while that does not answer.

        Rejected by a guest that never can: its image is older than that."""

    def ensure_content(self, volume: str, content: bytes) -> None:
        """A raw volume with exactly this content (a seed)."""

    def remove_volume(self, volume: str) -> None: ...

    def ensure_domain(self, spec: DomainSpec) -> None:
        """Defined, not necessarily running."""

    def start_domain(self, uuid: str) -> None:
        """Running, and started with its host from now on."""

    def suspend_domain(self, uuid: str) -> Power:
        """Hold a running domain in memory and clear autostart; `start_domain` has it go on. Returns the power it has now."""

    def shutdown_domain(self, uuid: str) -> Power:
        """Ask the guest to power off and clear autostart; returns at once with the power it has now."""

    def kill_domain(self, uuid: str) -> None:
        """Power off at once and clear autostart."""

    def power(self, uuid: str) -> Power: ...

    def detach_seed(self, uuid: str, seed_volume: str) -> bool:
        """Take the seed disk out of the running domain and of its definition; False while the guest still holds it."""

    def remove_domain(self, uuid: str) -> None:
        """Gone, running or not. Its volumes stay."""

    # Templates: a machine of an image that was booted once, without identity, and saved while it ran. A template is three
    # volumes: ``<name>.qcow2`` (its disk, over the image's), ``<name>.save`` (its memory), ``<name>.blank.qcow2`` (a data volume).

    def template_key(self, spec: TemplateSpec) -> str:
        """Eight hexadecimal digits that change with everything that a saved memory depends on: the image, the sizes, the
        versions of hypervisor and libvirt, processor model, kind of machine. Rejected, with the reason, where there can be none."""

    def ensure_template(self, name: str, spec: TemplateSpec) -> None:
        """Boot, settle, save. Takes a boot's time. What a call that died has left under this name is removed first."""

    def template(self, name: str) -> TemplateState | None:
        """None when it was not made, or not to its end; TemplateBroken when something is wrong with what was."""

    def remove_templates(self, image_prefix: str, keep: Iterable[str]) -> list[str]:
        """Remove all templates of images whose names begin like this but those in `keep`; the names of what was removed.

        The disk of a template stays for as long as clones lie over it."""

    def ensure_clone_disk(self, volume: str, template: str, size_gib: int) -> None:
        """A system disk: copy-on-write over the template's."""

    def ensure_clone_data(self, volume: str, template: str) -> None:
        """A data volume as the template's blank one; one that exists is made anew: only for a machine that never ran."""

    def ensure_clone_memory(self, volume: str, template: str, spec: DomainSpec) -> None:
        """A private copy of the template's memory that resumes as the domain `spec`. A copy that exists is made anew."""

    def resume_clone(self, spec: DomainSpec, memory_volume: str) -> None:
        """Running as its template did, with its data volume, without a NIC. It was defined before."""

    def personalise(self, spec: DomainSpec, archive: bytes, patience_s: float) -> bool:
        """Plug in a resumed clone's NIC, its link down, and hand it its settings; when it has taken them: link up, started
        with its host from now on.

        False when it has not answered within `patience_s` seconds: to be asked again. Repeated, it does nothing twice."""


# --- directory -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Person:
    """Somebody in the directory. `guest`: the account is the portal's own, and opens nothing from `ends_at` on."""

    uid: str
    name: str
    mail: str
    guest: bool = False
    ends_at: datetime | None = None


@dataclass(frozen=True)
class MachineAccount:
    """How a machine binds to the directory; its `seeAlso` is the members' group of its platform."""

    machine: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class DirectoryStatus:
    """What the directory says of itself: how many people, which overlays it lacks, of which that cannot be seen from here."""

    people: int
    missing: tuple[str, ...]
    unseen: tuple[str, ...]


@dataclass(frozen=True)
class StandIns:
    """What proofs have made and not taken away: uids of accounts, slug -> uuid of platforms."""

    uids: tuple[str, ...]
    platforms: Mapping[str, str]


class Directory(Protocol):
    """The one LDAP base. uids are looked up exactly (escaped), never as patterns."""

    def status(self) -> DirectoryStatus:
        """DriverError when the portal's account cannot bind or cannot read the base."""

    def person(self, uid: str) -> Person | None: ...

    def people(self, uids: Iterable[str]) -> Mapping[str, Person]:
        """Those of these who are there, by their uid as the directory writes it; in few calls, however many are asked for."""

    def person_with_mail(self, mail: str) -> Person | None:
        """Whose address this is, whatever its case; None for nobody, and for what cannot be an address in the directory."""

    def search_people(self, text: str, limit: int = 10) -> list[Person]:
        """People whose uid, name or mail contains `text`, best first, at most `limit`."""

    def ensure_platform(
        self, slug: str, uuid: str, owners: Iterable[str], addresses: Iterable[str] = ()
    ) -> None:
        """The subtree ou=<slug> with owners and members; owners are members too. Rejected if another uuid holds the slug.

        `addresses` are exactly those that the platform's machines are to find there (`Plan.addresses`)."""

    def ensure_machine_account(self, slug: str, account: MachineAccount) -> None: ...

    def remove_machine_account(self, slug: str, machine: str) -> None: ...

    def remove_platform(self, slug: str, uuid: str) -> None:
        """The whole subtree, if it belongs to `uuid`."""

    def ensure_member(self, slug: str, uid: str, *, owner: bool = False) -> None:
        """Rejected if there is no such person or platform."""

    def remove_member(self, slug: str, uid: str) -> None: ...

    def remove_owner(self, slug: str, uid: str) -> None:
        """No owner any more, but still a member."""

    def members(self, slug: str) -> Mapping[str, bool]:
        """uid -> is owner; empty when there is no such platform."""

    def platforms(self) -> Mapping[str, str]:
        """slug -> platform uuid of every subtree."""

    # Guests: accounts of people from outside, which the portal alone makes, changes and removes.

    def ensure_guest(self, person: Person) -> None:
        """This account with this name, address and end; its password is kept, and it cannot bind before it has one.

        Rejected when somebody who is no guest has the uid, or somebody else the address."""

    def remove_guest(self, uid: str) -> None:
        """Gone, from all groups too. Whoever is no guest stays."""

    def guests(self) -> list[Person]: ...

    def set_guest_password(self, uid: str, password: str) -> None:
        """PasswordRefused by the policy; Rejected for somebody who is no guest. Opens an account that failures had locked."""

    def change_guest_password(self, uid: str, old: str, new: str) -> bool:
        """As the person does it: False, and counted as a failed login, when `old` is not the password."""

    # Public keys of ssh, of guests and of everybody else.

    def ssh_keys(self) -> Mapping[str, tuple[str, ...]]:
        """uid -> keys, sorted, of all who have any, stand-ins left out."""

    def set_ssh_keys(self, uid: str, keys: Iterable[str]) -> None:
        """Exactly these keys, which the machines of the person's platforms may read; none removes the entry. Rejected when keys
        are given for somebody who is not there."""

    # Stand-ins (domain/stand_ins.py): guests, and platforms without machines, that a proof makes for a while by the calls above. No
    # other call shows them: they are nobody whom one could look up, and on no list.

    def stand_ins(self) -> StandIns:
        """Those that are there."""

    def administrators(self) -> frozenset[str]:
        """uids in cn=admins,ou=groups; guests are none."""

    def project_owners(self, project: str) -> frozenset[str]:
        """uids in cn=<project>,ou=projects; empty when there is no such group. Guests own nothing."""

    def entries(self, slug: str) -> list[str]:
        """DNs below and including ou=<slug>."""

    def machine_dn(self, slug: str, machine: str) -> str: ...

    def group_dn(self, slug: str, group: str) -> str:
        """`group` is "members" or "owners"."""


# --- edge, certificates, probes ---------------------------------------------------------------------------------------


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


@dataclass(frozen=True)
class MailDomain:
    """A domain of mail addresses. Its mail goes to `port` of a machine, in TLS from the first byte, with the machine's certificate
    checked for `upstream_name`; of all machines only the one at `address` may send as this domain."""

    domain: str
    address: str
    port: int
    upstream_name: str


class MailGateway(Protocol):
    """The mail exchanger of all platforms' domains, and the only way out for their mail. Knows a platform's domains and nothing
    else of it: which addresses there are is asked of the machine."""

    def answers(self) -> bool:
        """Whether it greets. Takes a few seconds at most."""

    def queued(self) -> int | None:
        """How many mails wait to go on; None when this process may not look. Asks nobody."""

    def ensure_domains(self, slug: str, uuid: str, domains: Iterable[MailDomain]) -> None:
        """Exactly these; none is as good as removing them. Rejected for a domain or a slug that another platform has."""

    def remove_domains(self, slug: str, uuid: str) -> None: ...

    def domains(self) -> Mapping[str, str]:
        """slug -> platform uuid of all that have any."""


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


@dataclass(frozen=True)
class KeyPair:
    """A PEM certificate chain and its private key."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class SshKey:
    """A key pair in OpenSSH's formats."""

    private: bytes = field(repr=False)
    public: bytes


class CertificateAuthority(Protocol):
    def issue(self, names: Iterable[str]) -> KeyPair: ...

    def root(self) -> bytes:
        """PEM of the root that clients trust."""


@dataclass(frozen=True)
class ProbeResult:
    """`answer` says in words what came back (for the screen)."""

    healthy: bool
    answer: str


class Prober(Protocol):
    def https(self, host: str, path: str, expect_status: Iterable[int], timeout_s: float) -> ProbeResult:
        """Ask through the edge, as a user would, checking the certificate."""

    def greeting(
        self, host: str, protocol: str, timeout_s: float, edge_port: int | None = None
    ) -> ProbeResult:
        """Whether a server greets in a protocol other than HTTPS, through the edge, checking the certificate; in ssh, which has
        none, at `edge_port`."""


# --- images ----------------------------------------------------------------------------------------------------------


class Images(Protocol):
    """The built images of the catalogue's machines."""

    def name_for(self, machine: str) -> str:
        """The name of the current image of a kind of machine, built or not."""

    def files(self, name: str) -> ImageFiles:
        """The files of a built image; Rejected when it has not been built here."""
