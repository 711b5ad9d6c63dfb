"""What is on a data volume belongs to names (guest/usr/lib/placo/owners), whatever a system's numbers are. Only root gives files away."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "guest/usr/lib/placo/owners"
SHELL = ["busybox", "sh"] if shutil.which("busybox") else ["sh"]


class Machine:
    """A data volume, and the system that has it at the moment."""

    def __init__(self, place: Path) -> None:
        self.data, self.etc = place / "data", place / "etc"
        self.data.mkdir()

    def system(self, **numbers: int) -> None:
        """Its accounts have these numbers, as users and as groups."""
        shutil.rmtree(self.etc, ignore_errors=True)
        self.etc.mkdir()
        every = {"root": 0, **numbers, "person": 1000}
        rows = "".join(f"{name}:x:{number}:{number}::/:/bin/sh\n" for name, number in every.items())
        (self.etc / "passwd").write_text(rows)
        (self.etc / "group").write_text("".join(f"{name}:x:{number}:\n" for name, number in every.items()))

    def boots(self, *, script: Path = SCRIPT, **numbers: int) -> subprocess.CompletedProcess[str]:
        self.system(**numbers)
        command = [*SHELL, str(script), str(self.data), str(self.etc)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def write(self, name: str, owner: int, group: int | None = None) -> Path:
        file = self.data / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("content")
        os.chown(file, owner, owner if group is None else group)
        return file

    def owners(self, name: str) -> tuple[int, int]:
        found = (self.data / name).lstat()
        return found.st_uid, found.st_gid


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_another_system_has_other_numbers_for_the_same_names(machine: Machine) -> None:
    assert machine.boots(mail=101, chat=102).returncode == 0
    machine.write("a/mine", 101, 102)
    machine.write("b", 102)
    machine.write("c", 1000)
    machine.write("d", 0)
    done = machine.boots(mail=102, other=103, chat=101)
    assert done.returncode == 0, done.stderr
    assert [machine.owners(name) for name in ("a/mine", "b", "c", "d")] == [
        (102, 101),
        (101, 101),
        (1000, 1000),
        (0, 0),
    ]
    assert machine.boots(mail=101, chat=102).returncode == 0, "the old system is back"
    assert (machine.owners("a/mine"), machine.owners("b")) == ((101, 102), (102, 102))
    assert sorted(p.name for p in machine.data.iterdir()) == [".owners", "a", "b", "c", "d"]


def test_nothing_is_touched_when_nothing_differs(machine: Machine) -> None:
    machine.boots(mail=101)
    file = machine.write("a", 101)
    before = (file.stat().st_ctime_ns, (machine.data / ".owners").stat().st_ino)
    assert machine.boots(mail=101).returncode == 0
    assert (file.stat().st_ctime_ns, (machine.data / ".owners").stat().st_ino) == before


def test_what_an_account_left_behind_is_not_given_to_whoever_has_its_number_now(machine: Machine) -> None:
    machine.boots(mail=101, gone=102)
    machine.write("secret", 102)
    machine.boots(mail=101, new=102)
    assert machine.owners("secret")[0] > 2_999_999_999
    machine.write("new", 102)
    machine.boots(mail=101, gone=103, new=102)
    assert (machine.owners("secret"), machine.owners("new")) == ((103, 103), (102, 102))


def test_an_account_that_is_not_there_yet_keeps_what_it_has(machine: Machine) -> None:
    machine.boots(mail=101, late=860)
    machine.write("a", 860)
    machine.boots(mail=101)
    assert machine.owners("a") == (860, 860)
    machine.boots(mail=101, late=861)
    assert machine.owners("a") == (861, 861)


def test_links_are_not_followed(machine: Machine, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("")
    machine.boots(mail=101)
    (machine.data / "link").symlink_to(outside)
    os.chown(machine.data / "link", 101, 101, follow_symlinks=False)
    machine.boots(mail=105)
    assert machine.owners("link") == (105, 105)
    assert outside.stat().st_uid == os.getuid()


@pytest.mark.parametrize("back", [False, True], ids=["the same system goes on", "the old one is back"])
@pytest.mark.parametrize("done", range(0, 24, 2))
def test_it_may_be_cut_off_anywhere(machine: Machine, tmp_path: Path, done: int, back: bool) -> None:
    """When so many owners were changed: two accounts have swapped their numbers, one has a new one."""
    old, new = {"mail": 101, "chat": 102, "list": 103}, {"mail": 102, "chat": 101, "list": 104}
    machine.boots(**old)
    for name, number in old.items():
        machine.write(f"{name}-1", number)
        machine.write(f"{name}-2", number)

    count, chown, cut = (tmp_path / name for name in ("count", "chown", "cut"))
    chown.write_text(
        f"#!/bin/sh\necho >> {count}\n"
        f"[ $(wc -l < {count}) -le {done} ] || kill -9 $(ps -o ppid= $PPID) $PPID\n"
        'exec /bin/chown "$@"\n'
    )
    chown.chmod(0o700)
    one_by_one = SCRIPT.read_text().replace("-exec chown -h", f"-exec {chown} -h").replace("{} +", "{} ';'")
    cut.write_text(one_by_one)
    assert machine.boots(script=cut, **new).returncode != 0
    assert len(count.read_text()) == done + 1

    last = old if back else new
    assert machine.boots(**last).returncode == 0
    for name, number in last.items():
        assert machine.owners(f"{name}-1") == machine.owners(f"{name}-2") == (number, number)
    assert not (machine.data / ".owners-moving").exists()
