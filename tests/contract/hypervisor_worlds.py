"""The hosts that the hypervisor contract is tried on, and how to look at them behind the driver's back.

A world makes names that nobody else uses, so that the suite can run on a host that is at work, and takes everything
away again. What it asserts on is asked with virsh, never through the driver under test.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, Protocol

from lxml import etree

from placo.domain.catalogue import load_catalogue
from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.drivers.images import ImageCache
from placo.drivers.libvirt import LibvirtHypervisor
from placo.drivers.ports import DomainSpec, Hypervisor, ImageFiles, Lease, NetworkSpec

Leases = set[tuple[str, str, str]]


class Host(Protocol):
    """A host and how to see through it."""

    slow_upload: list[str]  # arguments of tests.contract.upload that make the same driver

    @property
    def hypervisor(self) -> Hypervisor: ...

    def unreachable(self) -> Hypervisor: ...

    def content(self, volume: str) -> bytes: ...

    def backing(self, volume: str) -> str | None: ...

    def capacity(self, volume: str) -> int: ...

    def leases(self, network: str) -> Leases: ...

    def dns_names(self, network: str) -> set[tuple[str, str]]: ...

    def attached(self, domain_uuid: str) -> list[str]:
        """Volumes that a running domain has open, else those of its definition."""

    def define_foreign(self, name: str, domain_uuid: str) -> None: ...

    def deafen(self, domain_uuid: str) -> None:
        """Its guest shall not react to anything."""

    def updated(self) -> Hypervisor:
        """A driver of the same host with something changed on which saved memory depends."""

    def template_image(self) -> tuple[ImageFiles, int] | None:
        """An image of which templates can be made, and the MiB that it needs; None if any image is one."""

    def live_xml(self, domain_uuid: str) -> str:
        """What a running domain runs as."""

    def copy(self, volume: str, new: str) -> None: ...

    def overwrite(self, volume: str, offset: int, data: bytes) -> None: ...

    def truncate(self, volume: str, length: int) -> None: ...

    def length(self, volume: str) -> int: ...


class FakeHost:
    """A host in a folder."""

    def __init__(self, directory: Path) -> None:
        self.hypervisor = FakeHypervisor(directory)
        self.slow_upload = ["fake", str(directory)]
        self._directory = directory

    def unreachable(self) -> Hypervisor:
        other = FakeHypervisor(self._directory)
        other.faults.unreachable = True
        return other

    def content(self, volume: str) -> bytes:
        return self.hypervisor.content(volume)

    def _state(self, volume: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self._directory / "volumes" / f"{volume}.json").read_text())[
            "state"
        ]
        return state

    def backing(self, volume: str) -> str | None:
        path = self._state(volume)["backing_path"]
        return Path(path).name if path else None

    def capacity(self, volume: str) -> int:
        return int(self._state(volume)["capacity"])

    def _network(self, network: str) -> dict[str, Any]:
        found = self.hypervisor.network(network)
        assert found is not None
        return found

    def leases(self, network: str) -> Leases:
        return {(one["mac"], one["address"], one["hostname"]) for one in self._network(network)["leases"]}

    def dns_names(self, network: str) -> set[tuple[str, str]]:
        found = self._network(network)
        machines = {(lease["address"], lease["hostname"]) for lease in found["leases"]}
        return machines | {(address, name) for address, name in found["dns_hosts"]}

    def attached(self, domain_uuid: str) -> list[str]:
        domain = json.loads((self._directory / "domains" / f"{domain_uuid}.json").read_text())
        spec = domain["spec"]
        seed = spec["seed_volume"] if domain["power"] == "stopped" else domain["live_seed"]
        return [volume for volume in (spec["system_volume"], spec["data_volume"], seed) if volume]

    def define_foreign(self, name: str, domain_uuid: str) -> None:
        self.hypervisor.define_foreign_domain(name, domain_uuid)

    def deafen(self, domain_uuid: str) -> None:
        self.hypervisor.deaf_guests.add(domain_uuid)

    def updated(self) -> Hypervisor:
        other = FakeHypervisor(self._directory)
        other.version += "-1"
        return other

    def template_image(self) -> None:
        return None

    def live_xml(self, domain_uuid: str) -> str:
        return self.hypervisor.live_xml(domain_uuid) or ""

    def _bytes(self, volume: str) -> Path:
        return self._directory / "volumes" / f"{volume}.bytes"

    def copy(self, volume: str, new: str) -> None:
        self.hypervisor.ensure_content(new, self._bytes(volume).read_bytes())

    def overwrite(self, volume: str, offset: int, data: bytes) -> None:
        with self._bytes(volume).open("rb+") as file:
            file.seek(offset)
            file.write(data)

    def truncate(self, volume: str, length: int) -> None:
        os.truncate(self._bytes(volume), length)

    def length(self, volume: str) -> int:
        return self._bytes(volume).stat().st_size


class LibvirtHost:
    """A host of the site configuration, seen with virsh."""

    def __init__(self, site: dict[str, Any], number: int, scratch: Path) -> None:
        entry = site["hosts"][number]
        self._site, self._entry = site["site"], entry
        self._uri, self._pool, self._scratch = entry["uri"], entry["storage_pool"], scratch
        self.hypervisor = LibvirtHypervisor(
            entry["name"], self._uri, storage_pool=self._pool, domain_type=entry["domain_type"]
        )
        self.slow_upload = ["libvirt", self._uri, self._pool]

    def virsh(self, *arguments: str) -> str:
        command = ["virsh", "--quiet", "--connect", self._uri, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    def _xml(self, *arguments: str) -> etree._Element:
        return etree.fromstring(self.virsh(*arguments))

    def unreachable(self) -> Hypervisor:
        return LibvirtHypervisor("nowhere", f"qemu+unix:///system?socket={self._scratch}/no-such-socket")

    def content(self, volume: str) -> bytes:
        target = self._scratch / "downloaded"
        self.virsh("vol-download", "--pool", self._pool, volume, str(target))
        return target.read_bytes()

    def volume(self, volume: str) -> etree._Element:
        return self._xml("vol-dumpxml", "--pool", self._pool, volume)

    def backing(self, volume: str) -> str | None:
        path = self.volume(volume).findtext("backingStore/path")
        return Path(path).name if path else None

    def capacity(self, volume: str) -> int:
        return int(self.volume(volume).findtext("capacity", "0"))

    def _networks(self, network: str) -> list[etree._Element]:
        live, defined = self._xml("net-dumpxml", network), self._xml("net-dumpxml", "--inactive", network)
        return [live, defined]

    def leases(self, network: str) -> Leases:
        live, defined = (
            {(h.get("mac", ""), h.get("ip", ""), h.get("name", "")) for h in xml.iterfind("ip/dhcp/host")}
            for xml in self._networks(network)
        )
        assert live == defined
        return live

    def dns_names(self, network: str) -> set[tuple[str, str]]:
        live, defined = (
            {
                (h.get("ip", ""), n.text or "")
                for h in xml.iterfind("dns/host")
                for n in h.iterfind("hostname")
            }
            for xml in self._networks(network)
        )
        assert live == defined
        return live

    def attached(self, domain_uuid: str) -> list[str]:
        domain = self._xml("dumpxml", domain_uuid)
        return [Path(source.get("file", "")).name for source in domain.iterfind("devices/disk/source")]

    def define_foreign(self, name: str, domain_uuid: str) -> None:
        path = self._scratch / "foreign.xml"
        path.write_text(
            f"<domain type='qemu'><name>{name}</name><uuid>{domain_uuid}</uuid><memory unit='MiB'>16</memory>"
            "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"
        )
        self.virsh("define", str(path))

    def deafen(self, domain_uuid: str) -> None:
        """Nothing to do: the kernel of these tests only halts."""

    def updated(self) -> Hypervisor:
        """With another processor model: its version cannot be changed."""
        return LibvirtHypervisor(
            "updated",
            self._uri,
            storage_pool=self._pool,
            domain_type=self._entry["domain_type"],
            cpu="qemu64",
        )

    def template_image(self) -> tuple[ImageFiles, int]:
        catalogue = load_catalogue(Path(self._site["catalogue"]))
        cache = ImageCache(Path(self._site["image_cache"]), catalogue)
        return cache.files(cache.name_for("www")), catalogue.machines["www"].memory_mib

    def live_xml(self, domain_uuid: str) -> str:
        return self.virsh("dumpxml", domain_uuid)

    def copy(self, volume: str, new: str) -> None:
        self._put(new, self.content(volume))

    def overwrite(self, volume: str, offset: int, data: bytes) -> None:
        source = self._scratch / "uploaded"
        source.write_bytes(data)
        place = ["--offset", str(offset), "--length", str(len(data))]
        self.virsh("vol-upload", "--pool", self._pool, volume, str(source), *place)

    def truncate(self, volume: str, length: int) -> None:
        content = self.content(volume)[:length]
        self.virsh("vol-delete", "--pool", self._pool, volume)
        self._put(volume, content)

    def _put(self, volume: str, content: bytes) -> None:
        """Made empty and written: what libvirt clones or resizes gets a length of whole blocks."""
        self.virsh("vol-create-as", self._pool, volume, "0", "--format", "raw")
        self.overwrite(volume, 0, content)

    def length(self, volume: str) -> int:
        return self.capacity(volume)


class World:
    """Specifications with names, addresses and UUIDs of their own, on one host."""

    def __init__(self, host: Host, scratch: Path) -> None:
        self.host, self.hypervisor = host, host.hypervisor
        self.id = uuid.uuid4().hex[:5]
        self.prefix = f"contract-{self.id}"
        self.platform_uuid = str(uuid.uuid4())
        self._scratch = scratch
        self._domains: set[str] = set()

    def image(self, size: int = 204_800) -> ImageFiles:
        """A qcow2 with `size` random bytes, and the smallest kernel that QEMU starts: it halts at once."""
        raw, disk, kernel, initrd = (self._scratch / name for name in ("raw", "disk", "kernel", "initrd"))
        raw.write_bytes(os.urandom(size))
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(disk)], check=True)
        kernel.write_bytes(halting_kernel())
        initrd.write_bytes(b"070701" + bytes(506))
        return ImageFiles(
            f"{self.prefix}-{hashlib.sha256(disk.read_bytes()).hexdigest()[:8]}", disk, kernel, initrd, 1
        )

    def network(
        self, *leases: Lease, number: int = 0, dns_hosts: tuple[tuple[str, str], ...] = ()
    ) -> NetworkSpec:
        """Network `number` of this world: the last /28 subnets of the lab's pool, which it gives away last."""
        return NetworkSpec(
            name=f"{self.prefix}-{number}",
            uuid=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.prefix}-{number}")),
            bridge=f"pt{self.id}{number}",
            mac=f"52:54:00:fe:00:{number:02x}",
            gateway=f"10.77.31.{241 - 16 * number}",
            prefix=28,
            dns_domain=f"{self.prefix}.placo.internal",
            leases=leases or (lease(2, "www"),),
            dns_hosts=dns_hosts,
        )

    def domain(self, image: ImageFiles, network: NetworkSpec, name: str = "www") -> DomainSpec:
        """A machine on the first reservation of `network`, with volumes named after it."""
        domain_uuid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.prefix}-{name}"))
        self._domains.add(domain_uuid)
        return DomainSpec(
            name=f"{self.prefix}-{name}",
            uuid=domain_uuid,
            title=f"{self.prefix}: {name}",
            memory_mib=64,
            vcpus=1,
            image=image.name,
            system_volume=f"{self.prefix}-{name}-system.qcow2",
            data_volume=f"{self.prefix}-{name}-data.qcow2",
            seed_volume=f"{self.prefix}-{name}-seed.iso",
            network=network.name,
            mac=network.leases[0].mac,
            address=network.leases[0].address,
            platform_uuid=self.platform_uuid,
        )

    def machine(self, name: str = "www") -> DomainSpec:
        """Everything that a domain needs, made; the domain defined."""
        image, network = self.image(), self.network()
        spec = self.domain(image, network, name)
        self.hypervisor.ensure_image(image)
        self.hypervisor.ensure_network(network)
        self.hypervisor.ensure_overlay(spec.system_volume, image.name, 1)
        self.hypervisor.ensure_volume(spec.data_volume, 1)
        assert spec.seed_volume is not None
        self.hypervisor.ensure_content(spec.seed_volume, b"seed" * 512)
        self.hypervisor.ensure_domain(spec)
        return spec

    def foreign_domain(self) -> str:
        """UUID of a domain that PLACO did not make."""
        domain_uuid = str(uuid.uuid4())
        self._domains.add(domain_uuid)
        self.host.define_foreign(f"{self.prefix}-foreign", domain_uuid)
        return domain_uuid

    def found(self) -> tuple[set[str], set[str], set[str]]:
        """Names of this world's domains, volumes and networks that the host has."""
        inventory = self.hypervisor.inventory()
        return (
            {domain.name for domain in inventory.domains if domain.name.startswith(self.prefix)},
            {volume for volume in inventory.volumes if volume.startswith(self.prefix)},
            {network for network in inventory.networks if network.startswith(self.prefix)},
        )

    def start_upload(self, image: ImageFiles) -> subprocess.Popen[bytes]:
        """Another process with the same driver, uploading `image`."""
        files = [image.name, str(image.disk), str(image.kernel), str(image.initrd)]
        command = [sys.executable, "-m", "tests.contract.upload", *files, *self.host.slow_upload]
        return subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2])

    def clear(self) -> None:
        """Take everything away."""
        for domain_uuid in self._domains:
            self.hypervisor.remove_domain(domain_uuid)
        _, volumes, networks = self.found()
        for network in networks:
            self.hypervisor.remove_network(network)
        for volume in volumes:
            self.hypervisor.remove_volume(volume)
        assert self.found() == (set(), set(), set())


def lease(number: int, hostname: str) -> Lease:
    """A reservation of a world's first network."""
    return Lease(mac=f"52:54:00:fe:01:{number:02x}", address=f"10.77.31.{240 + number}", hostname=hostname)


def halting_kernel() -> bytes:
    """What QEMU takes for a Linux kernel (boot protocol 2.06, Documentation/arch/x86/boot.rst); it halts for ever."""
    kernel = bytearray(4096)
    kernel[0:2] = b"MZ"
    kernel[0x1F1] = 4  # setup sectors
    kernel[0x1FE:0x200] = b"\x55\xaa"
    kernel[0x200:0x202] = b"\xeb\x66"  # jump to 0x268
    kernel[0x202:0x206] = b"HdrS"
    kernel[0x206:0x208] = b"\x06\x02"
    kernel[0x211] = 1  # loaded high
    kernel[0x22C:0x230] = b"\xff\xff\xff\x37"  # initrd address limit
    kernel[0x268:0x26C] = b"\xfa\xf4\xeb\xfc"  # cli; hlt; jump back
    return bytes(kernel)
