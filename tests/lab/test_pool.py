"""The file system of a host's pool, for real: copies by reference, one loop device whatever dies, nothing left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.lab import pools
from deploy.lab.layout import REPOSITORY, STORAGE_POOL, Host, Lab
from deploy.lab.shell import wait_until
from tests.lab.world import GUEST_XML, NETWORK_XML, Done, guests, lab_command, rows, traces, virsh

UP = ("--without", "app")
FICLONE = 0x40049409
MIB = 2**20


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host that was never started."""
    found = Lab.at(tmp_path).hosts[0]
    found.folder.mkdir(parents=True)
    return found


def _can(host: Host) -> None:
    pools.ensure(host)
    if not host.pool_image.exists():
        pytest.skip("no loop devices, or no XFS, on this machine")


def test_the_image_is_for_root_alone_and_takes_little_space(host: Host) -> None:
    _can(host)
    stat = host.pool_image.stat()
    assert stat.st_mode & 0o777 == 0o600
    assert stat.st_blocks * 512 < 128 * MIB < stat.st_size
    assert wait_until(lambda: not pools.devices(host), seconds=10)
    assert not os.path.ismount(host.volumes)
    pools.ensure(host)
    assert host.pool_image.stat().st_ino == stat.st_ino, "made again"


def test_without_its_tools_the_pool_is_a_plain_folder(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(host.folder))
    pools.ensure(host)
    assert "mkfs.xfs is not installed" in capsys.readouterr().out
    assert [path.name for path in host.folder.iterdir()] == ["lib"]


def test_where_nothing_can_be_mounted_the_pool_is_a_plain_folder(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pools, "MOUNT_OPTIONS", "loop,no-such-option")
    pools.ensure(host)
    said = capsys.readouterr().out
    assert "h1: copies of volumes are written whole" in said and len(said.splitlines()) == 2
    assert [path.name for path in host.folder.iterdir()] == ["lib"]
    assert wait_until(lambda: not traces(host.lab)["loops"], seconds=10)


def test_volumes_in_a_plain_folder_stay_there(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.volumes.mkdir(parents=True)
    (host.volumes / "disk").touch()
    pools.ensure(host)
    assert not host.pool_image.exists() and "plain folder" in capsys.readouterr().out


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab whose first host has a volume of 64 MiB and a running guest; destroyed afterwards whatever happens."""
    made = Lab.at(REPOSITORY / "var" / f"lab-of-pool-tests-{os.getpid()}")
    try:
        done = lab_command(made, "up", *UP)
        assert done.status == 0, done.output
        if not made.hosts[0].pool_image.exists():
            pytest.skip("no loop devices, or no XFS, on this machine")
        _fill(made)
        yield made
    finally:
        done = lab_command(made, "destroy", "--grace", "0")
        assert done.status == 0 and not any(traces(made).values()), (done.output, traces(made))


def _fill(lab: Lab) -> None:
    (lab.root / "content").write_bytes(os.urandom(64 * MIB))
    (lab.root / "net.xml").write_text(NETWORK_XML.format(name="empty", bridge="pl0e0e1"))
    (lab.root / "guest.xml").write_text(GUEST_XML.format(name="empty", network="empty"))
    for words in (
        ("vol-create-as", STORAGE_POOL, "saved", str(64 * MIB)),
        ("vol-upload", "saved", str(lab.root / "content"), "--pool", STORAGE_POOL),
        ("net-define", str(lab.root / "net.xml")),
        ("net-autostart", "empty"),
        ("net-start", "empty"),
        ("define", str(lab.root / "guest.xml")),
        ("autostart", "empty"),
        ("start", "empty"),
    ):
        _done(virsh(lab, *words))


def _done(done: Done) -> None:
    assert done.status == 0, done.output


def _seen(lab: Lab, pid: int | None = None) -> Path:
    """The pool's folder as a process of the first host has it: by default, its libvirtd."""
    return Path(f"/proc/{pid or rows(lab)['h1'].pid}/root/var/lib/libvirt") / STORAGE_POOL


def _space_taken(lab: Lab) -> int:
    subprocess.run(["sync", "-f", _seen(lab)], check=True)
    return lab.hosts[0].pool_image.stat().st_blocks * 512


def _whole(lab: Lab, name: str = "saved") -> bool:
    return (_seen(lab) / name).read_bytes() == (lab.root / "content").read_bytes()


def test_the_pool_copies_by_reference(lab: Lab) -> None:
    before = _space_taken(lab)
    for number in range(8):
        _done(virsh(lab, "vol-clone", "--reflink", "--pool", STORAGE_POOL, "saved", f"copy{number}"))
    with (_seen(lab) / "saved").open("rb") as source, (_seen(lab) / "ninth").open("xb") as copy:
        fcntl.ioctl(copy, FICLONE, source.fileno())
    assert _space_taken(lab) - before < 16 * MIB
    with (_seen(lab) / "copy0").open("r+b") as own:
        own.write(b"a head of its own")
    assert _whole(lab) and _whole(lab, "copy1") and _whole(lab, "ninth")


def test_deleted_volumes_give_their_space_back(lab: Lab) -> None:
    before = _space_taken(lab)
    shutil.copyfile(lab.root / "content", _seen(lab) / "large")
    assert _space_taken(lab) - before >= 64 * MIB
    (_seen(lab) / "large").unlink()
    assert wait_until(lambda: _space_taken(lab) - before < 16 * MIB, seconds=90, interval=1)


def test_a_restarted_libvirtd_has_the_same_file_system(lab: Lab) -> None:
    """Its guest lives on in the namespace of the one that was killed."""
    host, (guest,) = lab.hosts[0], guests(lab)
    device = pools.devices(host)
    assert len(device) == 1
    for _ in range(3):
        old = rows(lab)["h1"].pid
        os.kill(old, signal.SIGKILL)
        assert wait_until(lambda old=old: rows(lab)["h1"].pid not in (0, old), seconds=30)  # type: ignore[misc]
        assert wait_until(lambda: virsh(lab, "vol-list", STORAGE_POOL).status == 0, seconds=30)
        assert pools.devices(host) == device
        assert os.path.samestat(_seen(lab).stat(), _seen(lab, guest).stat())
    assert guests(lab) == [guest] and _whole(lab)


def test_a_killed_lab_frees_its_loop_devices(lab: Lab) -> None:
    os.kill(int((lab.run / "supervisord.pid").read_text()), signal.SIGKILL)
    for pid in (int(line.split()[0]) for line in traces(lab)["processes"]):
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not any(pools.devices(host) for host in lab.hosts), seconds=30)
    _done(lab_command(lab, "up", *UP))
    assert _whole(lab) and "saved" in virsh(lab, "vol-list", STORAGE_POOL).output


def test_down_frees_the_loop_devices_and_up_finds_the_volumes(lab: Lab) -> None:
    _done(lab_command(lab, "down", "--grace", "0"))
    assert not any(traces(lab).values()), traces(lab)
    _done(lab_command(lab, "up", *UP))
    assert _whole(lab) and "saved" in virsh(lab, "vol-list", STORAGE_POOL).output
    assert [len(pools.devices(host)) for host in lab.hosts] == [1, 1]


def test_a_lab_whose_folder_was_deleted_is_cleared(lab: Lab) -> None:
    shutil.rmtree(lab.root)
    assert traces(lab)["processes"]
    _done(lab_command(lab, "down", "--grace", "0"))
    assert not any(traces(lab).values()), traces(lab)
