"""XML of templates and clones: valid by libvirt's schema, the same devices, another identity."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from placo.drivers import libvirt_clone_xml as clone_xml
from placo.drivers import libvirt_xml
from placo.drivers.ports import TemplateBroken
from tests.unit.test_libvirt_xml import DOMAIN, PLATFORM, assert_valid, domain_xml

CLONE = dataclasses.replace(DOMAIN, seed_volume=None)
TEMPLATE = dataclasses.replace(
    CLONE,
    name="placo-www-0123456789ab--01234567--template",
    uuid="00000000-0000-4000-8000-000000000001",
    title="PLACO template",
    system_volume="placo-www-0123456789ab--01234567.qcow2",
    platform_uuid="",
)
PATH = f"/pool/{CLONE.system_volume}"


def saved() -> bytes:
    """A template's description as libvirt saves it: memory in KiB, and what it made up while the domain ran."""
    root = etree.fromstring(clone_xml.template_xml(domain_xml(TEMPLATE)))
    for memory in root.iterfind("memory"):
        memory.set("unit", "KiB")
        memory.text = str(TEMPLATE.memory_mib * 1024)
    for disk in root.iterfind("devices/disk"):
        chain = etree.SubElement(disk, "backingStore", type="file")
        etree.SubElement(chain, "format", type="qcow2")
        etree.SubElement(chain, "source", file="/pool/placo-www-0123456789ab.qcow2")
    for number, device in enumerate(root.iterfind("devices/*")):
        if device.tag in ("serial", "console"):
            device.insert(0, etree.Element("source", path=f"/dev/pts/{number}"))
        if device.tag == "console":
            device.set("tty", f"/dev/pts/{number}")
        if device.tag == "channel":
            device.insert(0, etree.Element("source", mode="bind", path="/run/libvirt/template.sock"))
    return clone_xml.with_size(etree.tostring(root), 123456789)


def clone(description: bytes | None = None) -> etree._Element:
    return etree.fromstring(clone_xml.clone_xml(description or saved(), CLONE, PATH))


def words(root: etree._Element) -> list[str]:
    return (root.findtext("os/cmdline") or "").split()


@pytest.mark.parametrize("domain_type", ["qemu", "kvm"])
def test_a_template_is_valid(domain_type: str, tmp_path: Path) -> None:
    xml = clone_xml.template_xml(domain_xml(TEMPLATE, domain_type=domain_type))
    assert_valid(xml, "domain", tmp_path)


def test_a_clone_is_valid(tmp_path: Path) -> None:
    assert_valid(saved().decode(), "domain", tmp_path)
    assert_valid(clone_xml.clone_xml(saved(), CLONE, PATH).decode(), "domain", tmp_path)


def test_what_is_plugged_in_is_valid(tmp_path: Path) -> None:
    for link in ("up", "down"):
        root = clone()
        devices = root.find("devices")
        assert devices is not None
        devices.append(etree.fromstring(clone_xml.disk_xml(clone_xml.DATA_DEVICE, "/pool/data.qcow2")))
        devices.append(etree.fromstring(clone_xml.nic_xml(CLONE, link=link)))
        assert_valid(libvirt_xml.text(root), "domain", tmp_path)


def test_a_template_has_one_disk_no_nic_and_nobodys_name() -> None:
    root = etree.fromstring(clone_xml.template_xml(domain_xml(DOMAIN)))
    assert [s.get("file") for s in root.iterfind("devices/disk/source")] == [f"/pool/{DOMAIN.system_volume}"]
    assert root.find("devices/interface") is None
    assert root.find("metadata") is None
    assert words(root)[-1] == "placo.template"
    assert words(root)[:-1] == words(etree.fromstring(domain_xml(DOMAIN)))


def test_a_clone_has_its_own_identity() -> None:
    root = clone()
    assert [root.findtext(tag) for tag in ("name", "uuid", "title")] == [CLONE.name, CLONE.uuid, CLONE.title]
    (metadata,) = root.findall("metadata")
    assert libvirt_xml.platform_of(etree.tostring(metadata[0]).decode()) == PLATFORM
    assert len(metadata) == 1
    assert [dict(s.attrib) for s in root.iterfind("devices/disk/source")] == [{"file": PATH}]
    assert "placo.template" not in words(root)
    assert words(root) == words(etree.fromstring(domain_xml(CLONE)))


