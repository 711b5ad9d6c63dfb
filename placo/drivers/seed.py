"""The seed disk: an ISO 9660 image that gives a machine its settings at first boot.

Volume label CIDATA and the files user-data, meta-data (NoCloud, see cloud-init's documentation of that data source) and
placo.tar. PLACO's own images look for the archive by the label. A stock image has cloud-init, which user-data leads to the same
entry point by way of guest.tar, what the image lacks. Built in memory: an archive holds secrets, which never touch a file of the portal.
"""

from __future__ import annotations

import io
import json

import pycdlib

VOLUME_LABEL = "CIDATA"
ARCHIVE_NAME = "placo.tar"
GUEST_NAME = "guest.tar"

_FILES = {
    "user-data": "/USERDATA.;1",
    "meta-data": "/METADATA.;1",
    ARCHIVE_NAME: "/PLACO.TAR;1",
    GUEST_NAME: "/GUEST.TAR;1",
}
"""Real name (Rock Ridge and Joliet) -> name by the letter of ISO 9660 level 1."""

_FIRST_BOOT = f"""\
mkdir -p -m 700 /run/placo-seed
mount -t iso9660 -o ro,nodev,nosuid,noexec -L {VOLUME_LABEL} /run/placo-seed
tar -C / -xf /run/placo-seed/{GUEST_NAME}
exec /usr/lib/placo/stock /run/placo-seed/{ARCHIVE_NAME}
"""
_HOLD = f"""\
sh -euc '{_FIRST_BOOT}'
status=$?
umount /run/placo-seed
[ $status -ne 0 ] || exit 0
echo "PLACO: this machine has not got its settings and goes no further; why is said above" > /dev/console
exec sleep infinity
"""
"""No service may start without the settings: a stock sshd would answer for a machine that is nobody yet."""


def user_data(hostname: str, *, stock: bool = False) -> str:
    """NoCloud user-data (cloud-config, which may be JSON: that is YAML); of a `stock` image, what makes the machine of it.

    bootcmd comes before any service starts. The other words keep cloud-init from what is PLACO's to say: who logs in, by which host
    keys, and what names mean. Once it has done its work it is turned off: the seed disk is taken away, and without it
    cloud-init would take the machine for another one.
    """
    config: dict[str, object] = {"hostname": hostname, "preserve_hostname": False}
    if stock:
        config |= {
            "bootcmd": [["sh", "-c", _HOLD]],
            "manage_etc_hosts": False,
            "users": [],
            "ssh_deletekeys": False,
            "ssh_genkeytypes": ["ed25519"],  # which is there by then
            "runcmd": [["touch", "/etc/cloud/cloud-init.disabled"]],
        }
    return "#cloud-config\n" + json.dumps(config, indent=1) + "\n"


def meta_data(instance_id: str, hostname: str) -> str:
    """NoCloud meta-data."""
    return json.dumps({"instance-id": instance_id, "local-hostname": hostname}, indent=1) + "\n"


def build_seed(archive: bytes, instance_id: str, hostname: str, guest: bytes | None = None) -> bytes:
    """The whole disk image. `instance_id` tells cloud-init whether it has seen this machine before; `guest` is what a stock image lacks."""
    contents = {
        "user-data": user_data(hostname, stock=guest is not None).encode(),
        "meta-data": meta_data(instance_id, hostname).encode(),
        ARCHIVE_NAME: archive,
    }
    if guest is not None:
        contents[GUEST_NAME] = guest
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=1, joliet=3, rock_ridge="1.09", vol_ident=VOLUME_LABEL)
    for name, content in contents.items():
        iso.add_fp(io.BytesIO(content), len(content), _FILES[name], rr_name=name, joliet_path=f"/{name}")
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    return image.getvalue()
