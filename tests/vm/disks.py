"""Volumes of a lab's hosts, looked into from outside: their files, and whether certain words stand anywhere in them.

A host's pool is mounted in its own mount namespace only, which the processes of its libvirtd show.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

POOL = "placo"
CHUNK = 1 << 24


def virsh(uri: str, *command: str) -> str:
    """What a command of libvirt's client says; its complaint is in the error."""
    done = subprocess.run(
        ["virsh", "-q", "-c", uri, *command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout.strip()


@dataclass(frozen=True)
class FileSystem:
    """The ext4 file system that a raw disk consists of, read without being mounted."""

    raw: Path

    def _debugfs(self, request: str) -> str:
        command = ["/usr/sbin/debugfs", "-R", request, str(self.raw)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def names(self, folder: str) -> set[str]:
        """What is in a folder; nothing where there is none."""
        lines = [line.split("/") for line in self._debugfs(f"ls -p {folder}").splitlines()]
        return {parts[5] for parts in lines if len(parts) > 6} - {".", ".."}

    def text(self, path: str) -> str:
        """What a file holds; nothing where there is none."""
        return self._debugfs(f"cat {path}")


@dataclass(frozen=True)
class Pool:
    """The pool of the host behind this address of a libvirtd."""

    uri: str

    @property
    def _pid(self) -> int:
        return int(
            (Path(self.uri.partition("socket=")[2]).parent.parent / "libvirt" / "libvirtd.pid").read_text()
        )

    def path(self, volume: str) -> str:
        """As the host sees it."""
        return virsh(self.uri, "vol-path", volume, "--pool", POOL)

    def seen(self, path: str) -> Path:
        """The same file as everybody sees it."""
        return Path(f"/proc/{self._pid}/root{path}")

    def qemu_img(self, *command: str) -> None:
        """Done where the host's paths are valid; what lies below the folder for temporary files is everybody's."""
        inside = ["nsenter", f"--mount=/proc/{self._pid}/ns/mnt", "qemu-img", *command]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)

    @contextmanager
    def flattened(self, path: str, folder: Path) -> Iterator[FileSystem]:
        """A disk image with all that it lies over, as one raw file with holes, brought to where its journal says that it is."""
        raw = folder / f"{Path(path).name}.raw"
        self.qemu_img("convert", "-U", "-O", "raw", path, str(raw))
        try:
            mended = subprocess.run(
                ["/usr/sbin/e2fsck", "-fy", str(raw)], capture_output=True, text=True, check=False
            )
            assert mended.returncode in (0, 1), mended.stdout
            yield FileSystem(raw)
        finally:
            raw.unlink()


def found_in(file: Path, words: Collection[bytes]) -> set[bytes]:
    """Those of the words that stand in a file, anywhere; holes are passed over."""
    assert all(words)
    overlap, found = max(map(len, words)) - 1, set[bytes]()
    with file.open("rb") as opened:
        for start, end in _data(opened.fileno()):
            opened.seek(start)
            kept, left = b"", end - start
            while left > 0 and (read := opened.read(min(CHUNK, left))):
                left -= len(read)
                chunk = kept + read
                found |= {word for word in words if word in chunk}
                kept = chunk[-overlap:] if overlap else b""
    return found


def _data(file: int) -> Iterator[tuple[int, int]]:
    """Where a file has no holes."""
    end, size = 0, os.fstat(file).st_size
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            return
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end
