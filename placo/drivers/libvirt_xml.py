"""XML of libvirt: what PLACO defines on a host, and what it reads back.

Pure functions from frozen values to XML text and from XML text to frozen values; libvirt itself is not imported here.
Format: https://libvirt.org/format.html, as libvirt 9.0 has it; tests check every document with ``virt-xml-validate``.
No secret ever goes into XML: it is readable by whoever may look at a host.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lxml import etree
from lxml.builder import E, ElementMaker

from placo.domain.stock import is_stock
from placo.drivers.libvirt_codes import NetworkSection, NetworkUpdateCommand
from placo.drivers.ports import DomainSpec, Lease, NetworkSpec
from placo.drivers.volumes import VolumeState

PLACO_NAMESPACE = "urn:placo:domain:1"
DNSMASQ_NAMESPACE = "http://libvirt.org/schemas/network/dnsmasq/1.0"
AGENT_CHANNEL = "org.qemu.guest_agent.0"
MACHINE = "q35"
FILTER = "placo-clean"  # the network filter of every NIC: placo.drivers.nwfilter

# The NIC, three disks, the agent's serial controller, random numbers and the balloon, and some to plug things in later.
_ROOT_PORTS = 11

PLACO = ElementMaker(namespace=PLACO_NAMESPACE, nsmap={"placo": PLACO_NAMESPACE})
_DNSMASQ = ElementMaker(namespace=DNSMASQ_NAMESPACE)
_NETWORK = ElementMaker(nsmap={"dnsmasq": DNSMASQ_NAMESPACE})


@dataclass(frozen=True)
class NetworkState:
    """What a network's XML says: identity, addresses, reservations (by MAC), DNS names (address -> names)."""

    uuid: str
    bridge: str
    gateway: str
    prefix: int
    leases: frozenset[Lease]
    dns_hosts: frozenset[tuple[str, frozenset[str]]]


@dataclass(frozen=True)
class NetworkChange:
    """The arguments of one virNetworkUpdate."""

    command: NetworkUpdateCommand
    section: NetworkSection
    fragment: str


def text(element: etree._Element) -> str:
    """An element as XML text."""
    return str(etree.tostring(element, pretty_print=True, encoding="unicode"))


# --- domains ---------------------------------------------------------------------------------------------------------


def domain_xml(spec: DomainSpec, *, domain_type: str, cpu: str, path_of: Callable[[str], str]) -> str:
    """A q35 machine without graphics that boots a kernel directly, or by the boot loader of a stock image's own.

    `domain_type` is ``kvm`` or ``qemu`` (emulation); `cpu` is a libvirt CPU mode (``host-model``, ``maximum``)
    or the name of a CPU model; `path_of` tells where a volume lies on the host.
    """
    disks = [
        disk("vda", path_of(spec.system_volume), "qcow2"),
        disk("vdb", path_of(spec.data_volume), "qcow2"),
    ]
    if spec.seed_volume is not None:
        seed = disk("vdc", path_of(spec.seed_volume), "raw", readonly=True)
        # The last port: with and without a seed, everything else has the same address.
        seed.append(
            E.address(type="pci", domain="0x0000", bus=f"0x{_ROOT_PORTS:02x}", slot="0x00", function="0x0")
        )
        disks.append(seed)
    domain = E.domain(
        E.name(spec.name),
        E.uuid(spec.uuid),
        E.genid(),  # tells guests that know it (VM Generation ID) that they were resumed as another machine
        E.title(spec.title),
        E.metadata(PLACO.machine(platform=spec.platform_uuid)),
        E.memory(str(spec.memory_mib), unit="MiB"),
        E.vcpu(str(spec.vcpus)),
        E.os(E.type("hvm", arch="x86_64", machine=MACHINE), *_boot(spec.image, domain_type, path_of)),
        E.features(E.acpi(), E.apic()),  # acpi: without it there is no power button for shutdown
        _cpu(cpu),
        E.clock(offset="utc"),
        E.on_poweroff("destroy"),
        E.on_reboot("restart"),
        E.on_crash("destroy"),
        E.devices(
            *_controllers(),
            *disks,
            nic(spec),
            E.serial(E.target(type="isa-serial", port="0"), type="pty"),
            E.console(E.target(type="serial", port="0"), type="pty"),
            E.channel(E.target(type="virtio", name=AGENT_CHANNEL), type="unix"),
            E.video(E.model(type="none")),
            E.memballoon(model="virtio", autodeflate="on", freePageReporting="on"),
            E.rng(E.backend("/dev/urandom", model="random"), model="virtio"),
        ),
        type=domain_type,
    )
    return text(domain)


