"""Images without building any: tiny files in a folder that several processes may share."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from placo.domain.stock import is_stock
from placo.drivers.ports import ImageFiles, Rejected

_HEADS = {"qcow2": b"QFI\xfb", "vmlinuz": b"MZ", "initrd": b"\x1f\x8b"}


class FakeImages:
    """`ports.Images`: `versions` makes a machine's image another one, those of machines in `unbuilt` are not there.

    `stock`: machine -> the name of the stock image that it is made of; `sizes`: image -> bytes of its disk, for those of any size.
    """

    def __init__(self, directory: Path) -> None:
        self.versions: dict[str, int] = {}
        self.unbuilt: set[str] = set()
        self.stock: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def name_for(self, machine: str) -> str:
        return self.stock.get(machine) or f"placo-{machine}-{self.versions.get(machine, 0):012x}"

    def files(self, name: str) -> ImageFiles:
        if name.split("-")[1] in self.unbuilt:
            raise Rejected(f"image {name} has not been built here")
        paths = {}
        for ending, head in list(_HEADS.items())[: 1 if is_stock(name) else None]:
            paths[ending] = path = self._directory / f"{name}.{ending}"
            if not path.exists():
                # Whole or not there: another process may be reading it.
                draft = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
                draft.write_bytes(head + name.encode() * 20)
                draft.replace(path)
        size = self.sizes.get(name) or paths["qcow2"].stat().st_size
        return ImageFiles(name, paths["qcow2"], paths.get("vmlinuz"), paths.get("initrd"), size)
