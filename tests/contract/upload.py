"""Uploads an image in a process of its own, slowly where that can be chosen, to be killed in the middle.

Arguments: name, disk, kernel, initrd, then ``fake DIRECTORY`` or ``libvirt URI POOL``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.drivers.libvirt import LibvirtHypervisor
from placo.drivers.ports import Hypervisor, ImageFiles


def main(name: str, disk: str, kernel: str, initrd: str, kind: str, *where: str) -> None:
    """Build the driver and let it upload."""
    hypervisor: Hypervisor
    if kind == "fake":
        hypervisor = FakeHypervisor(Path(where[0]), delays={"upload": 0.01})
    else:
        hypervisor = LibvirtHypervisor("h", where[0], storage_pool=where[1], domain_type="qemu")
    hypervisor.ensure_image(ImageFiles(name, Path(disk), Path(kernel), Path(initrd), 1))


main(*sys.argv[1:])
