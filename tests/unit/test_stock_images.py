"""Importing stock images: what is taken, what is refused and why, and what becomes of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from placo.domain.catalogue import load_catalogue
from placo.drivers.images import ImageCache, main
from placo.drivers.ports import DriverError, Rejected
from placo.drivers.stock_images import import_image

ROOT = Path(__file__).resolve().parents[2]
SECTOR = bytes(510) + b"\x55\xaa"


def quiet(_text: str) -> None:
    """Say nothing."""


def qemu_img(*words: str | Path) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A disk with a boot sector, 2 MiB."""
    file = tmp_path / "disk.raw"
    file.write_bytes(SECTOR + bytes(range(256)) * 6 + bytes((2 << 20) - 2048))
    return file


@pytest.fixture
def qcow2(raw: Path) -> Path:
    file = raw.with_suffix(".qcow2")
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, file)
    return file


def with_image(tmp_path: Path, name: str) -> ImageCache:
    """A catalogue whose server is made of an image, in the folder `tmp_path`/cache."""
    folder = Path(shutil.copytree(ROOT / "catalogue", tmp_path / "catalogue"))
    manifest = folder / "machines/server/machine.toml"
    manifest.write_text(f'image = "{name}"\n' + manifest.read_text())
    return ImageCache(tmp_path / "cache", load_catalogue(folder))


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_disk_is_taken_in_by_its_hash(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    file: Path = request.getfixturevalue(kind)
    for _turn in range(2):
        assert main(["import", "--cache", str(tmp_path / "cache"), "debian12", str(file)]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    name = said.split('"')[1]
    shown = subprocess.run(["sha256sum", file], capture_output=True, text=True, check=True).stdout
    assert name == f"stock-debian12-{shown[:12]}"

    cache = with_image(tmp_path, name)
    found = cache.ensure("server", quiet)
    assert cache.name_for("server") == found.name == name
    assert (found.kernel, found.initrd, found.virtual_size) == (None, None, 2 << 20)
    back = tmp_path / "back"
    qemu_img("convert", "-f", "qcow2", "-O", "raw", found.disk, back)
    assert back.read_bytes() == (tmp_path / "disk.raw").read_bytes()
    assert [path.name for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")] == [name]


def test_what_is_not_there_is_to_be_imported(tmp_path: Path) -> None:
    cache = with_image(tmp_path, "stock-debian12-1f2e3d4c5b6a")
    with pytest.raises(
        Rejected, match=r"stock-debian12-1f2e3d4c5b6a has not been imported.*images import NAME FILE"
    ):
        cache.ensure("server", quiet)


def test_a_disk_that_is_larger_than_the_machines_is_refused(tmp_path: Path) -> None:
    small, file = tmp_path / "small.raw", tmp_path / "large.qcow2"
    small.write_bytes(SECTOR)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", small, file)
    qemu_img("resize", "-f", "qcow2", file, str((16 << 30) + 512))
    name = import_image(tmp_path / "cache", "large", file, quiet)
    with pytest.raises(DriverError, match="machine server: write system_disk_gib = 17 or more"):
        with_image(tmp_path, name).ensure("server", quiet)


def test_what_is_no_bootable_disk_is_refused(tmp_path: Path, raw: Path, qcow2: Path) -> None:
    cache = tmp_path / "cache"
    (tmp_path / "secret").write_bytes(SECTOR + b"not for guests" + bytes(2034))
    plain = tmp_path / "plain.raw"
    plain.write_bytes(bytes(4096))
    overlay, outside, other, locked = (
        tmp_path / f"{n}.img" for n in ("overlay", "outside", "other", "locked")
    )
    qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", tmp_path / "secret", overlay)
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path / 'secret2'}", outside, "1M")
    qemu_img("convert", "-f", "raw", "-O", "vmdk", raw, other)
    key = ["--object", "secret,id=key,data=abc"]
    qemu_img("create", *key, "-f", "qcow2", "-o", "encrypt.format=luks,encrypt.key-secret=key", locked, "1M")
    for file, why in {
        tmp_path / "nowhere": "cannot be read",
        plain: "no boot sector",
        overlay: "needs another file",
        outside: "needs another file",
        other: "is a vmdk",
        locked: "is encrypted",
    }.items():
        with pytest.raises(DriverError, match=why):
            import_image(cache, "debian12", file, quiet)
    assert not [path for path in cache.iterdir() if not path.name.startswith(".")]
    assert not list(cache.glob(".work-*"))


@pytest.mark.parametrize("label", ["", "Debian", "a b", "../x", "a" * 33, "-a", "a-", "a/b", "é"])
def test_a_name_that_is_none_is_refused(label: str, tmp_path: Path, raw: Path) -> None:
    with pytest.raises(DriverError, match="such as debian12"):
        import_image(tmp_path / "cache", label, raw, quiet)
    assert not (tmp_path / "cache").exists()


def test_the_recipe_says_where_it_came_from(tmp_path: Path, qcow2: Path) -> None:
    name = import_image(tmp_path / "cache", "debian12", qcow2, quiet)
    facts = json.loads((tmp_path / "cache" / name / "recipe.json").read_text())
    assert facts["recipe"] == {"file": "disk.qcow2", "format": "qcow2"}
