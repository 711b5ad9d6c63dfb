"""Templates of a libvirt host: machines of an image that were saved while they ran, and the clones that are resumed from them.

Measured on the reference machine a clone answers in a tenth of the time that a boot takes. Everything goes through
libvirt's API, so the host may be anywhere. libvirt itself is not imported here.

A template is ``<name>.qcow2``, ``<name>.save`` and ``<name>.blank.qcow2`` in the host's pool. It is there when its memory is *sealed*
(placo/drivers/save_image.py), which is the last thing done. Its disk is never written again: clones lie over it.
"""

from __future__ import annotations

import hashlib
import io
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from placo.drivers import libvirt_clone_xml as clone_xml
from placo.drivers import save_image, volumes
from placo.drivers.guest_agent import AgentMissing, GuestAgent, NoSuchFile
from placo.drivers.libvirt_codes import DomainFlag, ErrorCode, fine_if, power_of
from placo.drivers.libvirt_xml import MACHINE
from placo.drivers.ports import (
    DomainSpec,
    DriverError,
    Power,
    Rejected,
    TemplateBroken,
    TemplateSpec,
    TemplateState,
)

if TYPE_CHECKING:
    import libvirt

RECIPE = 1
"""Grows when templates are made in another way: old ones are then made again."""
BOOT_S, SETTLE_S, DETACH_S = 240, 180, 30
AGENT_POLL_S, RESULT_POLL_S = 0.5, 0.08
TAKING_S = 0.4
"""A guest is not asked before: each question costs it time that it needs for its settings."""
INBOX = "/run/placo/clone"
"""Where guest/usr/sbin/placo-personalise waits for the order."""
_NAME = re.compile(r"(?P<name>.+--[0-9a-f]{8}(-[0-9]+)?)\.(?P<part>qcow2|save|blank\.qcow2)")


class Pool(volumes.VolumeStore, Protocol):
    """The storage of a host, with copies made there."""

    def copy(self, volume: str, source: str, capacity: int, format: str) -> None:
        """A new volume with the content of another one, by reference where the storage can."""

    def path(self, volume: str) -> str: ...

    def length(self, volume: str) -> int:
        """Bytes of a raw volume as it is now."""

    def used(self, volume: str) -> int:
        """Bytes that a volume takes."""

    def names(self) -> list[str]: ...


