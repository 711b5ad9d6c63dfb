"""A template on one host, made once for a whole module, and clones of it."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

from placo.drivers.ports import DomainSpec, NetworkSpec, TemplateSpec, TemplateState
from placo.drivers.save_image import MAGIC_LENGTH
from tests.contract.hypervisor_hosts import Host
from tests.contract.hypervisor_worlds import World

PARTIAL = b"LibvirtQemudPart"
"""What stands at the beginning of a memory that libvirt is still saving."""
DATA_GIB = 1


class TemplateWorld(World):
    """Clones have numbers: their networks and addresses are those of the world's network of that number."""

    def __init__(self, host: Host, scratch: Path) -> None:
        super().__init__(host, scratch)
        found = host.template_image()
        self.template_image, memory = found or (self.image(), 64)
        self.spec = TemplateSpec(self.template_image.name, memory, 1, 4, DATA_GIB)
        # Named after this world, not after its image, which others use: so it is taken away with the world.
        self.template = f"{self.prefix}--{self.hypervisor.template_key(self.spec)}"
        self.half_made: TemplateState | None = None
        self._replicas = 0
        self.networks: dict[str, NetworkSpec] = {}

    def make(self) -> None:
        """Make the template, over what a maker has left that was killed while the memory was saved."""
        self.hypervisor.ensure_image(self.template_image)
        self.hypervisor.ensure_overlay(f"{self.template}.qcow2", self.template_image.name, 5)
        self.hypervisor.ensure_content(f"{self.template}.save", PARTIAL.ljust(100_000, b"\0"))
        self.half_made = self.hypervisor.template(self.template)
        self.hypervisor.ensure_template(self.template, self.spec)

    def replica(self) -> str:
        """A template with the memory of the real one, to be damaged; its disks are empty."""
        self._replicas += 1
        name = f"{self.prefix}--{self._replicas:08x}"
        self.hypervisor.ensure_volume(f"{name}.qcow2", 4)
        self.hypervisor.ensure_volume(f"{name}.blank.qcow2", DATA_GIB)
        self.host.copy(f"{self.template}.save", f"{name}.save")
        return name

    def magic(self, volume: str) -> bytes:
        """How a volume begins."""
        return self.host.content(volume)[:MAGIC_LENGTH]

    def clone(self, number: int) -> tuple[DomainSpec, str]:
        """A machine that is defined, with its disks and its network, and the name for its memory."""
        network = self.network(number=number)
        lease = replace(
            network.leases[0], address=network.gateway.rsplit(".", 1)[0] + f".{242 - 16 * number}"
        )
        network = replace(network, leases=(lease,))
        spec = replace(
            self.domain(self.template_image, network, f"clone{number}"),
            memory_mib=self.spec.memory_mib,
            seed_volume=None,
            mac=lease.mac,
            address=lease.address,
        )
        self.hypervisor.ensure_network(network)
        self.hypervisor.ensure_clone_disk(spec.system_volume, self.template, self.spec.system_disk_gib)
        self.hypervisor.ensure_clone_data(spec.data_volume, self.template)
        self.hypervisor.ensure_domain(spec)
        self.networks[spec.uuid] = network
        return spec, f"{self.prefix}-clone{number}-memory.save"

    def archive(self, spec: DomainSpec) -> bytes:
        """The least that a guest takes for its settings: who it is, and a file."""
        network = self.networks[spec.uuid]
        settings = {
            "PLACO_SETTINGS_ID": f"contract {spec.uuid}",
            "PLACO_HOSTNAME": "clone",
            "PLACO_FQDN": f"clone.{network.dns_domain}",
            "PLACO_SLUG": self.prefix,
            "PLACO_MACHINE_UUID": spec.uuid,
            "PLACO_ADDRESS": spec.address,
            "PLACO_PREFIX": network.prefix,
            "PLACO_GATEWAY": network.gateway,
            "PLACO_DOMAIN": network.dns_domain,
        }
        files = {
            "settings.env": "".join(f"{name}={value}\n" for name, value in settings.items()).encode(),
            "entropy": bytes(range(64)),
            "root/etc/placo-contract": b"here\n",
        }
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.uname, entry.gname = len(content), "root", "root"
                tar.addfile(entry, io.BytesIO(content))
        return packed.getvalue()
