"""The seed disk: an ISO 9660 image that gives a machine its settings at first boot.

Volume label CIDATA and the files user-data, meta-data (NoCloud, see cloud-init's documentation of that data source) and
placo.tar. PLACO's own images look for the archive by the label; a stock image with cloud-init is led to the same entry
point by user-data. Built in memory: an archive holds secrets, which never touch a file of the portal.
"""

from __future__ import annotations

import io
import json

import pycdlib

VOLUME_LABEL = "CIDATA"
ARCHIVE_NAME = "placo.tar"

_FILES = {"user-data": "/USERDATA.;1", "meta-data": "/METADATA.;1", ARCHIVE_NAME: "/PLACO.TAR;1"}
"""Real name (Rock Ridge and Joliet) -> name by the letter of ISO 9660 level 1."""


def user_data(hostname: str) -> str:
    """NoCloud user-data (cloud-config, which may be JSON: that is YAML) that runs placo-personalise on the seed."""
    mount = "mkdir -p /run/placo-seed && mount -o ro -L CIDATA /run/placo-seed"
    run = f"placo-personalise /run/placo-seed/{ARCHIVE_NAME}"
    config = {
        "hostname": hostname,
        "preserve_hostname": False,
        "runcmd": [["sh", "-c", f"{mount} && {run}; status=$?; umount /run/placo-seed; exit $status"]],
    }
    return "#cloud-config\n" + json.dumps(config, indent=1) + "\n"


def meta_data(instance_id: str, hostname: str) -> str:
    """NoCloud meta-data."""
    return json.dumps({"instance-id": instance_id, "local-hostname": hostname}, indent=1) + "\n"


def build_seed(archive: bytes, instance_id: str, hostname: str) -> bytes:
    """The whole disk image. `instance_id` tells cloud-init whether it has seen this machine before."""
    contents = {
        "user-data": user_data(hostname).encode(),
        "meta-data": meta_data(instance_id, hostname).encode(),
        ARCHIVE_NAME: archive,
    }
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=1, joliet=3, rock_ridge="1.09", vol_ident=VOLUME_LABEL)
    for name, content in contents.items():
        iso.add_fp(io.BytesIO(content), len(content), _FILES[name], rr_name=name, joliet_path=f"/{name}")
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    return image.getvalue()
