"""The lab's hypervisors: preparing them, bringing their guests down, asking libvirt."""

from __future__ import annotations

import shutil
import time
import uuid
from pathlib import Path

from deploy.lab import pools, processes
from deploy.lab.layout import STORAGE_POOL, Host, Lab
from deploy.lab.shell import LabError, render, run, say, wait_until, write

_FILTERS = Path("/etc/libvirt/nwfilter")
_UUIDS = uuid.UUID("6f6f4c11-6a0e-5d0a-9c57-0d1f3c7b6a52")


def prepare(host: Host) -> None:
    """Make the host's private folders and libvirt's configuration; definitions and volumes are left alone."""
    for name in ("etc/nwfilter", "etc/qemu/networks/autostart", "lib", "cache", "log"):
        (host.folder / name).mkdir(parents=True, exist_ok=True)
    pools.ensure(host)
    host.run.mkdir(parents=True, exist_ok=True)
    write(host.folder / "no-kvm", "")
    write(host.folder / "resolv.conf", "# Nobody is asked outside of the lab.\n")
    host_uuid = uuid.uuid5(_UUIDS, f"{host.lab.id}/{host.name}")
    write(
        host.folder / "etc" / "libvirtd.conf",
        render("libvirtd.conf.j2", host=host, host_uuid=host_uuid),
        0o600,
    )
    write(host.folder / "etc" / "qemu.conf", render("qemu.conf.j2"), 0o600)
    for source in _FILTERS.glob("*.xml"):
        target = host.folder / "etc" / "nwfilter" / source.name
        if not target.exists():
            shutil.copyfile(source, target)


def forget_run(host: Host) -> None:
    """Empty the host's /run, as a reboot does: only then does libvirt start what is marked for autostart."""
    shutil.rmtree(host.run.parent, ignore_errors=True)


def answers(host: Host) -> bool:
    """Whether libvirtd answers."""
    return "qemu" in run(["virsh", "-q", "-c", host.uri, "uri"], accept=(0, 1), timeout=20)


def ensure_pool(host: Host) -> None:
    """The storage pool that platforms' disks live in: a folder of the host, started with it."""
    virsh = ["virsh", "-q", "-c", host.uri]
    known = run([*virsh, "pool-list", "--all", "--name"]).split()
    if STORAGE_POOL not in known:
        target = f"/var/lib/libvirt/{STORAGE_POOL}"
        run([*virsh, "pool-define-as", STORAGE_POOL, "dir", "--target", target])
    if STORAGE_POOL not in run([*virsh, "pool-list", "--name"]).split():
        run([*virsh, "pool-build", STORAGE_POOL])
        run([*virsh, "pool-autostart", STORAGE_POOL])
        run([*virsh, "pool-start", STORAGE_POOL])


def learn_capabilities(host: Host) -> None:
    """Let libvirt probe QEMU now, so that the first platform does not wait for it."""
    run(["virsh", "-q", "-c", host.uri, "capabilities"])


def running_guests(host: Host) -> list[str]:
    """Names of the domains that run; empty when libvirtd does not answer."""
    return run(["virsh", "-q", "-c", host.uri, "list", "--name"], accept=(0, 1), timeout=20).split()


def stop_guests(lab: Lab, *, seconds: float) -> None:
    """Press every guest's power button, wait up to `seconds`, then cut the power of those that still run.

    Autostart flags and definitions stay as they are. Guests of a host whose libvirtd does not answer are ended by
    the caller with their processes.
    """
    answering = [host for host in lab.hosts if answers(host)]
    started = time.monotonic()
    asked = [(host, guest) for host in answering for guest in running_guests(host)]
    for host, guest in asked:
        # A guest that is just starting or ending refuses; the wait below covers it.
        run(["virsh", "-q", "-c", host.uri, "shutdown", guest], accept=(0, 1))
    if asked:
        left = seconds - (time.monotonic() - started)
        wait_until(lambda: not any(running_guests(host) for host in answering), seconds=left, interval=0.5)
    for host in answering:
        for guest in running_guests(host):
            say(f"\n    {guest} on {host.name} did not stop within {seconds:.0f} s: its power is cut")
            run(["virsh", "-q", "-c", host.uri, "destroy", "--graceful", guest], accept=(0, 1))
        for name in run(["virsh", "-q", "-c", host.uri, "net-list", "--name"]).split():
            run(["virsh", "-q", "-c", host.uri, "net-destroy", name])


def has_guests(lab: Lab, host: Host) -> bool:
    """Whether a virtual machine of this host runs, with or without a libvirtd."""
    return any(process.is_guest and process.host == host.name for process in processes.of_lab(lab))


def check(host: Host) -> None:
    """Raise LabError when a freshly started host is no use."""
    if not wait_until(lambda: answers(host), seconds=40, interval=0.3):
        raise LabError(f"libvirtd of {host.name} does not answer", f"read {host.lab.logs}/{host.name}.log")
