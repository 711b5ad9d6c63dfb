"""A host of virtual machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from placo.drivers.ports.images import ImageFiles


class Power(StrEnum):
    """What a domain is doing, as PLACO needs to know it."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    MISSING = "missing"


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
