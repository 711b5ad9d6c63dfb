"""The steps of an image build, each on a root file system in a folder. All need root.

Build scripts run in a chroot of their own mount and network namespace, with /proc and /dev of their own and with a
policy-rc.d that lets no package start a service: nothing of a build outlives it, and the machine is not touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from placo.domain.catalogue import Software
from placo.drivers.apt_sources import debian_sources
from placo.drivers.ports import DriverError

BUILD_TIMEOUT_S = 1200
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
    "INITRD": "No",  # kernel packages: no initramfs, we make a smaller one
}
LEFT_OUT = (
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
    "/usr/share/bug/*",
)
DOCUMENTATION = ("path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright")
POLICY = "#!/bin/sh\nexit 101\n"

IN_CHROOT = """
set -eu
mount --make-rprivate /
mount -t proc proc "$0/proc"
mount -t sysfs -o ro sysfs "$0/sys"
mount -t tmpfs -o mode=755 dev "$0/dev"
for name in null zero full random urandom tty; do
    touch "$0/dev/$name"
    mount --bind "/dev/$name" "$0/dev/$name"
done
mkdir "$0/dev/pts" "$0/dev/shm"
ln -s /proc/self/fd "$0/dev/fd"
mount -t tmpfs tmpfs "$0/tmp"
mount -t tmpfs tmpfs "$0/run"
exec chroot "$0" "$@"
"""


def run(command: Sequence[str | Path]) -> str:
    """Run; what it said. On failure a DriverError tells what it was and what it said last."""
    environment = {**ENVIRONMENT, **{k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}}
    try:
        done = subprocess.run(
            [str(word) for word in command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=BUILD_TIMEOUT_S,
            text=True,
            errors="replace",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverError(f"image build: {command[0]}: {error}") from error
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-25:])
        raise DriverError(
            f"image build: {' '.join(map(str, command[:4]))} ... ended with {done.returncode}:\n{last}"
        )
    return done.stdout


def in_chroot(root: Path, command: Sequence[str]) -> None:
    """Run a command in the root file system, without network."""
    run(
        [
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            IN_CHROOT,
            root,
            *command,
        ]
    )


def _sources(suite: str) -> list[str]:
    try:
        return debian_sources(suite)
    except LookupError as error:
        raise DriverError(str(error)) from error


def bootstrap(root: Path, base: Software, suite: str) -> None:
    """Debian with the packages of the base, from the mirrors that this machine uses."""
    excludes = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
    excludes += [f"--dpkgopt={line}" for line in DOCUMENTATION]
    run(
        [
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            "--skip=output/dev,cleanup/reproducible",
            *excludes,
            f"--include={','.join(sorted(base.packages))}",
            suite,
            root,
            *_sources(suite),
        ]
    )


def install_packages(
    root: Path, packages: Sequence[str], suite: str, answers: Sequence[str] = (), locales: Sequence[str] = ()
) -> None:
    """Add packages with the apt of this machine (its mirrors, proxies and keys), dpkg running inside the root.

    `answers` are told to debconf before; of these `locales` the packages' translations are kept.
    """
    lists = root / "etc/apt/sources.list"
    lists.write_text("\n".join(_sources(suite)) + "\n", encoding="utf-8")
    empty = root / "etc/apt/placo-none"
    empty.mkdir(exist_ok=True)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text(POLICY, encoding="utf-8")
    policy.chmod(0o755)
    options = {
        "Dir": f"{root}/",
        "Dir::Etc::sourcelist": str(lists),
        "Dir::Etc::sourceparts": str(empty),
        "Dir::Etc::parts": "/etc/apt/apt.conf.d",
        "Dir::Etc::netrcparts": "/etc/apt/auth.conf.d",
        "Dir::Etc::trusted": "/etc/apt/trusted.gpg",
        "Dir::Etc::trustedparts": "/etc/apt/trusted.gpg.d",
        "Dir::Log": "/var/log/apt",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "DPkg::Chroot-Directory": str(root),
        "Dpkg::Use-Pty": "false",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    for locale in sorted(set(locales)):
        words += ["-o", f"DPkg::Options::=--path-include=/usr/share/locale/{locale}/*"]
    told = root / "root/placo-answers"
    told.write_text("".join(f"{answer}\n" for answer in answers), encoding="utf-8")
    inside = (
        "set -eu; root=$1; shift; mount --make-rprivate /; mount -t proc proc $root/proc; "
        "mount --bind /dev/null $root/dev/null 2>/dev/null || true; "
        "chroot $root debconf-set-selections /root/placo-answers; "
        'apt-get "$@" update; apt-get "$@" -y install $packages'
    )
    script = inside.replace("$packages", " ".join(packages))
    run(
        [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            script,
            "sh",
            root,
            "-qq",
            *words,
        ]
    )
    policy.unlink()
    told.unlink()
    empty.rmdir()


def install_files(root: Path, files: Mapping[str, tuple[int, bytes]]) -> None:
    """PLACO's own files (path -> mode and content)."""
    for name, (mode, content) in files.items():
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)


