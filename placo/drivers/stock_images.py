"""Importing stock images: a disk that a distribution publishes, as a file, into the folder of images.

What is imported is a whole disk with a boot loader (qcow2 or raw), as Debian's cloud images are. It is named by the hash of the
file, so that a machine's manifest says exactly which one it means:

    <cache>/stock-debian12-1f2e3d4c5b6a/{disk.qcow2,recipe.json}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from placo.domain import stock
from placo.drivers.image_folder import locked, workplace
from placo.drivers.image_root import run
from placo.drivers.ports import DriverError

FORMATS = ("qcow2", "raw")
SECTOR = 512
BOOT_SIGNATURE = b"\x55\xaa"
"""Ends the first sector of a disk that a BIOS boots from."""


def import_image(folder: Path, label: str, file: Path, report: Callable[[str], None]) -> str:
    """Take `file` in under `label`; its name, which a machine's manifest gives. Harmless when it is there already.

    DriverError, with what to do, for a file that is no such disk.
    """
    file = (
        file.resolve()
    )  # else qemu-img would take a name with a colon for something to be reached by a network
    try:
        with file.open("rb") as opened:
            name = stock.stock_name(label, hashlib.file_digest(opened, "sha256").hexdigest())
    except OSError as error:
        raise DriverError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError:
        raise DriverError(
            f'"{label}" cannot be the name of an image: a to z, digits and hyphens, 32 characters at most, such as debian12'
        ) from None
    with locked(folder, name):
        if (folder / name / "recipe.json").exists():
            report(f"{name}: imported already")
            return name
        format_ = _format(file)
        with workplace(folder, name) as work:
            place = work / name
            place.mkdir()
            disk = place / "disk.qcow2"
            run(["qemu-img", "convert", "-f", format_, "-O", "qcow2", file, disk])
            _check_boot_sector(disk, work / "head", file)
            facts = {
                "name": name,
                "virtual_size": _info(disk, "qcow2")["virtual-size"],
                "recipe": {"file": file.name, "format": format_},
            }
            (place / "recipe.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
            place.rename(folder / name)
    report(f"{name}: imported, {(folder / name / 'disk.qcow2').stat().st_size / 1e6:.0f} MB")
    return name


def _info(file: Path, *format_: str) -> dict[str, Any]:
    """What qemu-img says of a disk, without looking at any other file that it may name."""
    words = ["-f", *format_] if format_ else []
    found: dict[str, Any] = json.loads(run(["qemu-img", "info", "--output=json", *words, file]))
    return found


def _format(file: Path) -> str:
    """The format of a disk that holds all of its content itself: a qcow2 may name other files of this machine, to be read with it."""
    info = _info(file)
    if info["format"] not in FORMATS:
        raise DriverError(
            f"{file} is a {info['format']}, not one of {', '.join(FORMATS)}: convert it with qemu-img convert -O qcow2"
        )
    more = info.get("format-specific", {}).get("data", {})
    if info.get("backing-filename") or more.get("data-file"):
        raise DriverError(
            f"{file} needs another file beside it: make one of both with qemu-img convert -O qcow2"
        )
    if info.get("encrypted"):
        raise DriverError(f"{file} is encrypted: no machine could read it")
    return str(info["format"])


def _check_boot_sector(disk: Path, head: Path, file: Path) -> None:
    run(["qemu-img", "dd", "-f", "qcow2", "-O", "raw", f"bs={SECTOR}", "count=1", f"if={disk}", f"of={head}"])
    if head.read_bytes()[SECTOR - 2 : SECTOR] != BOOT_SIGNATURE:
        raise DriverError(
            f"{file} has no boot sector: take an image of a whole disk, with partitions and boot loader, for machines with a BIOS"
        )
