"""The hosts that the hypervisor contract is tried on, and how to look at them behind the driver's back: libvirt's with virsh."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Protocol

from lxml import etree

from placo.domain.catalogue import load_catalogue
from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.drivers.images import ImageCache
from placo.drivers.libvirt import LibvirtHypervisor
from placo.drivers.ports import Hypervisor, ImageFiles

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

    def stop_network(self, network: str) -> None:
        """Its bridge is gone, its definition stays."""

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

    def stop_network(self, network: str) -> None:
        self.hypervisor.stop_network(network)

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

    def stop_network(self, network: str) -> None:
        self.virsh("net-destroy", network)

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