def run_build(root: Path, software: Software) -> None:
    """The build script of a software, if it has one."""
    if software.build is None:
        return
    script = root / "root/placo-build"
    script.write_text(software.build, encoding="utf-8")
    script.chmod(0o700)
    in_chroot(root, ["/root/placo-build"])
    script.unlink()


def add_layers(root: Path, layers: Sequence[Software], suite: str, report: Callable[[str], None]) -> None:
    """Packages of all layers in one go, then their build scripts in order."""
    packages = sorted({package for software in layers for package in software.packages})
    if packages:
        report(f"installing {', '.join(packages)}")
        answers = [answer for software in layers for answer in software.answers]
        locales = [locale for software in layers for locale in software.locales]
        install_packages(root, packages, suite, answers, locales)
    for software in layers:
        run_build(root, software)


def finish(root: Path) -> None:
    """Take out what is of no use in a guest, and all identity: each clone makes its own."""
    for name in ("var/lib/apt/lists", "var/cache/apt", "var/cache/debconf", "var/log", "boot/grub"):
        folder = root / name
        for entry in folder.iterdir() if folder.is_dir() else []:
            if entry.is_dir() and not entry.is_symlink():
                if name != "var/log":  # programs want their log folders
                    shutil.rmtree(entry)
            else:
                entry.unlink()
    for pattern in (
        "etc/ssh/ssh_host_*",
        "var/lib/dbus/machine-id",
        "var/lib/systemd/random-seed",
        "etc/hostname",
    ):
        for path in root.glob(pattern):
            path.unlink()
    for pattern in (
        "etc/ssl/private/*",
        "etc/apt/sources.list",
        "etc/resolv.conf",
        "initrd.img*",
        "vmlinuz*",
    ):
        for path in root.glob(pattern):
            path.unlink()
    (root / "etc/machine-id").write_text("", encoding="ascii")
    (root / "etc/hostname").write_text("placo\n", encoding="ascii")


def make_disk(root: Path, place: Path, size: int) -> None:
    """disk.qcow2, vmlinuz and initrd in `place`; `size` in bytes is what the guest sees."""
    for name, source in (("vmlinuz", root / "boot/placo-kernel"), ("initrd", root / "boot/placo-initrd")):
        if not source.is_file():
            raise DriverError(f"image build: the base's build script left no /boot/{source.name}")
        shutil.move(source, place / name)
    for path in (root / "boot").glob("*-amd64"):
        path.unlink()
    raw = place / "disk.raw"
    features = "^metadata_csum,^64bit,^resize_inode"
    run(["mke2fs", "-q", "-t", "ext4", "-O", features, "-m", "0", "-L", "placo-system",
          "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-d", root, raw, f"{size >> 10}k"])  # fmt: skip
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, place / "disk.qcow2"])
    raw.unlink()


def pack(root: Path, archive: Path) -> None:
    """The whole root file system as a tar archive."""
    run(["tar", "--numeric-owner", "--xattrs", "-C", root, "-cf", archive, "."])


def unpack(archive: Path, root: Path) -> None:
    """What `pack` made, in a new folder."""
    root.mkdir()
    run(["tar", "--numeric-owner", "--xattrs", "--same-owner", "-C", root, "-xpf", archive])


def installed_packages(root: Path) -> dict[str, str]:
    """Package -> version, from dpkg's own list (status file, deb822)."""
    found = {}
    name = ""
    for line in (root / "var/lib/dpkg/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("Package: "):
            name = line.removeprefix("Package: ")
        elif line.startswith("Version: "):
            found[name] = line.removeprefix("Version: ")
    return found