def test_nothing_of_the_template_is_left_in_a_clone() -> None:
    text = clone_xml.clone_xml(saved(), CLONE, PATH).decode()
    for trace in (TEMPLATE.name, TEMPLATE.uuid, TEMPLATE.title, TEMPLATE.system_volume, "saved"):
        assert trace not in text
    root = clone()
    for path in ("disk/backingStore", "channel/source", "serial/source", "console/source"):
        assert root.find(f"devices/{path}") is None, path
    assert all(console.get("tty") is None for console in root.iterfind("devices/console"))


def test_a_clone_has_the_devices_of_its_template_in_their_order() -> None:
    """What QEMU resumes must be what was saved: nothing but the identity of a device may change."""

    def shape(root: etree._Element) -> list[tuple[str, str | None, list[str]]]:
        kept = []
        for device in root.iterfind("devices/*"):
            inside = [str(child.tag) for child in device if child.tag not in ("source", "backingStore")]
            kept.append((str(device.tag), device.get("model"), inside))
        return kept

    assert shape(clone()) == shape(etree.fromstring(saved()))
    for tag in ("vcpu", "features", "cpu", "clock", "os/type", "os/kernel", "os/initrd", "genid"):
        found, wanted = clone().find(tag), etree.fromstring(saved()).find(tag)
        assert found is not None and wanted is not None, tag
        assert etree.tostring(found).strip() == etree.tostring(wanted).strip()


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60))
def test_any_title_survives(title: str) -> None:
    spec = dataclasses.replace(CLONE, title=title)
    root = etree.fromstring(clone_xml.clone_xml(saved(), spec, PATH))
    assert (root.findtext("title") or "") == title


@pytest.mark.parametrize("path", ["memory", "name", "uuid", "title", "os/cmdline", "devices/disk"])
def test_a_description_that_lacks_something_is_no_template(path: str) -> None:
    root = etree.fromstring(saved())
    for element in root.findall(path):
        parent = element.getparent()
        assert parent is not None
        parent.remove(element)
    with pytest.raises(TemplateBroken, match=f"no <{path}>"):
        clone(etree.tostring(root))


@pytest.mark.parametrize(("unit", "text"), [("KiB", "524289"), ("MiB", "524288"), ("KiB", ""), ("KiB", "x")])
def test_a_template_of_another_size_is_refused(unit: str, text: str) -> None:
    root = etree.fromstring(saved())
    for memory in root.iterfind("memory"):
        memory.set("unit", unit)
        memory.text = text
    with pytest.raises(TemplateBroken, match="512 MiB"):
        clone(etree.tostring(root))


@given(st.integers(0, 2**63))
def test_the_length_is_kept_in_the_description(size: int) -> None:
    described = clone_xml.with_size(saved(), size)
    assert clone_xml.size_of(described) == size
    assert clone_xml.size_of(clone_xml.with_size(described, 5)) == 5


@pytest.mark.parametrize("bytes_", [None, "", "many", "1.5"])
def test_a_length_that_is_not_there_is_no_length(bytes_: str | None) -> None:
    root = etree.fromstring(saved())
    for element in root.iterfind(f"metadata/{{{libvirt_xml.PLACO_NAMESPACE}}}saved"):
        if bytes_ is None:
            element.attrib.clear()
        else:
            element.set("bytes", bytes_)
    for description in (etree.tostring(root), b"<domain/>", b"<domain><metadata/></domain>"):
        with pytest.raises(TemplateBroken, match="does not say how long"):
            clone_xml.size_of(description)


def test_disks_and_nics_are_found_by_name_and_mac() -> None:
    xml = domain_xml(DOMAIN)
    assert clone_xml.has_disk(xml, DOMAIN.data_volume)
    assert not clone_xml.has_disk(xml, DOMAIN.data_volume.removesuffix(".qcow2"))
    assert not clone_xml.has_disk(clone_xml.template_xml(xml), DOMAIN.data_volume)
    assert clone_xml.has_nic(xml, DOMAIN.mac.upper())
    assert not clone_xml.has_nic(clone_xml.template_xml(xml), DOMAIN.mac)
    assert not clone_xml.has_nic(xml, "52:54:00:00:00:99")


def test_a_nic_is_plugged_in_as_it_would_be_defined_but_for_its_link() -> None:
    (defined,) = etree.fromstring(domain_xml(CLONE)).iterfind("devices/interface")
    for state in ("up", "down"):
        plugged = etree.fromstring(clone_xml.nic_xml(CLONE, link=state))
        (link,) = plugged.findall("link")
        assert dict(link.attrib) == {"state": state}
        plugged.remove(link)
        assert (
            etree.tostring(plugged, method="c14n").split() == etree.tostring(defined, method="c14n").split()
        )
