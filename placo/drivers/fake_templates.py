"""Templates of a fake host: what concerns volumes is the real driver's own code, on small files with real heads.

Instead of QEMU's memory a few bytes follow the head, of which the last say whether all have arrived. Beyond the operations
of the contract `faults` knows these points in the middle of them: ``boot``, ``save``, ``seal`` (a template is made),
``copy``, ``upload`` (memory is copied, its new head is written), ``restored`` (a clone lies paused in memory), ``plug``
(its NIC comes), ``settled`` (it took its settings, its link is still down).
"""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

from lxml import etree

from placo.drivers import libvirt_clone_xml as clone_xml
from placo.drivers import libvirt_xml, save_image, volumes
from placo.drivers.fake_storage import FakePool, Shelf
from placo.drivers.faults import Faults
from placo.drivers.ports import DomainSpec, DriverError, Power, TemplateBroken, TemplateSpec
from placo.drivers.templates import Templates, blank_of, disk_of, domain_of, memory_of, template_domain

PARTIAL_MAGIC = b"LibvirtQemudPart"
"""What libvirt writes first, and replaces when all of the memory is there."""
MEMORY = b"QEVM" + bytes(4096) + b"end of memory"
ROOM = 16 * 1024


class FakeTemplates(Templates):
    """What the guests do: those (domain uuids) in `mute_guests` never say that they took their settings, those in
    `failing_guests` say that they could not, those in `dying_guests` power off over them."""

    def __init__(self, name: str, shelf: Shelf, pool: FakePool, faults: Faults) -> None:
        super().__init__(name, self._no_libvirt, pool, self._no_libvirt, self._define)
        self._shelf, self._volumes, self._faults = shelf, pool, faults
        self.mute_guests: set[str] = set()
        self.failing_guests: set[str] = set()
        self.dying_guests: set[str] = set()

    @staticmethod
    def _no_libvirt(*_arguments: object) -> Any:
        raise AssertionError("a fake host asks no libvirt")

    @staticmethod
    def _define(spec: DomainSpec) -> str:
        """As libvirt would give it back: memory in KiB."""
        plain = libvirt_xml.domain_xml(spec, domain_type="kvm", cpu="Nehalem", path_of="/fake/{}".format)
        root = etree.fromstring(plain)
        for memory in root.iterfind("memory"):
            memory.set("unit", "KiB")
            memory.text = str(spec.memory_mib * 1024)
        return libvirt_xml.text(root)

    def key_for(self, spec: TemplateSpec, version: str) -> str:
        """Like the real driver's: it changes with all of these."""
        return hashlib.sha256(f"{vars(spec)}|{version}".encode()).hexdigest()[:8]

    def ensure(self, name: str, spec: TemplateSpec) -> None:
        try:
            if self.state(name) is not None:
                return
        except TemplateBroken:
            if self._lies_under_clones(name):
                raise
        self._clear(name)
        volumes.ensure_overlay(self._volumes, disk_of(name), spec.image, spec.system_disk_gib)
        volumes.ensure_volume(self._volumes, blank_of(name), spec.data_volume_gib)
        domain = template_domain(name, spec)
        self._shelf.put("domains", domain.uuid, _record(domain))
        try:
            self._faults.check("boot")
            self._save(name, clone_xml.template_xml(self._define(domain)))
        except Exception:  # who is killed tidies nothing up
            self._shelf.drop("domains", domain.uuid)
            raise
        self._shelf.drop("domains", domain.uuid)
        self._faults.check("seal")
        self._seal(name)

    def _save(self, name: str, description: str) -> None:
        head = save_image.SaveHead(
            save_image.LIBVIRT_MAGIC, ROOM, True, 0, description.encode(), b"<qemu><slirp/></qemu>"
        )
        saved = save_image.build(head) + MEMORY
        self._volumes.create(memory_of(name), 0, "raw")
        self._volumes.write(memory_of(name), io.BytesIO(saved), 0, len(saved))
        self._volumes.write(memory_of(name), io.BytesIO(PARTIAL_MAGIC), 0, len(PARTIAL_MAGIC))
        self._faults.check("save")
        self._volumes.write(memory_of(name), io.BytesIO(saved), 0, len(PARTIAL_MAGIC))

    def _clear(self, name: str) -> None:
        for domain in self._shelf.all("domains"):
            if domain["spec"]["name"] == domain_of(name):
                self._shelf.drop("domains", domain["spec"]["uuid"])
        for volume in (memory_of(name), blank_of(name), disk_of(name)):
            self._volumes.delete(volume)

    def _domain(self, uuid: str) -> dict[str, Any]:
        domain = self._shelf.get("domains", uuid)
        if domain is None:
            raise DriverError(f"{self.name}: there is no domain {uuid}")
        return domain

    def _put(self, domain: dict[str, Any]) -> None:
        self._shelf.put("domains", domain["spec"]["uuid"], domain)

    def resume(self, spec: DomainSpec, memory_volume: str) -> None:
        domain = self._domain(spec.uuid)
        if domain["power"] == Power.STOPPED:
            domain |= {"live": self._restored(spec, memory_volume), "power": Power.PAUSED}
            self._put(domain)
            self._faults.check("restored")
        if domain["live"] is not None and not clone_xml.has_disk(domain["live"], spec.data_volume):
            disk = clone_xml.disk_xml(clone_xml.DATA_DEVICE, self._volumes.path(spec.data_volume))
            domain["live"] = _with_device(domain["live"], disk)
        if domain["power"] == Power.PAUSED:
            self._volumes.write_as_guest(spec.system_volume)
            domain["power"] = Power.RUNNING
        self._put(domain)

    def _restored(self, spec: DomainSpec, memory_volume: str) -> str:
        self._volumes.require(memory_volume)
        saved = self._volumes.read(memory_volume, -1)
        if saved[: save_image.MAGIC_LENGTH] == PARTIAL_MAGIC:
            raise DriverError(f"{self.name}: save image is incomplete")
        if saved[: save_image.MAGIC_LENGTH] != save_image.LIBVIRT_MAGIC:
            raise DriverError(f"{self.name}: image magic is incorrect")
        try:
            head = save_image.parse(saved)
        except TemplateBroken as error:
            raise DriverError(f"{self.name}: {error}") from error
        if saved[head.length :] != MEMORY:
            raise DriverError(f"{self.name}: error while loading the saved memory")
        live = head.xml.decode()
        if etree.fromstring(live).findtext("uuid") != spec.uuid:
            raise DriverError(f"{self.name}: the saved memory is of another domain than {spec.name}")
        self._volumes.require(spec.system_volume)
        if not clone_xml.has_disk(live, spec.system_volume) or self._volumes.was_written(spec.system_volume):
            raise DriverError(f"{self.name}: disk and memory of {spec.name} do not belong together")
        return live

    def personalise(self, spec: DomainSpec, archive: bytes, _patience_s: float) -> bool:
        domain = self._domain(spec.uuid)
        if domain["power"] != Power.RUNNING:
            raise DriverError(f"{self.name}: {spec.name} stopped before it had its settings")
        self._faults.check("plug")
        if domain["live"] is not None and not clone_xml.has_nic(domain["live"], spec.mac):
            if self._shelf.get("networks", spec.network) is None:
                raise DriverError(f"{self.name}: there is no network {spec.network}")
            domain["live"] = _with_device(domain["live"], clone_xml.nic_xml(spec, link="down"))
        if spec.uuid in self.dying_guests:
            self._put({**domain, "power": Power.STOPPED, "live": None})
            raise DriverError(f"{self.name}: {spec.name} stopped before it had its settings")
        if domain.get("archive") is None:  # a second order is none
            domain["archive"] = base64.b64encode(archive).decode()
        self._volumes.write_as_guest(spec.data_volume)
        self._put(domain)
        if spec.uuid in self.mute_guests:
            return False
        if spec.uuid in self.failing_guests:
            raise DriverError(
                f"{self.name}: {spec.name} did not take its settings: failed: a hook ended with 1"
            )
        self._faults.check("settled")
        if domain["live"] is not None:
            domain["live"] = _with_link_up(domain["live"])
        self._put({**domain, "autostart": True})
        return True

    def archive(self, uuid: str) -> bytes | None:
        """The settings archive that a resumed guest took, for assertions."""
        found = self._domain(uuid).get("archive")
        return None if found is None else base64.b64decode(found)


def link_of(live: str) -> str:
    """``up``, ``down``, or empty when there is no NIC."""
    nic = etree.fromstring(live).find("devices/interface")
    link = None if nic is None else nic.find("link")
    return "" if nic is None else "up" if link is None else str(link.get("state"))


def _with_device(live: str, device: str) -> str:
    root = etree.fromstring(live)
    for devices in root.iterfind("devices"):
        devices.append(etree.fromstring(device))
    return libvirt_xml.text(root)


def _with_link_up(live: str) -> str:
    root = etree.fromstring(live)
    for link in root.iterfind("devices/interface/link"):
        link.set("state", "up")
    return libvirt_xml.text(root)


def _record(spec: DomainSpec) -> dict[str, Any]:
    identity = {"name": spec.name, "uuid": spec.uuid, "platform_uuid": None}
    return {"spec": identity, "power": Power.RUNNING, "autostart": False, "live_seed": None, "live": None}
