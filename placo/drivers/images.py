"""Building the images of a catalogue's machines, and finding them again.

An image is a root file system of Debian packages (mmdebstrap, then packages added in layers), made into an ext4 disk
without partitions (``mke2fs -d``) and that into qcow2; kernel and initial RAM disk are taken out for direct kernel boot.
It is named by the hash of what it was made from, so that an image that exists is never built again:

    <cache>/placo-www-1f2e3d4c5b6a/{disk.qcow2,vmlinuz,initrd,recipe.json}

    python -m placo.drivers.images build [--catalogue FOLDER] [--cache FOLDER] [MACHINE ...]

What no catalogue has asked for in so many days is removed by

    python -m placo.drivers.images prune [--days N] [--catalogue FOLDER] [--cache FOLDER]

Stock images are not built: an administrator imports them (placo.drivers.stock_images), and a machine's manifest names one.

    python -m placo.drivers.images import [--cache FOLDER] NAME FILE
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from placo.domain import stock
from placo.domain.catalogue import SUITE, Catalogue, CatalogueError, Software, load_catalogue, recipe_hash
from placo.drivers import image_root
from placo.drivers.image_folder import locked, workplace
from placo.drivers.ports import DriverError, ImageFiles, Rejected
from placo.drivers.stock_images import import_image

Report = Callable[[str], None]
_BUILT = re.compile(r"placo-[a-z0-9-]+-[0-9a-f]{12}|base-[0-9a-f]{12}\.tar")

KERNEL_ARGUMENTS = "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet"
"""How the kernel of an image is started under KVM or QEMU (root=/dev/xvda console=hvc0 under Xen)."""


def default_cache() -> Path:
    """Where images are kept: $PLACO_IMAGE_CACHE, else a folder of the machine that checkouts share."""
    return Path(os.environ.get("PLACO_IMAGE_CACHE") or "/var/cache/placo/images")


class ImageCache:
    """The images of one catalogue in a folder of built images. Implements `placo.drivers.ports.Images`."""

    def __init__(self, folder: Path, catalogue: Catalogue) -> None:
        self.folder = folder
        self.catalogue = catalogue

    def name_for(self, machine: str) -> str:
        """The name of the current image of a kind of machine, built or not."""
        return self.catalogue.image_name(machine)

    @property
    def base_name(self) -> str:
        """The archive of the layer that all images share."""
        return f"base-{recipe_hash(self.catalogue.base_recipe())[:12]}.tar"

    def files(self, name: str) -> ImageFiles:
        """The files of an image; Rejected when it has not been built, or imported, here."""
        place = self.folder / name
        try:
            facts = json.loads((place / "recipe.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            made = f"imported here: {stock.IMPORT}" if stock.is_stock(name) else "built here"
            raise Rejected(f"image {name} has not been {made} (looked in {self.folder})") from error
        own = not stock.is_stock(name)
        return ImageFiles(
            name=name,
            disk=place / "disk.qcow2",
            kernel=place / "vmlinuz" if own else None,
            initrd=place / "initrd" if own else None,
            virtual_size=int(facts["virtual_size"]),
        )

    def ensure(self, machine: str, report: Report = print) -> ImageFiles:
        """The image of a kind of machine, built if need be. Needs root. DriverError if the build fails, or a stock image that the
        machine wants is not there or too large for it."""
        name = self.name_for(machine)
        if stock.is_stock(name):
            return self._imported(machine, name, report)
        with locked(self.folder, name):
            if not (self.folder / name / "recipe.json").exists():
                self._build(machine, name, report)
            else:
                os.utime(self.folder / name)  # still wanted: prune() looks at that
                report(f"{name}: already built")
        return self.files(name)

    def _imported(self, machine: str, name: str, report: Report) -> ImageFiles:
        image, size_gib = self.files(name), self.catalogue.machines[machine].system_disk_gib
        if image.virtual_size > size_gib << 30:
            least = -(-image.virtual_size >> 30)
            raise DriverError(
                f"{name} does not fit into machine {machine}: write system_disk_gib = {least} or more, it has {size_gib}"
            )
        report(f"{name}: imported")
        return image

    def _build(self, machine: str, name: str, report: Report) -> None:
        started = time.monotonic()
        base = self._ensure_base(report)
        with workplace(self.folder, name) as work:
            root = work / "root"
            image_root.unpack(base, root)
            image_root.add_layers(root, self._layers(machine), SUITE, lambda text: report(f"{name}: {text}"))
            image_root.finish(root)
            size = self.catalogue.machines[machine].system_disk_gib << 30
            image = work / name
            image.mkdir()
            image_root.make_disk(root, image, size)
            facts: dict[str, Any] = {
                "name": name,
                "virtual_size": size,
                "recipe": self.catalogue.image_recipe(machine),
                "packages": image_root.installed_packages(root),
            }
            (image / "recipe.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
            image.rename(self.folder / name)
        used = (self.folder / name / "disk.qcow2").stat().st_size
        report(f"{name}: built in {time.monotonic() - started:.0f} s, {used / 1e6:.0f} MB")

    def _layers(self, machine: str) -> Sequence[Software]:
        return self.catalogue.software_of(machine)[1:]

    def _ensure_base(self, report: Report) -> Path:
        """The tar archive of the shared first layer."""
        path = self.folder / self.base_name
        with locked(self.folder, path.name):
            if path.exists():
                os.utime(path)
                return path
            started = time.monotonic()
            report(f"{path.stem}: building the layer that all images share")
            with workplace(self.folder, path.name) as work:
                base = self.catalogue.software_of(next(iter(self.catalogue.machines)))[0]
                root = work / "root"
                image_root.bootstrap(root, base, SUITE)
                image_root.install_files(root, self.catalogue.guest_files)
                image_root.run_build(root, base)
                packed = work / path.name
                image_root.pack(root, packed)
                packed.rename(path)
            report(f"{path.stem}: built in {time.monotonic() - started:.0f} s")
        return path


def build_all(cache: ImageCache, machines: Sequence[str], report: Report) -> list[ImageFiles]:
    """Build these machines' images (all of the catalogue's when none is named)."""
    names = list(machines) or sorted(cache.catalogue.machines)
    unknown = [name for name in names if name not in cache.catalogue.machines]
    if unknown:
        raise DriverError(f"no such machine in the catalogue: {', '.join(unknown)}")
    return [cache.ensure(name, report) for name in names]


def prune(cache: ImageCache, days: int, report: Report) -> None:
    """Remove what was last asked for, by whatever catalogue, at least so many days ago. What this catalogue has stays, and so do
    imported images, which nobody could build again. Machines go on: their host has its own copy. Needs root."""
    kept = {cache.name_for(machine) for machine in cache.catalogue.machines} | {cache.base_name}
    for path in sorted(cache.folder.glob("*")):
        if not _BUILT.fullmatch(path.name) or path.name in kept:
            continue
        with locked(cache.folder, path.name):
            if not path.exists() or time.time() - path.stat().st_mtime < days * 86400:
                continue
            if path.is_dir():
                (path / "recipe.json").unlink(missing_ok=True)  # from here on it is not there
                shutil.rmtree(path)
            else:
                path.unlink()
        report(f"{path.name}: removed")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m placo.drivers.images", description="Build machine images, or import them."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build what is missing")
    old = commands.add_parser("prune", help="remove images that no catalogue has asked for in a while")
    old.add_argument("--days", type=int, default=30, help="how long that is (default 30)")
    for command in (build, old):
        command.add_argument(
            "--catalogue", type=Path, default=Path(__file__).resolve().parents[2] / "catalogue"
        )
        command.add_argument("--cache", type=Path, default=default_cache())
    build.add_argument("machines", nargs="*", metavar="MACHINE", help="kinds of machine; all by default")
    take = commands.add_parser("import", help="take in a stock image, such as Debian's for clouds")
    take.add_argument("--cache", type=Path, default=default_cache())
    take.add_argument("name", metavar="NAME", help="what to call it, such as debian12")
    take.add_argument("file", metavar="FILE", type=Path, help="a disk with a boot loader: qcow2 or raw")
    options = parser.parse_args(arguments)
    started = time.monotonic()

    def report(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", flush=True)

    try:
        if options.command == "import":
            name = import_image(options.cache, options.name, options.file, report)
            print(f'In the machine.toml of who is to have it: image = "{name}"')
            return 0
        cache = ImageCache(options.cache, load_catalogue(options.catalogue))
        if options.command == "prune":
            prune(cache, options.days, report)
            return 0
        images = build_all(cache, options.machines, report)
    except (CatalogueError, DriverError) as error:
        print(error, file=sys.stderr)
        return 1
    for image in images:
        report(f"{image.name}: {image.disk.parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
