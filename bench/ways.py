"""The classic way of making a machine, which PLACO's are compared with, and the place on a host where it is done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Protocol
from uuid import uuid4

from bench.probe import Target
from bench.stock import KERNEL_ARGUMENTS, PREFIX
from deploy.lab.shell import run, wait_until
from placo import wiring
from placo.config import Host
from placo.domain.plan import Placement, Plan, PlannedMachine, make_plan, subnet_of
from placo.drivers.ports import DomainSpec, DriverError, Hypervisor, ImageFiles, Lease, NetworkSpec
from placo.drivers.seed import build_seed
from placo.services import seeds

CLONE_TIMEOUT_S = 600
REMOVE_TIMEOUT_S = 120


@dataclass(frozen=True)
class Place:
    """A host, a network made for the benchmark there, and the plan of the machine that both ways make."""

    host: Host
    hypervisor: Hypervisor
    plan: Plan

    @classmethod
    def on(cls, host_name: str) -> Place:
        """The host of that name in the site's configuration; DriverError if there is none."""
        site = wiring.site()
        host = next((h for h in site.hosts if h.name == host_name), None)
        if host is None:
            raise DriverError(f"the configuration has no host {host_name}")
        network = site.network
        last = 2 ** (network.prefix - network.pool.prefixlen) - 1  # platforms take the first free one
        plan = make_plan(
            wiring.catalogue(),
            platform_uuid=uuid4(),
            slug=f"{PREFIX}ours".removeprefix("placo-"),
            title="Benchmark",
            project="benchmark",
            owners=(),
            services=("web",),
            options={"web": wiring.catalogue().services["web"].defaults()},
            days=1,
            placement=Placement(
                host=host.name,
                subnet=subnet_of(network.pool, network.prefix, last),
                edge_domain=site.edge.domain,
                edge_port=site.edge.port,
                dns_domain=network.dns_domain,
            ),
            images={"www": wiring.images().name_for("www")},
        )
        driver = wiring.hypervisor(host.name, host.uri, host.storage_pool, host.domain_type)
        return cls(host, driver, plan)

    @property
    def machine(self) -> PlannedMachine:
        """What is made."""
        return self.plan.machine("www")

    @property
    def classic_machine(self) -> PlannedMachine:
        """The same with an address and a MAC of its own, for the classic way."""
        address = str(IPv4Address(self.machine.address) + 1)
        mac = self.machine.mac[:-2] + f"{int(self.machine.mac[-2:], 16) ^ 0x80:02x}"
        return replace(self.machine, hostname="classic", address=address, mac=mac)

    def make_network(self) -> None:
        """The network of both ways, with a reservation for each."""
        network = self.plan.network
        machines = (self.machine, self.classic_machine)
        self.hypervisor.ensure_network(
            NetworkSpec(
                name=network.name,
                uuid=network.uuid,
                bridge=network.bridge,
                mac=network.mac,
                gateway=network.gateway,
                prefix=int(network.subnet.split("/")[1]),
                dns_domain=network.dns_domain,
                leases=tuple(Lease(m.mac, m.address, m.hostname) for m in machines),
            )
        )

    def virsh(self, *words: object) -> str:
        """What virsh says on this host."""
        return run(["virsh", "-q", "-c", self.host.uri, *words], timeout=CLONE_TIMEOUT_S)

    def path(self, volume: str) -> str:
        """Where a volume lies, as the host sees it."""
        return self.virsh("vol-path", "--pool", self.host.storage_pool, volume).strip()

    def written(self, prefix: str) -> int:
        """Bytes that the volumes with this prefix take on the host's disk now (the allocation libvirt reports)."""
        total = 0
        for volume in self.hypervisor.inventory().volumes:
            if volume.startswith(prefix):
                facts = self.virsh("vol-info", "--bytes", "--pool", self.host.storage_pool, volume)
                fields = dict(line.split(":", 1) for line in facts.splitlines() if ":" in line)
                total += int(fields["Allocation"].split()[0])
        return total

    def remove(self, prefix: str) -> None:
        """Every domain, volume and network whose name begins so. DriverError when some of it does not go."""
        if not prefix.startswith(PREFIX):
            raise ValueError(f"{prefix} does not begin with {PREFIX}")
        refused: list[DriverError] = []

        def gone() -> bool:
            refused.clear()
            found = self.hypervisor.inventory()
            for domain in found.domains:
                if domain.name.startswith(prefix):
                    self.hypervisor.remove_domain(domain.uuid)
            for volume in found.volumes:
                if volume.startswith(prefix):
                    try:
                        self.hypervisor.remove_volume(volume)
                    except (
                        DriverError
                    ) as error:  # a copy that was interrupted goes on in libvirt for some seconds
                        refused.append(error)
            for network in found.networks:
                if network.startswith(prefix):
                    self.hypervisor.remove_network(network)
            return not refused

        if not wait_until(gone, seconds=REMOVE_TIMEOUT_S, interval=1):
            raise refused[0]


