"""Fetch the front-end packages of deploy/assets.lock into var/assets: `python -m deploy.assets`.

Each package comes as npm's own archive (`npm pack`, by name and version, so the machine's npm configuration decides
where from), is checked against its SHA-512 and only the files named are kept. Nothing is done when all is there.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK = REPOSITORY / "deploy" / "assets.lock"
TARGET = REPOSITORY / "var" / "assets"


class AssetError(Exception):
    """A package could not be had, is not what was locked, or lacks a file."""


def main() -> int:
    """Fetch what is missing; 0 when everything is in place."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    stamp = TARGET / "complete"
    if stamp.exists() and stamp.read_text().strip() == digest:
        return 0
    packages = tomllib.loads(LOCK.read_text())["packages"]
    fresh = TARGET / "vendor.new"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        for package in packages:
            print(f"  {package['name']} {package['version']}", flush=True)
            _fetch(package["name"], package["version"], package["integrity"], package["files"], fresh)
    except AssetError as error:
        print(f"assets: {error}", file=sys.stderr)
        return 1
    shutil.rmtree(TARGET / "vendor", ignore_errors=True)
    fresh.rename(TARGET / "vendor")
    stamp.write_text(digest + "\n")
    return 0


def _fetch(name: str, version: str, integrity: str, files: list[str], target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "npm",
            "pack",
            f"{name}@{version}",
            "--pack-destination",
            folder,
            "--ignore-scripts",
            "--silent",
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, cwd=folder, timeout=300, check=False
            )
        except FileNotFoundError as error:
            raise AssetError("npm is not installed: run `make setup`") from error
        except subprocess.TimeoutExpired as error:
            raise AssetError(f"npm pack {name}@{version} took longer than 300 s") from error
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            raise AssetError(
                f"npm pack {name}@{version} failed: {(done.stderr or done.stdout).strip()[-500:]}"
            )
        found = "sha512-" + base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
        if found != integrity:
            raise AssetError(f"{name}@{version} is not what was locked: {found}, expected {integrity}")
        _extract(archives[0], files, target / name)


def _extract(archive: Path, files: list[str], target: Path) -> None:
    with tarfile.open(archive) as packed:
        for file in files:
            try:
                content = packed.extractfile(f"package/{file}")
            except KeyError:
                content = None
            if content is None:
                raise AssetError(f"{archive.name} holds no file {file}")
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            (target / file).write_bytes(content.read())


if __name__ == "__main__":
    sys.exit(main())
