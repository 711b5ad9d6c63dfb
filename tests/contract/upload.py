"""Begins to upload an image in a process of its own, to be killed in the middle: the fake slowly, libvirt up to there.

Arguments: name, disk, kernel, initrd, then ``fake DIRECTORY`` or ``libvirt URI POOL``.
"""

from __future__ import annotations

import itertools
import signal
import sys
from pathlib import Path

import libvirt

from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.drivers.libvirt import LibvirtHypervisor
from placo.drivers.ports import Hypervisor, ImageFiles

PARTS = 10
"""How many parts of a disk (256 KiB each) get to libvirt; then nothing happens until the end comes from outside."""
_send, _sent = libvirt.virStream.send, itertools.count()


def _stop_in_the_middle(stream: libvirt.virStream, data: bytes) -> int:
    if next(_sent) >= PARTS:
        signal.pause()
    done: int = _send(stream, data)
    return done


def main(name: str, disk: str, kernel: str, initrd: str, kind: str, *where: str) -> None:
    """Build the driver and let it upload."""
    hypervisor: Hypervisor
    if kind == "fake":
        hypervisor = FakeHypervisor(Path(where[0]), delays={"upload": 0.01})
    else:
        libvirt.virStream.send = _stop_in_the_middle
        hypervisor = LibvirtHypervisor("h", where[0], storage_pool=where[1], domain_type="qemu")
    hypervisor.ensure_image(ImageFiles(name, Path(disk), Path(kernel), Path(initrd), 1))


main(*sys.argv[1:])