class Templates:
    """Implements the part of `placo.drivers.ports.Hypervisor` that is about templates, for one host.

    `agent` makes the agent of a domain, `definition` the XML of a domain as the host would define it.
    """

    def __init__(
        self,
        name: str,
        connection: Callable[[], libvirt.virConnect],
        pool: Pool,
        agent: Callable[[libvirt.virDomain], GuestAgent],
        definition: Callable[[DomainSpec], str],
    ) -> None:
        self.name = name
        self._connection, self._pool, self._agent, self._definition = connection, pool, agent, definition

    # --- making ------------------------------------------------------------------------------------------------------

    def key(self, spec: TemplateSpec, cpu: str, domain_type: str) -> str:
        connection = self._connection()
        if connection.getType() != "QEMU":
            raise Rejected(f"{self.name}: {connection.getType()} does not resume saved machines for PLACO")
        parts = [RECIPE, *vars(spec).values(), domain_type, MACHINE, cpu]
        parts += [connection.getVersion(), connection.getLibVersion()]
        if cpu.startswith("host-"):
            parts.append(connection.getCapabilities())  # the processor of this very host
        return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:8]

    def ensure(self, name: str, spec: TemplateSpec) -> None:
        try:
            if self.state(name) is not None:
                return
        except TemplateBroken:
            if self._lies_under_clones(name):
                raise
        self._clear(name)
        volumes.ensure_overlay(self._pool, disk_of(name), spec.image, spec.system_disk_gib)
        volumes.ensure_volume(self._pool, blank_of(name), spec.data_volume_gib)
        definition = clone_xml.template_xml(self._definition(template_domain(name, spec)))
        domain = self._connection().createXML(definition, 0)
        try:
            self._prepare(domain, name)
            self._pool.create(memory_of(name), 0, "raw")
            domain.save(self._pool.path(memory_of(name)))
        finally:
            with fine_if(ErrorCode.NO_DOMAIN, ErrorCode.OPERATION_INVALID):  # it ends by being saved
                domain.destroy()
        self._seal(name)

    def _prepare(self, domain: libvirt.virDomain, name: str) -> None:
        """Everything that a template does before it is saved."""
        agent = self._agent(domain)
        _wait(agent.ping, BOOT_S, AGENT_POLL_S, f"{self.name}: template {name}: its guest agent")
        blank = clone_xml.disk_xml(clone_xml.DATA_DEVICE, self._pool.path(blank_of(name)))
        domain.attachDeviceFlags(blank, DomainFlag.AFFECT_LIVE)
        agent.run("/usr/lib/placo/blank", timeout_s=SETTLE_S)
        domain.detachDeviceFlags(blank, DomainFlag.AFFECT_LIVE)

        def unplugged() -> bool:
            return not clone_xml.has_disk(domain.XMLDesc(), blank_of(name))

        _wait(unplugged, DETACH_S, AGENT_POLL_S, f"{self.name}: template {name}: letting go of a disk")
        agent.run("/usr/lib/placo/settle", timeout_s=SETTLE_S)  # leaves its file systems frozen

    def _seal(self, name: str) -> None:
        head = self._head(memory_of(name))
        if head.magic != save_image.LIBVIRT_MAGIC:
            raise DriverError(f"{self.name}: template {name}: its memory was not saved to the end")
        size = self._pool.length(memory_of(name))
        described = clone_xml.with_size(head.xml, size)
        self._write_head(memory_of(name), replace(head, magic=save_image.SEALED_MAGIC, xml=described))

    def _clear(self, name: str) -> None:
        """What a maker that died has left. There is no clone of it: it was never sealed."""
        with fine_if(ErrorCode.NO_DOMAIN, ErrorCode.OPERATION_INVALID):
            self._connection().lookupByName(domain_of(name)).destroy()
        for volume in (memory_of(name), blank_of(name), disk_of(name)):
            self._pool.delete(volume)

    # --- looking -----------------------------------------------------------------------------------------------------

    def state(self, name: str) -> TemplateState | None:
        if self._pool.find(memory_of(name)) is None:
            return None
        head = self._read(memory_of(name), save_image.HEAD_LENGTH)
        if len(head) < save_image.MAGIC_LENGTH or head[: save_image.MAGIC_LENGTH] != save_image.SEALED_MAGIC:
            if self._pool.find(disk_of(name)) is not None and self._lies_under_clones(name):
                raise TemplateBroken(f"{self.name}: template {name}: its memory is damaged at its beginning")
            return None
        self._sealed(name)
        return TemplateState(
            memory_bytes=self._pool.used(memory_of(name)),
            disk_bytes=self._pool.used(disk_of(name)) + self._pool.used(blank_of(name)),
        )

    def _sealed(self, name: str) -> save_image.SaveHead:
        """The head of a template's memory; TemplateBroken unless all three parts of it are there and whole."""
        for volume in (memory_of(name), disk_of(name), blank_of(name)):
            if self._pool.find(volume) is None:
                raise TemplateBroken(f"{self.name}: template {name}: {volume} is missing")
        head = self._head(memory_of(name))
        if head.magic != save_image.SEALED_MAGIC:
            raise TemplateBroken(f"{self.name}: template {name}: its memory is not sealed")
        size, expected = self._pool.length(memory_of(name)), clone_xml.size_of(head.xml)
        if size != expected:
            raise TemplateBroken(
                f"{self.name}: template {name}: {size} of {expected} bytes of its memory are there"
            )
        return head

    def remove_all(self, image_prefix: str, keep: Iterable[str]) -> list[str]:
        kept, removed = set(keep), []
        found: dict[str, set[str]] = {}
        for volume in self._pool.names():
            if (match := _NAME.fullmatch(volume)) and volume.startswith(image_prefix):
                found.setdefault(match["name"], set()).add(volume)
        for name in sorted(set(found) - kept):
            gone = found[name] - {disk_of(name)}
            if disk_of(name) in found[name] and not self._lies_under_clones(name):
                gone.add(disk_of(name))
            # The memory first: without it nobody takes the rest for a template.
            for volume in sorted(gone, key=lambda v: v != memory_of(name)):
                self._pool.delete(volume)
                removed.append(volume)
        return removed

    def _lies_under_clones(self, name: str) -> bool:
        disk = self._pool.find(disk_of(name))
        if disk is None:
            return False
        states = (self._pool.find(volume) for volume in self._pool.names())
        return any(state is not None and state.backing_path == disk.path for state in states)

    # --- cloning -----------------------------------------------------------------------------------------------------

    def clone_disk(self, volume: str, template: str, size_gib: int) -> None:
        if self._pool.find(disk_of(template)) is None:
            raise TemplateBroken(f"{self.name}: template {template}: its disk is missing")
        volumes.ensure_overlay(self._pool, volume, template, size_gib)

    def clone_data(self, volume: str, template: str) -> None:
        blank = self._pool.find(blank_of(template))
        if blank is None:
            raise TemplateBroken(f"{self.name}: template {template}: its blank data volume is missing")
        self._pool.delete(volume)
        self._pool.copy(volume, blank_of(template), blank.capacity, "qcow2")

    def clone_memory(self, volume: str, template: str, spec: DomainSpec) -> None:
        head = self._sealed(template)
        # Looked up before anything is copied: what cannot be resumed need not be.
        described = clone_xml.clone_xml(head.xml, spec, self._pool.path(spec.system_volume))
        size = clone_xml.size_of(head.xml)
        new = replace(head, magic=save_image.LIBVIRT_MAGIC, xml=described)
        save_image.build(new)
        self._pool.delete(volume)
        self._pool.copy(volume, memory_of(template), size, "raw")
        self._write_head(volume, new)

    def resume(self, spec: DomainSpec, memory_volume: str) -> None:
        domain = self._connection().lookupByUUIDString(spec.uuid)
        if not domain.isActive():
            path = self._pool.path(memory_volume)
            with fine_if(ErrorCode.OPERATION_INVALID):  # resumed in the meantime
                self._connection().restoreFlags(path, None, DomainFlag.SAVE_PAUSED)
        live = domain.XMLDesc()
        if not clone_xml.has_disk(live, spec.data_volume):
            disk = clone_xml.disk_xml(clone_xml.DATA_DEVICE, self._pool.path(spec.data_volume))
            domain.attachDeviceFlags(disk, DomainFlag.AFFECT_LIVE)
        if power_of(domain.state()[0]) is Power.PAUSED:
            domain.resume()

    def _plug_in_nic(self, domain: libvirt.virDomain, spec: DomainSpec) -> None:
        if not clone_xml.has_nic(domain.XMLDesc(), spec.mac):
            domain.attachDeviceFlags(clone_xml.nic_xml(spec, link="down"), DomainFlag.AFFECT_LIVE)

    def personalise(self, spec: DomainSpec, archive: bytes, patience_s: float) -> bool:
        domain = self._connection().lookupByUUIDString(spec.uuid)
        # The host needs half a second for a NIC and its filter, the guest as long to wake up: both at once.
        with ThreadPoolExecutor(1) as other:
            nic = other.submit(self._plug_in_nic, domain, spec)
            taken = self._hand_over(domain, spec, archive, time.monotonic() + patience_s)
            nic.result()
        if taken:
            domain.updateDeviceFlags(clone_xml.nic_xml(spec, link="up"), DomainFlag.AFFECT_LIVE)
            domain.setAutostart(1)
        return taken

    def _hand_over(self, domain: libvirt.virDomain, spec: DomainSpec, archive: bytes, end: float) -> bool:
        """Bring the archive in, wait until the guest says that it has taken it."""
        agent, ordered = self._agent(domain), False
        while True:
            if power_of(domain.state()[0]) is not Power.RUNNING:
                raise DriverError(f"{self.name}: {spec.name} stopped before it had its settings")
            try:
                if not ordered:
                    ordered = self._order(agent, archive)
                    time.sleep(min(TAKING_S, max(end - time.monotonic(), 0)))
                if self._personalised(agent, spec):
                    return True
            except AgentMissing:
                pass  # right after it was resumed
            if time.monotonic() > end:
                return False
            time.sleep(RESULT_POLL_S)

    @staticmethod
    def _order(agent: GuestAgent, archive: bytes) -> bool:
        try:
            agent.read(f"{INBOX}/order")
        except NoSuchFile:
            agent.write(f"{INBOX}/archive", archive)
            agent.write(f"{INBOX}/order", f"{len(archive)} {time.time():.3f}\n".encode())
        return True

    def _personalised(self, agent: GuestAgent, spec: DomainSpec) -> bool:
        try:
            result = agent.read(f"{INBOX}/result").decode(errors="replace").strip()
        except NoSuchFile:
            return False
        if result and result != f"ok {spec.uuid}":
            raise DriverError(f"{self.name}: {spec.name} did not take its settings: {result[:500]}")
        return bool(result)

    # --- heads of saved memory ---------------------------------------------------------------------------------------

    def _read(self, volume: str, length: int) -> bytes:
        return self._pool.read(volume, length)

    def _head(self, volume: str) -> save_image.SaveHead:
        start = self._read(volume, save_image.HEAD_LENGTH + 128 * 1024)
        wanted = save_image.HEAD_LENGTH + save_image.room_of(start)
        return save_image.parse(start if len(start) >= wanted else self._read(volume, wanted))

    def _write_head(self, volume: str, head: save_image.SaveHead) -> None:
        """The magic last: a head that was half written is none."""
        data = save_image.build(head)
        self._pool.write(volume, io.BytesIO(data), save_image.MAGIC_LENGTH, len(data))
        self._pool.write(volume, io.BytesIO(data), 0, save_image.MAGIC_LENGTH)


def disk_of(template: str) -> str:
    """The volume of a template's disk."""
    return f"{template}.qcow2"


def memory_of(template: str) -> str:
    """The volume of its saved memory."""
    return f"{template}.save"


def blank_of(template: str) -> str:
    """The volume of an empty data volume with a file system."""
    return f"{template}.blank.qcow2"


def domain_of(template: str) -> str:
    """The name of the domain while it is made."""
    return f"{template}--template"


def template_domain(name: str, spec: TemplateSpec) -> DomainSpec:
    """The domain that a template is while it is made; it is never defined, and has no network."""
    return DomainSpec(
        name=domain_of(name),
        uuid="00000000-0000-4000-8000-" + hashlib.sha256(name.encode()).hexdigest()[:12],
        title=f"PLACO template {name}",
        memory_mib=spec.memory_mib,
        vcpus=spec.vcpus,
        image=spec.image,
        system_volume=disk_of(name),
        data_volume=blank_of(name),
        seed_volume=None,
        network="none",
        mac="52:54:00:00:00:00",
        address="",
        platform_uuid="",
    )


def _wait(look: Callable[[], bool], seconds: float, every_s: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() > end:
            raise DriverError(f"{what}: waited {seconds:.0f} s in vain")
        time.sleep(every_s)
