"""Uploads an image in a process of its own, slowly, to be killed in the middle.

Arguments: name, disk, kernel, initrd, then ``fake DIRECTORY`` or ``libvirt URI POOL``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import libvirt

from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.drivers.libvirt import LibvirtHypervisor
from placo.drivers.ports import Hypervisor, ImageFiles

PAUSE_S = 0.02
"""After each part of a disk."""
_send = libvirt.virStream.send


def _slowly(stream: libvirt.virStream, data: bytes) -> int:
    time.sleep(PAUSE_S)
    sent: int = _send(stream, data)
    return sent


def main(name: str, disk: str, kernel: str, initrd: str, kind: str, *where: str) -> None:
    """Build the driver and let it upload."""
    hypervisor: Hypervisor
    if kind == "fake":
        hypervisor = FakeHypervisor(Path(where[0]), delays={"upload": PAUSE_S})
    else:
        libvirt.virStream.send = _slowly
        hypervisor = LibvirtHypervisor("h", where[0], storage_pool=where[1], domain_type="qemu")
    hypervisor.ensure_image(ImageFiles(name, Path(disk), Path(kernel), Path(initrd), 1))


main(*sys.argv[1:])
