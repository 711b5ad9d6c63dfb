"""The XML that libvirt gets: valid by libvirt's own schemas, and saying what PLACO promises."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from lxml import etree

from placo.drivers import libvirt_xml, nwfilter
from placo.drivers.libvirt_codes import NetworkSection, NetworkUpdateCommand
from placo.drivers.ports import DomainSpec, Lease, NetworkSpec

PLATFORM = "33333333-1111-4111-8111-111111111111"
NETWORK = NetworkSpec(
    name="placo-alpha",
    uuid="11111111-1111-4111-8111-111111111111",
    bridge="plabcde",
    mac="52:54:00:00:00:01",
    gateway="10.77.16.1",
    prefix=28,
    dns_domain="alpha.placo.internal",
    leases=(
        Lease("52:54:00:00:00:02", "10.77.16.2", "www"),
        Lease("52:54:00:00:00:03", "10.77.16.3", "svn"),
    ),
    dns_hosts=(("10.77.0.2", "directory.placo.internal"),),
)
DOMAIN = DomainSpec(
    name="placo-alpha-www",
    uuid="22222222-1111-4111-8111-111111111111",
    title="alpha: <www> & more",
    memory_mib=512,
    vcpus=2,
    image="placo-www-0123456789ab",
    system_volume="alpha-www-system.qcow2",
    data_volume="alpha-www-data.qcow2",
    seed_volume="alpha-www-seed.iso",
    network="placo-alpha",
    mac="52:54:00:00:00:02",
    address="10.77.16.2",
    platform_uuid=PLATFORM,
)


def domain_xml(spec: DomainSpec = DOMAIN, *, domain_type: str = "qemu", cpu: str = "maximum") -> str:
    return libvirt_xml.domain_xml(spec, domain_type=domain_type, cpu=cpu, path_of="/pool/{}".format)


def assert_valid(xml: str, schema: str, folder: Path) -> None:
    path = folder / f"{schema}.xml"
    path.write_text(xml)
    result = subprocess.run(
        ["virt-xml-validate", str(path), schema], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("cpu", ["maximum", "host-model", "Nehalem"])
@pytest.mark.parametrize("domain_type", ["qemu", "kvm"])
@pytest.mark.parametrize("seed", [None, "alpha-www-seed.iso"])
def test_a_domain_is_valid(domain_type: str, cpu: str, seed: str | None, tmp_path: Path) -> None:
    spec = dataclasses.replace(DOMAIN, seed_volume=seed)
    assert_valid(domain_xml(spec, domain_type=domain_type, cpu=cpu), "domain", tmp_path)


@pytest.mark.parametrize(
    "network",
    [NETWORK, dataclasses.replace(NETWORK, leases=(), dns_hosts=())],
)
def test_a_network_is_valid(network: NetworkSpec, tmp_path: Path) -> None:
    assert_valid(libvirt_xml.network_xml(network), "network", tmp_path)


@pytest.mark.parametrize("backing", [None, "/pool/image.qcow2"])
@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_a_volume_is_valid(format: str, backing: str | None, tmp_path: Path) -> None:
    assert_valid(libvirt_xml.volume_xml("v", 1024, format, backing), "storagevol", tmp_path)


def test_the_filter_is_valid(tmp_path: Path) -> None:
    assert_valid(nwfilter.filter_xml(), "nwfilter", tmp_path)


def test_a_domain_boots_its_image_with_its_disks_in_order() -> None:
    domain = etree.fromstring(domain_xml())
    assert domain.findtext("os/kernel") == "/pool/placo-www-0123456789ab.vmlinuz"
    assert domain.findtext("os/initrd") == "/pool/placo-www-0123456789ab.initrd"
    assert "root=/dev/vda rw console=ttyS0 net.ifnames=0" in domain.findtext("os/cmdline", "")
    disks = [
        (
            disk.find("target").get("dev"),  # type: ignore[union-attr]
            disk.find("source").get("file"),  # type: ignore[union-attr]
            disk.find("driver").get("type"),  # type: ignore[union-attr]
            disk.find("readonly") is not None,
        )
        for disk in domain.iterfind("devices/disk")
    ]
    assert disks == [
        ("vda", "/pool/alpha-www-system.qcow2", "qcow2", False),
        ("vdb", "/pool/alpha-www-data.qcow2", "qcow2", False),
        ("vdc", "/pool/alpha-www-seed.iso", "raw", True),
    ]
    assert (domain.findtext("title"), domain.findtext("vcpu")) == (DOMAIN.title, "2")


def test_a_stock_image_boots_by_its_own_boot_loader(tmp_path: Path) -> None:
    text = domain_xml(dataclasses.replace(DOMAIN, image="stock-debian12-1f2e3d4c5b6a"))
    assert_valid(text, "domain", tmp_path)
    domain = etree.fromstring(text)
    assert [boot.get("dev") for boot in domain.iterfind("os/boot")] == ["hd"]
    assert domain.find("os/kernel") is None and domain.find("os/cmdline") is None
    assert [one.get("dev") for one in domain.iterfind("devices/disk/target")] == ["vda", "vdb", "vdc"]
    assert etree.fromstring(domain_xml()).find("os/boot") is None


def test_only_an_emulated_machine_goes_without_mitigations() -> None:
    assert "mitigations=off" in domain_xml(domain_type="qemu")
    assert "mitigations" not in domain_xml(domain_type="kvm")


def test_a_nic_has_its_mac_and_may_use_one_address() -> None:
    (nic,) = etree.fromstring(domain_xml()).iterfind("devices/interface")
    assert nic.xpath("mac/@address") == [DOMAIN.mac]
    assert nic.xpath("filterref/@filter") == [libvirt_xml.FILTER]
    assert nic.xpath("filterref/parameter[@name='IP']/@value") == [DOMAIN.address]


def test_the_filter_lets_out_what_bears_the_own_mac_and_drops_the_rest() -> None:
    definition = etree.fromstring(nwfilter.filter_xml())
    assert (definition.get("name"), definition.get("chain")) == (libvirt_xml.FILTER, "root")
    *allowed, last = sorted(definition.iterfind("rule"), key=lambda rule: int(rule.get("priority", "0")))
    assert {rule.get("action") for rule in allowed} == {"accept"}
    assert {rule.get("direction") for rule in (*allowed, last)} == {"out"}
    assert (last.get("action"), len(last)) == ("drop", 0), "everything else"
    for rule in allowed:
        (match,) = rule
        assert match.tag in ("ip", "arp")
        assert match.get("srcmacaddr") == "$MAC"
        assert match.get("arpsrcmacaddr") == ("$MAC" if match.tag == "arp" else None)
        source = match.get("srcipaddr" if match.tag == "ip" else "arpsrcipaddr")
        asks_for_an_address = match.tag == "arp" or (
            match.get("srcportstart"),
            match.get("dstportstart"),
        ) == (
            "68",
            "67",
        )
        assert source == "$IP" or (source == "0.0.0.0" and asks_for_an_address)


def test_a_filter_is_known_again_whatever_its_uuid_and_layout() -> None:
    ours, theirs = nwfilter.filter_xml(), nwfilter.filter_xml("44444444-1111-4111-8111-111111111111")
    assert nwfilter.same(ours, "<!-- kept by libvirt -->" + theirs.replace("\n", "\n\n").replace('"', "'"))
    assert not nwfilter.same(ours, theirs.replace("$MAC", "52:54:00:00:00:02"))


def test_a_domain_tells_its_platform_and_has_no_screen() -> None:
    domain = etree.fromstring(domain_xml())
    (machine,) = domain.iterfind(f"metadata/{{{libvirt_xml.PLACO_NAMESPACE}}}machine")
    assert libvirt_xml.platform_of(etree.tostring(machine, encoding="unicode")) == PLATFORM
    assert domain.find("devices/graphics") is None
    assert domain.find("seclabel") is None
    assert domain.xpath("devices/channel/target/@name") == ["org.qemu.guest_agent.0"]


def test_there_is_room_to_plug_things_in() -> None:
    domain = etree.fromstring(domain_xml())
    ports = len(domain.xpath("devices/controller[@model='pcie-root-port']"))
    in_use = len(
        domain.xpath("devices/disk | devices/interface | devices/channel | devices/memballoon | devices/rng")
    )
    assert ports >= in_use + 4


def test_the_seed_is_found_for_detaching() -> None:
    disk = libvirt_xml.disk_with_file(domain_xml(), "alpha-www-seed.iso")
    assert disk is not None
    assert etree.fromstring(disk).xpath("target/@dev") == ["vdc"]
    assert libvirt_xml.disk_with_file(domain_xml(), "seed.iso") is None
    assert libvirt_xml.disk_with_file(domain_xml(dataclasses.replace(DOMAIN, seed_volume=None)), "") is None


def test_a_network_leaves_the_wall_to_the_host_and_asks_nobody_for_names() -> None:
    network = etree.fromstring(libvirt_xml.network_xml(NETWORK))
    assert network.xpath("forward/@mode") == ["open"]
    assert network.xpath("domain/@localOnly") == ["yes"]
    assert network.xpath("//*[local-name()='option']/@value") == ["no-resolv"]
    assert network.find("dns/forwarder") is None
    assert network.find("ip/dhcp/range") is None


def test_a_network_is_read_back_as_it_was_written() -> None:
    written = libvirt_xml.network_xml(NETWORK)
    state = libvirt_xml.network_state(written)
    assert state.leases == frozenset(NETWORK.leases)
    assert (state.bridge, state.gateway, state.prefix) == ("plabcde", "10.77.16.1", 28)
    assert libvirt_xml.network_changes(written, NETWORK) == []


def test_reservations_go_before_others_come() -> None:
    moved = dataclasses.replace(
        NETWORK, leases=(Lease("52:54:00:00:00:04", "10.77.16.2", "wiki"), NETWORK.leases[1])
    )
    changes = libvirt_xml.network_changes(libvirt_xml.network_xml(NETWORK), moved)
    assert changes is not None
    delete, add = NetworkUpdateCommand.DELETE, NetworkUpdateCommand.ADD_LAST
    lease, name = NetworkSection.IP_DHCP_HOST, NetworkSection.DNS_HOST
    assert [(change.command, change.section) for change in changes] == [
        (delete, lease),
        (delete, name),
        (add, lease),
        (add, name),
    ]


@pytest.mark.parametrize("change", [{"bridge": "plother"}, {"gateway": "10.77.16.17"}, {"prefix": 27}])
def test_another_subnet_is_no_update(change: dict[str, str | int]) -> None:
    wanted = dataclasses.replace(NETWORK, **change)  # type: ignore[arg-type]
    assert libvirt_xml.network_changes(libvirt_xml.network_xml(NETWORK), wanted) is None


def test_a_mac_in_capitals_is_the_same_reservation() -> None:
    shouted = dataclasses.replace(
        NETWORK, leases=tuple(dataclasses.replace(one, mac=one.mac.upper()) for one in NETWORK.leases)
    )
    assert libvirt_xml.network_changes(libvirt_xml.network_xml(NETWORK), shouted) == []


def test_a_volume_is_private_and_read_back() -> None:
    written = libvirt_xml.volume_xml("v", 2048, "qcow2", "/pool/image.qcow2")
    assert etree.fromstring(written).findtext("target/permissions/mode") == "0600"
    state = libvirt_xml.volume_state(written)
    assert (state.capacity, state.format, state.backing_path) == (2048, "qcow2", "/pool/image.qcow2")
    assert libvirt_xml.volume_state(libvirt_xml.volume_xml("v", 1, "raw")).backing_path is None
