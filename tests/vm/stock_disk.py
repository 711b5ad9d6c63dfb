"""A disk as Debian publishes them for clouds: partition table, GRUB, a root file system that cloud-init makes larger.

Built once for each recipe, beside the images of PLACO.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deploy import stock
from deploy.lab.shell import run
from placo.domain.catalogue import SUITE, recipe_hash
from placo.drivers import image_root
from placo.drivers.image_folder import locked, workplace

LABEL = "cloud-root"
SECTOR, START, DISK = 512, 2048, 3 << 30
"""Bytes of a sector, the first one of the root partition, bytes of the disk."""
RECIPE: dict[str, Any] = {
    "version": 1,
    "suite": SUITE,
    "packages": [
        *stock.PACKAGES,
        "busybox-static",
        "cloud-guest-utils",
        "e2fsprogs",
        "grub-pc-bin",
        "grub2-common",
        "iproute2",
        "libpam-systemd",
        "openssh-server",
        "sudo",
        "systemd-resolved",
    ],
    "files": {
        "etc/fstab": f"LABEL={LABEL} / ext4 rw,discard,errors=remount-ro 0 1\n",
        "etc/default/locale": "LANG=C.UTF-8\n",
        "etc/machine-id": "",
    },
    "modules": "biosdisk part_msdos ext2 normal linux search search_label boot configfile",
}
GRUB = """\
search --label --set=root {label}
linux /boot/vmlinuz-{version} root=LABEL={label} ro console=tty0 console=ttyS0,115200
initrd /boot/initrd.img-{version}
boot
"""


def stock_disk(folder: Path, packages: Iterable[str]) -> Path:
    """The disk (qcow2) with these packages in it besides, which whoever prepares an image puts there. Needs root; takes minutes, once."""
    recipe = {**RECIPE, "packages": sorted({*RECIPE["packages"], *packages}), "grub": GRUB}
    name = f"test-stock-{recipe_hash(recipe)[:12]}.qcow2"
    with locked(folder, name):
        if not (folder / name).exists():
            with workplace(folder, name) as work:
                root = work / "root"
                stock.bootstrap(root, recipe["packages"], recipe["files"])
                _prepare(root)
                raw, disk = work / "raw", work / name
                _lay_out(root, raw)
                run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, disk], timeout=600)
                disk.rename(folder / name)
    return folder / name


def _prepare(root: Path) -> None:
    """What Debian's own do: networkd, no identity; and the boot loader's parts."""
    image_root.in_chroot(root, ["systemctl", "enable", "systemd-networkd.service"])
    for pattern in ("etc/ssh/ssh_host_*", "etc/hostname", "var/lib/apt/lists/*_*", "var/cache/apt/*.bin"):
        for path in root.glob(pattern):
            path.unlink()
    (kernel,) = (root / "boot").glob("vmlinuz-*-amd64")
    version = kernel.name.removeprefix("vmlinuz-")
    grub = root / "boot/grub"
    grub.mkdir(exist_ok=True)
    (grub / "grub.cfg").write_text(GRUB.format(label=LABEL, version=version))
    command = ["grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", "/boot/grub/core.img"]
    image_root.in_chroot(root, [*command, *RECIPE["modules"].split()])


def _lay_out(root: Path, raw: Path) -> None:
    """One partition, and GRUB in front of it: where its two parts look for each other unless told otherwise."""
    with raw.open("wb") as file:
        file.truncate(DISK)
    size = DISK // SECTOR - START
    run(
        [
            *("mke2fs", "-q", "-t", "ext4", "-L", LABEL, "-d", root),
            *("-E", f"offset={START * SECTOR}", raw, f"{size * SECTOR >> 10}k"),
        ],
        timeout=600,
    )
    code = (root / "usr/lib/grub/i386-pc/boot.img").read_bytes()
    core = (root / "boot/grub/core.img").read_bytes()
    assert len(core) <= (START - 1) * SECTOR
    partition = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", START, size)
    with raw.open("r+b") as file:
        file.write(code[:440] + bytes(6) + partition + bytes(48) + b"\x55\xaa" + core)
