"""The seed disk: label, names and contents as cloud-init and PLACO's guests look for them."""

from __future__ import annotations

import io
import json

import pycdlib

from placo.drivers.seed import build_seed


def read(image: bytes, **where: str) -> bytes:
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(image))
    content = io.BytesIO()
    iso.get_file_from_iso_fp(content, **where)
    iso.close()
    return content.getvalue()


def test_files_are_there_under_their_real_names() -> None:
    archive = bytes(range(256)) * 100
    image = build_seed(archive, instance_id="id-1", hostname="www")
    assert image[32808:32840].decode() == "CIDATA".ljust(32), (
        "the label where blkid reads it (ECMA-119, 8.4.7)"
    )
    for kind in ("rr_path", "joliet_path"):
        assert read(image, **{kind: "/placo.tar"}) == archive
        assert json.loads(read(image, **{kind: "/meta-data"})) == {
            "instance-id": "id-1",
            "local-hostname": "www",
        }
        assert read(image, **{kind: "/user-data"}).startswith(b"#cloud-config\n")


def test_user_data_leads_to_the_same_entry_point() -> None:
    text = read(build_seed(b"x", instance_id="i", hostname="svn"), rr_path="/user-data").decode()
    config = json.loads(text.partition("\n")[2])
    assert config["hostname"] == "svn"
    [[shell, flag, script]] = config["runcmd"]
    assert (shell, flag) == ("sh", "-c")
    assert "placo-personalise /run/placo-seed/placo.tar" in script
