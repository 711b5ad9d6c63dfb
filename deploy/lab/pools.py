"""A host's storage pool on a file system that copies by reference, so that a copied volume costs no time and no space.

The file system is a sparse XFS image, `<host>/pool.img`. It is mounted in the mount namespaces of its host only
(templates/host.sh.j2), never in the machine's: with the host's last process, however that ended, the kernel unmounts it
and frees its loop device. So a killed lab leaves nothing behind, and no process of another lab can keep it mounted.
"""

from __future__ import annotations

import os
import shutil

from deploy.lab.layout import Host, Lab
from deploy.lab.shell import LabError, run, say, wait_until

#: discard: what is deleted in the pool takes no space in the image any more (seconds later, with XFS's log).
MOUNT_OPTIONS = "loop,discard,noatime"
_LARGEST = 200 * 2**30


def ensure(host: Host) -> None:
    """Make the image of a host that is down and has no volumes yet; where that cannot be, say why and do without.

    A host that has volumes in its plain folder keeps them there.
    """
    if host.pool_image.exists() or host.run.exists():
        return
    host.volumes.mkdir(parents=True, exist_ok=True)
    if any(host.volumes.iterdir()):
        say(f"\n    {host.name}: copies of volumes are written whole: it has volumes in a plain folder")
        return
    try:
        _make(host)
    except LabError as error:
        say(f"\n    {host.name}: copies of volumes are written whole: {' '.join(str(error).split())}")


def await_release(lab: Lab) -> None:
    """Wait until the kernel has unmounted every pool of a lab that has no process left."""
    for host in lab.hosts:
        # XFS first discards what was deleted last.
        if not wait_until(lambda host=host: not devices(host), seconds=30):  # type: ignore[misc]
            raise LabError(
                f"{', '.join(devices(host))} still has the pool of {host.name}, though no process of the lab runs",
                "look with `findmnt` where it is mounted, unmount it, then run `make down` again",
            )


def devices(host: Host) -> list[str]:
    """The loop devices that have a host's image: one while the host runs, none otherwise."""
    if not host.pool_image.exists():
        return []
    return run(["losetup", "--noheadings", "--output", "NAME", "--associated", host.pool_image]).split()


def _make(host: Host) -> None:
    """Make the file system under another name, and rename it when it has been mounted once."""
    fresh = host.pool_image.with_name("pool.img.new")
    fresh.unlink(missing_ok=True)
    try:
        with open(fresh, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as image:
            image.truncate(min(shutil.disk_usage(host.folder).free, _LARGEST))
        run(["mkfs.xfs", "-q", "-m", "reflink=1", fresh])
        # A mount namespace that ends with its only program: it shows that there are loop devices, and leaves no mount.
        run(["unshare", "--mount", "mount", "-t", "xfs", "-o", MOUNT_OPTIONS, fresh, host.volumes])
    except LabError:
        fresh.unlink()
        raise
    fresh.rename(host.pool_image)