def _boot(image: str, domain_type: str, path_of: Callable[[str], str]) -> list[etree._Element]:
    if is_stock(image):
        return [E.boot(dev="hd")]  # the first disk
    return [
        E.kernel(path_of(f"{image}.vmlinuz")),
        E.initrd(path_of(f"{image}.initrd")),
        E.cmdline(_command_line(domain_type)),
    ]


def _command_line(domain_type: str) -> str:
    words = ["root=/dev/vda", "rw", "console=ttyS0", "net.ifnames=0", "quiet", "panic=30"]
    if domain_type == "qemu":
        # Emulated processors do not speculate: the mitigations only cost time.
        words.append("mitigations=off")
    return " ".join(words)


def _cpu(cpu: str) -> etree._Element:
    if cpu in ("host-model", "host-passthrough", "maximum"):
        return E.cpu(mode=cpu)
    return E.cpu(E.model(cpu, fallback="forbid"), mode="custom", match="exact", check="none")


def _controllers() -> list[etree._Element]:
    ports = [E.controller(type="pci", index=str(1 + n), model="pcie-root-port") for n in range(_ROOT_PORTS)]
    return [
        E.controller(type="usb", model="none"),
        E.controller(type="pci", index="0", model="pcie-root"),
        *ports,
    ]


def disk(target: str, path: str, format: str, readonly: bool = False) -> etree._Element:
    """A disk of a domain, by the path of its file on the host."""
    element = E.disk(
        E.driver(name="qemu", type=format, discard="unmap"),
        E.source(file=path),
        E.target(dev=target, bus="virtio"),
        type="file",
        device="disk",
    )
    if readonly:
        element.append(E.readonly())
    return element


def nic(spec: DomainSpec) -> etree._Element:
    """The network card of a domain."""
    return E.interface(
        E.mac(address=spec.mac),
        E.source(network=spec.network),
        E.model(type="virtio"),
        E.filterref(E.parameter(name="IP", value=spec.address), filter=FILTER),
        E.rom(enabled="no"),  # nobody boots from the network: iPXE would only cost time
        type="network",
    )


def platform_of(metadata: str) -> str | None:
    """The platform's UUID in a domain's metadata element of PLACO's namespace."""
    return etree.fromstring(metadata).get("platform")


def disk_with_file(domain: str, name: str) -> str | None:
    """XML of the disk whose file is called `name`, for detaching it; None if the domain has no such disk."""
    for disk in etree.fromstring(domain).iterfind("devices/disk"):
        source = disk.find("source")
        if source is not None and posixpath.basename(source.get("file", "")) == name:
            return text(disk)
    return None


# --- networks --------------------------------------------------------------------------------------------------------


def network_xml(spec: NetworkSpec) -> str:
    """A bridge with DHCP and DNS by the host's dnsmasq, and no firewall rules by libvirt (mode ``open``).

    Only reserved machines get an address, and names that dnsmasq does not know itself are not asked for anywhere
    (``no-resolv``): libvirt has no element for that.
    """
    network = _NETWORK.network(
        E.name(spec.name),
        E.uuid(spec.uuid),
        E.forward(mode="open"),
        E.bridge(name=spec.bridge, stp="off", delay="0"),
        E.mac(address=spec.mac),
        E.domain(name=spec.dns_domain, localOnly="yes"),
        E.dns(*(_dns_host(address, names) for address, names in sorted(_dns_hosts(spec)))),
        E.ip(
            E.dhcp(*(_lease(lease) for lease in spec.leases)),
            family="ipv4",
            address=spec.gateway,
            prefix=str(spec.prefix),
        ),
        _DNSMASQ.options(_DNSMASQ.option(value="no-resolv")),
    )
    return text(network)


def _lease(lease: Lease) -> etree._Element:
    return E.host(mac=lease.mac, name=lease.hostname, ip=lease.address)


