"""Building the images of a catalogue's machines, and finding them again.

An image is a root file system of Debian packages (mmdebstrap, then packages added in layers), made into an ext4 disk
without partitions (``mke2fs -d``) and that into qcow2; kernel and initial RAM disk are taken out for direct kernel boot.
It is named by the hash of what it was made from, so that an image that exists is never built again:

    <cache>/placo-www-1f2e3d4c5b6a/{disk.qcow2,vmlinuz,initrd,recipe.json}

    python -m placo.drivers.images build [--catalogue FOLDER] [--cache FOLDER] [MACHINE ...]
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from placo.domain.catalogue import SUITE, Catalogue, CatalogueError, Software, load_catalogue, recipe_hash
from placo.drivers import image_root
from placo.drivers.ports import DriverError, ImageFiles, Rejected

Report = Callable[[str], None]

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

    def files(self, name: str) -> ImageFiles:
        """The files of a built image; Rejected when it has not been built here."""
        place = self.folder / name
        try:
            facts = json.loads((place / "recipe.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise Rejected(f"image {name} has not been built here (looked in {self.folder})") from error
        return ImageFiles(
            name=name,
            disk=place / "disk.qcow2",
            kernel=place / "vmlinuz",
            initrd=place / "initrd",
            virtual_size=int(facts["virtual_size"]),
        )

    def ensure(self, machine: str, report: Report = print) -> ImageFiles:
        """The image of a kind of machine, built if need be. Needs root. DriverError if the build fails."""
        name = self.name_for(machine)
        with self._locked(name):
            if not (self.folder / name / "recipe.json").exists():
                self._build(machine, name, report)
            else:
                report(f"{name}: already built")
        return self.files(name)

    def _build(self, machine: str, name: str, report: Report) -> None:
        started = time.monotonic()
        base = self._ensure_base(report)
        with self._work(name) as work:
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
        recipe = self.catalogue.base_recipe()
        path = self.folder / f"base-{recipe_hash(recipe)[:12]}.tar"
        with self._locked(path.name):
            if path.exists():
                return path
            started = time.monotonic()
            report(f"{path.stem}: building the layer that all images share")
            with self._work(path.name) as work:
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

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """One builder at a time for each name, in all processes of this machine."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{name}.lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _work(self, name: str) -> Iterator[Path]:
        """A folder beside the results (so that they can be renamed into place); remains of a killed build are removed."""
        for remains in self.folder.glob(f".work-{name}-*"):
            shutil.rmtree(remains, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".work-{name}-", dir=self.folder))
        work.chmod(0o755)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def build_all(cache: ImageCache, machines: Sequence[str], report: Report) -> list[ImageFiles]:
    """Build these machines' images (all of the catalogue's when none is named)."""
    names = list(machines) or sorted(cache.catalogue.machines)
    unknown = [name for name in names if name not in cache.catalogue.machines]
    if unknown:
        raise DriverError(f"no such machine in the catalogue: {', '.join(unknown)}")
    return [cache.ensure(name, report) for name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m placo.drivers.images", description="Build machine images."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build what is missing")
    build.add_argument("--catalogue", type=Path, default=Path(__file__).resolve().parents[2] / "catalogue")
    build.add_argument("--cache", type=Path, default=default_cache())
    build.add_argument("machines", nargs="*", metavar="MACHINE", help="kinds of machine; all by default")
    options = parser.parse_args(arguments)
    started = time.monotonic()

    def report(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", flush=True)

    try:
        images = build_all(
            ImageCache(options.cache, load_catalogue(options.catalogue)), options.machines, report
        )
    except (CatalogueError, DriverError) as error:
        print(error, file=sys.stderr)
        return 1
    for image in images:
        report(f"{image.name}: {image.disk.parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
