"""A brick that no code knows: the one that docs/adding-a-brick.md makes, from a temporary folder to a platform that members use."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.client import Lab, wait_for

ROOT = Path(__file__).resolve().parents[2]
A_FILE = re.compile(r"^`([a-z]+/[\w./-]+)`[^\n]*\n\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A file of the page: its name, and what is in it."""
URL = "https://trial-files.placo.localhost"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The catalogue with the new brick in it."""
    with tempfile.TemporaryDirectory(prefix="placo-brick-") as place:
        made = Path(shutil.copytree(ROOT / "catalogue", Path(place) / "catalogue"))
        found = A_FILE.findall((ROOT / "docs" / "adding-a-brick.md").read_text(encoding="utf-8"))
        assert len(found) == 6
        for name, text in found:
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(0o755 if text.startswith("#!") else 0o644)
        yield made


def placo(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, as people run it."""
    command = [str(ROOT / "bin" / "placo"), "catalogue", *(str(word) for word in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


@pytest.fixture(scope="module")
def tried(folder: Path) -> Iterator[tuple[str, Lab]]:
    """What trying it says, and the lab in which that was done."""
    with tempfile.TemporaryDirectory(prefix="placo-trial-", dir=ROOT / "var") as place:
        root = Path(place) / "lab"
        try:
            done = placo("try", "files", folder, "--root", root, "--keep")
            assert done.returncode == 0, done.stdout + done.stderr
            yield done.stdout, Lab.read(root)
        finally:
            lab = [sys.executable, "-m", "deploy.lab", "destroy", "--grace", "0", "--root", str(root)]
            subprocess.run(lab, cwd=ROOT, check=True, capture_output=True)


def test_it_is_sound(folder: Path) -> None:
    done = placo("check", folder)
    assert done.returncode == 0, done.stdout


def test_it_comes_up_and_lets_in_whom_it_should(tried: tuple[str, Lab]) -> None:
    said, _lab = tried
    assert "files booted in" in said
    for found in (
        "a member got in",
        "somebody who is no member was refused",
        "a member who was removed was refused",
    ):
        assert found in said.lower()
    assert "WRONG" not in said
    assert said.rstrip().endswith("files works")


def test_members_share_its_folder(tried: tuple[str, Lab]) -> None:
    _said, lab = tried
    url = f"{URL}:{lab.edge.rpartition(':')[2]}"
    lab.api("owner")("PUT", f"/platforms/trial/members/{lab.accounts['member'].uid}")
    wait_for(lambda: lab.get(url, "member").status_code == 200, 30, "the member to be let in")
    assert lab.request("PUT", f"{url}/note.txt", "member", content=b"for all of us").status_code == 201
    assert lab.get(f"{url}/note.txt", "owner").content == b"for all of us"
    found = lab.request("PROPFIND", f"{url}/", "owner", headers={"Depth": "1"})
    assert found.status_code == 207
    assert "note.txt" in found.text
    refused = lab.request("PUT", f"{url}/note.txt", "outsider", content=b"for nobody")
    assert refused.status_code == 401
    assert lab.get(f"{url}/note.txt", "member").content == b"for all of us"


def test_the_choice_of_its_owner_holds(tried: tuple[str, Lab]) -> None:
    _said, lab = tried
    url = f"{URL}:{lab.edge.rpartition(':')[2]}"
    assert lab.request("PUT", f"{url}/big", "owner", content=bytes(101 << 20)).status_code == 413
    assert lab.get(f"{url}/big", "owner").status_code == 404
