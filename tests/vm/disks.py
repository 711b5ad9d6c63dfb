"""Volumes of a lab's hosts, looked into from outside: their files, and whether certain words stand anywhere in them."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

POOL = "placo"


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


@contextmanager
def flattened(source: Path, folder: Path) -> Iterator[FileSystem]:
    """A disk image with all that it lies over, as one raw file with holes."""
    raw = folder / f"{source.name}.raw"
    command = ["qemu-img", "convert", "-U", "-O", "raw", str(source), str(raw)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    try:
        yield FileSystem(raw)
    finally:
        raw.unlink()


def found_in(file: Path, words: Collection[bytes], folder: Path) -> set[bytes]:
    """Those of the words that stand in a file, anywhere. They are secrets: never told in a process's arguments."""
    assert all(words)
    assert not any(b"\n" in word for word in words)
    patterns = folder / "words"
    patterns.touch(0o600)
    patterns.write_bytes(b"\n".join(words) + b"\n")
    try:
        command = ["grep", "--text", "--fixed-strings", "--only-matching", f"--file={patterns}", str(file)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=300, env={"LC_ALL": "C"})
    finally:
        patterns.unlink()
    assert done.returncode in (0, 1), done.stderr
    return set(done.stdout.splitlines())