class Classic:
    """The usual way: `virt-clone` copies a template with a stock image, cloud-init makes the machine of it."""

    name = "virt-clone"
    prefix = f"{PREFIX}copy"
    template = f"{PREFIX}template"

    def __init__(self, place: Place, image: ImageFiles) -> None:
        self.place, self.image = place, image
        self.machine = place.classic_machine
        self.target = Target(self.machine.address, 80, self.machine.hostname)
        self.system_volume, self.seed_volume = f"{self.prefix}.qcow2", f"{self.prefix}-seed.iso"

    def prepare(self) -> None:
        """The template: a domain on the stock image, with the memory, processor and kind of machine of ours."""
        place, image = self.place, self.image.name
        place.hypervisor.ensure_image(self.image)
        place.virsh(
            "pool-refresh", place.host.storage_pool
        )  # it now sees a qcow2 in what was uploaded byte by byte
        boot = f"kernel={place.path(f'{image}.vmlinuz')},initrd={place.path(f'{image}.initrd')}"
        definition = run(
            [
                "virt-install",
                f"--connect={place.host.uri}",
                f"--name={self.template}",
                f"--virt-type={place.host.domain_type}",
                f"--cpu=mode={'host-model' if place.host.domain_type == 'kvm' else 'maximum'}",
                "--machine=q35",
                f"--memory={self.machine.memory_mib}",
                f"--vcpus={self.machine.vcpus}",
                "--osinfo=detect=off,require=off",
                "--import",
                f"--disk=vol={place.host.storage_pool}/{image}.qcow2,bus=virtio",
                f"--network=network={place.plan.network.name},model=virtio",
                "--graphics=none",
                "--rng=/dev/urandom",
                f'--boot={boot},kernel_args="{KERNEL_ARGUMENTS}"',
                "--print-xml",
            ]
        )
        run(["virsh", "-q", "-c", place.host.uri, "define", "/dev/stdin"], stdin=definition)

    def clone(self) -> None:
        place = self.place
        file = place.path(f"{self.image.name}.qcow2").replace(f"{self.image.name}.qcow2", self.system_volume)
        words = [f"--original={self.template}", f"--name={self.prefix}", f"--file={file}"]
        command = ["virt-clone", f"--connect={place.host.uri}", *words, f"--mac={self.machine.mac}"]
        run(command, timeout=CLONE_TIMEOUT_S)
        seed = build_seed(b"\n", instance_id=str(uuid4()), hostname=self.machine.hostname)
        place.hypervisor.ensure_content(self.seed_volume, seed)
        attach = ["attach-disk", self.prefix, place.path(self.seed_volume), "vdb", "--config"]
        place.virsh(*attach, "--mode", "readonly", "--driver", "qemu", "--subdriver", "raw")

    def start(self) -> None:
        self.place.virsh("start", self.prefix)