def _dns_host(address: str, names: Iterable[str]) -> etree._Element:
    return E.host(*(E.hostname(name) for name in sorted(names)), ip=address)


def _dns_hosts(spec: NetworkSpec) -> frozenset[tuple[str, frozenset[str]]]:
    """Address and names: the machines', known before they have taken their lease, and the extra ones."""
    hosts: dict[str, set[str]] = {}
    for lease in spec.leases:
        hosts.setdefault(lease.address, set()).add(lease.hostname)
    for address, name in spec.dns_hosts:
        hosts.setdefault(address, set()).add(name)
    return frozenset((address, frozenset(names)) for address, names in hosts.items())


def network_state(xml: str) -> NetworkState:
    """Read back what `network_xml` wrote, or what somebody else defined under the same name."""
    network = etree.fromstring(xml)
    bridge, ip = network.find("bridge"), network.find("ip")
    leases = frozenset(
        _normal(Lease(mac=host.get("mac", ""), address=host.get("ip", ""), hostname=host.get("name", "")))
        for host in network.iterfind("ip/dhcp/host")
    )
    dns_hosts = frozenset(
        (host.get("ip", ""), frozenset(name.text or "" for name in host.iterfind("hostname")))
        for host in network.iterfind("dns/host")
    )
    return NetworkState(
        uuid=network.findtext("uuid", ""),
        bridge="" if bridge is None else bridge.get("name", ""),
        gateway="" if ip is None else ip.get("address", ""),
        prefix=0 if ip is None else int(ip.get("prefix", "0")),
        leases=leases,
        dns_hosts=dns_hosts,
    )


def network_changes(current: str, spec: NetworkSpec) -> list[NetworkChange] | None:
    """What makes the network described by `current` serve `spec`; None if its bridge or subnet is another one."""
    state = network_state(current)
    if (state.bridge, state.gateway, state.prefix) != (spec.bridge, spec.gateway, spec.prefix):
        return None
    delete, add = NetworkUpdateCommand.DELETE, NetworkUpdateCommand.ADD_LAST
    lease, name = NetworkSection.IP_DHCP_HOST, NetworkSection.DNS_HOST
    leases, names = frozenset(map(_normal, spec.leases)), _dns_hosts(spec)
    return [
        # Deletions first: libvirt refuses a second reservation for an address, MAC or name.
        *(NetworkChange(delete, lease, text(_lease(old))) for old in state.leases - leases),
        *(NetworkChange(delete, name, text(_dns_host(*old))) for old in state.dns_hosts - names),
        *(NetworkChange(add, lease, text(_lease(new))) for new in leases - state.leases),
        *(NetworkChange(add, name, text(_dns_host(*new))) for new in names - state.dns_hosts),
    ]


def _normal(lease: Lease) -> Lease:
    return Lease(mac=lease.mac.lower(), address=lease.address, hostname=lease.hostname)


# --- volumes ---------------------------------------------------------------------------------------------------------


def volume_xml(name: str, capacity: int, format: str, backing_path: str | None = None) -> str:
    """A sparse volume that only its hypervisor reads; with `backing_path` a copy-on-write overlay of that qcow2."""
    volume = E.volume(
        E.name(name),
        E.capacity(str(capacity), unit="bytes"),
        E.allocation("0", unit="bytes"),
        E.target(E.format(type=format), E.permissions(E.mode("0600"))),
    )
    if format == "qcow2":
        # Without it libvirt 9.0 makes version 2, where discarding in an overlay brings the image's bytes back.
        volume[-1].append(E.compat("1.1"))
    if backing_path is not None:
        volume.append(E.backingStore(E.path(backing_path), E.format(type="qcow2")))
    return text(volume)


def volume_state(xml: str) -> VolumeState:
    """Read back a volume; libvirt gives sizes in bytes."""
    volume = etree.fromstring(xml)
    format_element = volume.find("target/format")
    return VolumeState(
        capacity=int(volume.findtext("capacity", "0")),
        format="raw" if format_element is None else format_element.get("type", "raw"),
        path=volume.findtext("target/path", ""),
        backing_path=volume.findtext("backingStore/path"),
    )


def pool_type(xml: str) -> str:
    """``dir``, ``netfs``, ``logical`` ..."""
    return etree.fromstring(xml).get("type", "")
