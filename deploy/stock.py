"""A stock Debian with cloud-init, for those who measure or test with one: none can be downloaded where packages are all there is.

What Debian's own cloud images have in them that matters here: the kernel for clouds with the initial RAM disk that
initramfs-tools makes, cloud-init, and netplan, by which cloud-init brings the network up. Nothing of PLACO's, nothing tuned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from deploy.lab.shell import run
from placo.domain.catalogue import SUITE
from placo.drivers.apt_sources import debian_sources

PACKAGES = (
    "cloud-init",
    "dbus",
    "initramfs-tools",
    "linux-image-cloud-amd64",
    "netplan.io",
    "systemd-sysv",
    "udev",
)
BUILD_TIMEOUT_S = 1200


def bootstrap(root: Path, packages: Iterable[str], files: Mapping[str, str]) -> None:
    """The root file system, in a new folder: these packages of Debian, and these files (path below it -> text). Needs root."""
    include = f"--include={','.join(sorted(packages))}"
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--skip=output/dev", include]
    run([*command, SUITE, root, *debian_sources(SUITE)], timeout=BUILD_TIMEOUT_S)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if "bin/" in name else 0o644)
