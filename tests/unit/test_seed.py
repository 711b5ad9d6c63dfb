"""The seed disk: label, names and contents as cloud-init and PLACO's guests look for them."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pycdlib
import pytest

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


def config_of(image: bytes) -> dict[str, Any]:
    text = read(image, rr_path="/user-data").decode()
    assert text.startswith("#cloud-config\n")
    found: dict[str, Any] = json.loads(text.partition("\n")[2])
    return found


def test_a_stock_image_is_led_to_what_it_lacks_before_anything_starts() -> None:
    image = build_seed(b"secret", instance_id="i", hostname="svn", guest=b"programs")
    config = config_of(image)
    assert config["hostname"] == "svn"
    [[shell, flag, script]] = config["bootcmd"]
    assert (shell, flag) == ("sh", "-c")
    assert "/run/placo-seed/guest.tar" in script and "/run/placo-seed/placo.tar" in script
    assert read(image, rr_path="/guest.tar") == b"programs"
    assert config["users"] == [] and config["ssh_deletekeys"] is False
    assert "secret" not in json.dumps(config), "cloud-init keeps user-data on the system disk"


def test_images_of_placos_own_are_led_nowhere() -> None:
    """They go to the archive by themselves, and have no cloud-init."""
    config = config_of(build_seed(b"x", instance_id="i", hostname="svn"))
    assert config == {"hostname": "svn", "preserve_hostname": False}


@pytest.mark.parametrize("works", [True, False])
def test_a_machine_that_is_not_given_its_settings_goes_no_further(works: bool, tmp_path: Path) -> None:
    """The script of bootcmd, with programs of the test's in place of those that need a machine."""
    for name, text in {
        "mount": "exit 0",
        "umount": "echo unmounted >> log",
        "mkdir": "exit 0",
        "tar": f"exit {0 if works else 2}",
        "sleep": "echo held >> log",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "sh").symlink_to("/bin/sh")
    (script,) = config_of(build_seed(b"x", "i", "svn", b"y"))["bootcmd"]
    settled = script[2].replace("exec /usr/lib/placo/stock", "echo settled >> log; : ")
    settled = settled.replace("/dev/console", "console")
    done = subprocess.run(
        ["/bin/sh", "-c", settled], cwd=tmp_path, env={"PATH": str(tmp_path)}, check=False, timeout=20
    )
    log = (tmp_path / "log").read_text().split()
    assert log == (["settled", "unmounted"] if works else ["unmounted", "held"])
    assert done.returncode == 0
    assert (tmp_path / "console").exists() is not works
