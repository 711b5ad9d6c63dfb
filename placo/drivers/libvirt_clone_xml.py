"""XML of templates and of the clones that are resumed from their saved memory. Pure, like libvirt_xml.

What QEMU resumes must have the very devices that were saved, at the same addresses. So the description of a clone is that of
its template, read from the saved memory, with another identity; what the template had not is plugged in afterwards.
"""

from __future__ import annotations

import posixpath

from lxml import etree
from lxml.builder import E

from placo.drivers import libvirt_xml as xml
from placo.drivers.ports import DomainSpec, TemplateBroken

DATA_DEVICE = "vdb"
_MARK = "placo.template"
"""Word of the kernel's command line by which a guest knows that it is a template (guest/usr/lib/placo/boot)."""
_SIZE = f"{{{xml.PLACO_NAMESPACE}}}saved"


def template_xml(domain: str) -> str:
    """A template's domain: the one described by `domain` (with all disks and its NIC) without data volume and NIC."""
    root = etree.fromstring(domain)
    devices = _one(root, "devices")
    for element in (*devices.findall("disk")[1:], *devices.findall("interface")):
        devices.remove(element)
    metadata = _one(root, "metadata")
    root.remove(metadata)
    line = _one(root, "os/cmdline")
    line.text = f"{line.text} {_MARK}"
    return xml.text(root)


def with_size(description: bytes, size: int) -> bytes:
    """The description in a template's saved memory, saying how long the whole of it is, in bytes."""
    root = etree.fromstring(description)
    for old in root.findall("metadata"):
        root.remove(old)
    root.append(E.metadata(xml.PLACO.saved(bytes=str(size))))
    return _bytes(root)


def size_of(description: bytes) -> int:
    """What `with_size` wrote; TemplateBroken when there is nothing."""
    found = etree.fromstring(description).find(f"metadata/{_SIZE}")
    try:
        return int("" if found is None else found.get("bytes", ""))
    except ValueError:
        raise TemplateBroken("the saved memory does not say how long it is") from None


def clone_xml(description: bytes, spec: DomainSpec, system_path: str) -> bytes:
    """The description of the clone `spec` for the head of its copy of the memory; `system_path` is its system disk.

    TemplateBroken when the template is not one that `spec` can be a clone of.
    """
    root = etree.fromstring(description)
    memory = _one(root, "memory")
    if (memory.get("unit", "KiB"), memory.text) != ("KiB", str(spec.memory_mib * 1024)):
        raise TemplateBroken(
            f"the template has {memory.text} KiB of memory, {spec.name} shall have {spec.memory_mib} MiB"
        )
    for name, value in (("name", spec.name), ("uuid", spec.uuid), ("title", spec.title)):
        _one(root, name).text = value
    for old in root.findall("metadata"):
        root.remove(old)
    root.append(E.metadata(xml.PLACO.machine(platform=spec.platform_uuid)))
    line = _one(root, "os/cmdline")
    line.text = " ".join(word for word in (line.text or "").split() if word != _MARK)
    disk = _one(root, "devices/disk")
    source = _one(disk, "source")
    source.attrib.clear()
    source.set("file", system_path)
    for chain in disk.findall("backingStore"):
        disk.remove(chain)  # libvirt looks it up in the file
    # Sockets and terminals of the template's: libvirt makes new ones.
    for device in ("channel", "serial", "console"):
        for element in root.iterfind(f"devices/{device}"):
            for place in element.findall("source"):
                element.remove(place)
    for console in root.iterfind("devices/console"):
        console.attrib.pop("tty", None)
    return _bytes(root)


def disk_xml(target: str, path: str) -> str:
    """A qcow2 disk to be plugged in."""
    return xml.text(xml.disk(target, path, "qcow2"))


def nic_xml(spec: DomainSpec, *, link: str) -> str:
    """The NIC of a domain to be plugged in, or changed: its link is ``up`` or ``down``."""
    nic = xml.nic(spec)
    nic.append(E.link(state=link))
    return xml.text(nic)


def has_disk(domain: str, volume: str) -> bool:
    """Whether a domain has a disk whose file is called like this."""
    sources = etree.fromstring(domain).iterfind("devices/disk/source")
    return any(posixpath.basename(source.get("file", "")) == volume for source in sources)


def has_nic(domain: str, mac: str) -> bool:
    """Whether a domain has a NIC with this MAC."""
    macs = etree.fromstring(domain).iterfind("devices/interface/mac")
    return any(found.get("address", "").lower() == mac.lower() for found in macs)


def _one(parent: etree._Element, path: str) -> etree._Element:
    found = parent.find(path)
    if found is None:
        raise TemplateBroken(f"the description has no <{path}>")
    return found


def _bytes(root: etree._Element) -> bytes:
    return bytes(etree.tostring(root, encoding="utf-8"))
