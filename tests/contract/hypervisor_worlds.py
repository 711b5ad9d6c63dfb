"""What the hypervisor contract is tried with: names that nobody else uses, so that it can run on a host that is at work, and
everything is taken away again. What it asserts on is asked behind the driver's back (hypervisor_hosts).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import uuid
from pathlib import Path

from placo.drivers.ports import DomainSpec, ImageFiles, Lease, NetworkSpec
from tests.contract.hypervisor_hosts import Host


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

    def stock_image(self) -> ImageFiles:
        """The same as one that was imported: a disk that has to boot by itself."""
        built = self.image()
        return ImageFiles(f"stock-{built.name}", built.disk, None, None, built.virtual_size)

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
            {v for v in inventory.volumes if v.startswith((self.prefix, f"stock-{self.prefix}"))},
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
