"""The classic way's template: a stock Debian with cloud-init, a default initramfs, Apache and PHP; nothing tuned.

It is kept in the same cache as PLACO's own images, by the hash of its recipe. It has neither partitions nor a boot loader
(the kernel is given to the hypervisor, as PLACO does), which can only make the classic way faster.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from deploy import stock
from placo.domain.catalogue import SUITE, recipe_hash
from placo.drivers import image_root
from placo.drivers.image_folder import workplace
from placo.drivers.images import ImageCache, Report

PREFIX = "placo-bench--"
"""Begins the names of everything that the benchmark makes: a slug has no two hyphens in a row, so nobody's platform
can be called like that."""

KERNEL_ARGUMENTS = "root=LABEL=placo-system ro console=ttyS0 quiet"

RECIPE: dict[str, Any] = {
    "suite": SUITE,
    "packages": ["apache2", "libapache2-mod-php", *stock.PACKAGES],
    "files": {
        "etc/fstab": "LABEL=placo-system / ext4 rw,discard,errors=remount-ro 0 1\n",
        "etc/machine-id": "",
    },
}


class StockImage(ImageCache):
    """The stock image in place of a kind of machine, in the cache of PLACO's images: built by `ensure` when missing."""

    def name_for(self, machine: str) -> str:
        """The image's name; the kind of machine only says how big its disk is."""
        return f"{PREFIX}stock-{machine}-{recipe_hash(self._recipe(machine))[:12]}"

    def _recipe(self, machine: str) -> dict[str, Any]:
        return {**RECIPE, "system_disk_gib": self.catalogue.machines[machine].system_disk_gib}

    def _build(self, machine: str, name: str, report: Report) -> None:
        started = time.monotonic()
        report(f"{name}: building (some minutes, once)")
        with workplace(self.folder, name) as work:
            root, image = work / "root", work / name
            stock.bootstrap(root, RECIPE["packages"], RECIPE["files"])
            _name_kernel(root)
            image.mkdir()
            size = self.catalogue.machines[machine].system_disk_gib << 30
            image_root.make_disk(root, image, size)
            facts = {
                "name": name,
                "virtual_size": size,
                "recipe": self._recipe(machine),
                "packages": image_root.installed_packages(root),
            }
            (image / "recipe.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
            image.rename(self.folder / name)
        report(f"{name}: built in {time.monotonic() - started:.0f} s")


def _name_kernel(root: Path) -> None:
    """make_disk takes kernel and initial RAM disk by these names; here they are Debian's own, as they were installed."""
    for source, target in (("vmlinuz", "placo-kernel"), ("initrd.img", "placo-initrd")):
        (found,) = (root / "boot").glob(f"{source}-*-amd64")
        shutil.copyfile(found, root / "boot" / target)
