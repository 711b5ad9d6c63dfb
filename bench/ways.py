"""The classic way of making a machine, which PLACO's are compared with, and the place on a host where it is done."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from bench.probe import Target
from bench.stock import KERNEL_ARGUMENTS, PREFIX
from deploy.lab.shell import LabError, run, wait_until
from placo import wiring
from placo.config import Host
from placo.domain.plan import Placement, Plan, PlannedMachine, make_plan, subnet_of
from placo.drivers.ports import DriverError, Hypervisor, ImageFiles, Lease, NetworkSpec
from placo.drivers.seed import build_seed

CLONE_TIMEOUT_S = 600
REMOVE_TIMEOUT_S = 120


@dataclass(frozen=True)
class Place:
    """A host, a network made for the benchmark there, and the plan of the machine that is made there."""

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
            slug=f"{PREFIX}machine".removeprefix("placo-"),
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

    def make_network(self) -> None:
        """The network, with a reservation for the machine."""
        network, machine = self.plan.network, self.machine
        self.hypervisor.ensure_network(
            NetworkSpec(
                name=network.name,
                uuid=network.uuid,
                bridge=network.bridge,
                mac=network.mac,
                gateway=network.gateway,
                prefix=int(network.subnet.split("/")[1]),
                dns_domain=network.dns_domain,
                leases=(Lease(machine.mac, machine.address, machine.hostname),),
            )
        )

    def virsh(self, *words: object) -> str:
        """What virsh says on this host."""
        return run(["virsh", "-q", "-c", self.host.uri, *words], timeout=CLONE_TIMEOUT_S)

    def path(self, volume: str) -> str:
        """Where a volume lies, as the host sees it."""
        return self.virsh("vol-path", "--pool", self.host.storage_pool, volume).strip()

    def written(self, prefix: str, ending: str = "") -> int:
        """Bytes that the volumes of such names take on the host's disk now (the allocation libvirt reports)."""
        names = [
            v for v in self.hypervisor.inventory().volumes if v.startswith(prefix) and v.endswith(ending)
        ]
        return sum(self._allocated(name) for name in names)

    def _allocated(self, volume: str) -> int:
        try:
            facts = self.virsh("vol-info", "--bytes", "--pool", self.host.storage_pool, volume)
        except LabError:  # a copy of memory goes as soon as its machine has been resumed
            return 0
        fields = dict(line.split(":", 1) for line in facts.splitlines() if ":" in line)
        return int(fields["Allocation"].split()[0])

    def written_before_boot(self) -> int:
        """Bytes that the volumes of PLACO's machine take before it boots for the first time: overlay, data volume, seed."""
        from placo.services import seeds  # not before Django has been set up

        host, machine = self.hypervisor, self.machine
        host.ensure_image(wiring.images().files(machine.image))
        host.ensure_overlay(machine.system_volume, machine.image, machine.system_disk_gib)
        host.ensure_volume(machine.data_volume, machine.data_volume_gib)
        host.ensure_content(machine.seed_volume, seeds.seed(self.plan, machine))
        size = self.written(machine.domain)
        self.remove(machine.domain)
        return size

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
        self.machine = place.machine
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
