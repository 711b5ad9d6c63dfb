"""How volumes come into being on a host, whatever the host is: the part of a hypervisor driver that must survive a crash.

**Uploads.** Storage APIs cannot rename a volume, keep no attributes for us, and a client that dies leaves a half-written
volume of full size. So an image is written *head last*: into a new volume of zeros first everything behind the first
64 KiB, then these. The head of a qcow2, kernel or initrd is never all zeros, so a volume whose head is the local file's
is complete, and one with a head of zeros is to be written (again, and in place: two uploads of the same content do not
disturb each other, while deleting would pull the file from under the other one). Contents of seeds are small and may
begin with zeros (ISO 9660): they are read back and compared whole.
"""

from __future__ import annotations

import io
import os
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from placo.drivers.ports import DriverError, ImageFiles, Rejected

GIB = 1024**3
HEAD = 64 * 1024

_upload_locks: dict[str, threading.Lock] = defaultdict(threading.Lock)


@dataclass(frozen=True)
class VolumeState:
    """A volume as its host sees it: size in bytes for the guest, format, path there, path of what it is an overlay of."""

    capacity: int
    format: str
    path: str
    backing_path: str | None


class VolumeStore(Protocol):
    """The storage of one host, as primitives. `name` is for messages, `key` the same for all who use this storage."""

    name: str
    key: str

    def find(self, volume: str) -> VolumeState | None: ...

    def create(self, volume: str, capacity: int, format: str, backing_path: str | None = None) -> VolumeState:
        """A new sparse volume; if somebody was faster, theirs."""

    def resize(self, volume: str, capacity: int) -> None: ...

    def delete(self, volume: str) -> None:
        """Gone already is fine."""

    def read(self, volume: str, length: int) -> bytes:
        """The first `length` bytes, or as many as there are."""

    def write(self, volume: str, source: BinaryIO, start: int, stop: int) -> None:
        """Bytes `start` to `stop` of `source` to the same place of the volume; all have arrived when it returns.

        Plainly, holes as zeros: libvirt makes a hole by cutting the file off there, which another reader would see.
        """


def ensure_image(store: VolumeStore, image: ImageFiles) -> None:
    """Disk, kernel and initrd, those that it has, as volumes ``<image>.qcow2``, ``.vmlinuz``, ``.initrd``."""
    with _upload_locks[store.key]:  # the same image is often wanted by several runs at once
        try:
            for source, ending in (
                (image.kernel, "vmlinuz"),
                (image.initrd, "initrd"),
                (image.disk, "qcow2"),
            ):
                if source is not None:
                    _ensure_file(store, f"{image.name}.{ending}", source)
        except OSError as error:
            raise DriverError(f"image {image.name} cannot be read: {error}") from error


def _ensure_file(store: VolumeStore, volume: str, source: Path) -> None:
    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(HEAD)
        if not any(head):
            raise Rejected(f"{source.name} does not begin like a disk, a kernel or an initrd")
        state = store.find(volume)
        found = b"" if state is None else store.read(volume, len(head))
        if found == head:
            return
        if any(found):
            raise Rejected(f"{store.name}: volume {volume} exists with another content")
        if state is not None and state.capacity != size:
            store.delete(volume)
            state = None
        if state is None:
            # As raw: a qcow2 would be given a head of its own.
            store.create(volume, size, "raw")
        if size > HEAD:
            store.write(volume, file, HEAD, size)
        store.write(volume, file, 0, len(head))


def ensure_overlay(store: VolumeStore, volume: str, image: str, size_gib: int) -> None:
    """A qcow2 over the image's disk. One over something else is somebody's disk: Rejected."""
    backing = store.find(f"{image}.qcow2")
    if backing is None:
        raise DriverError(f"{store.name}: image {image} is not there")
    if _ensure_qcow2(store, volume, size_gib, backing.path).backing_path != backing.path:
        raise Rejected(f"{store.name}: volume {volume} exists and is no overlay of {image}")


def ensure_volume(store: VolumeStore, volume: str, size_gib: int) -> None:
    """An empty qcow2, or the one that is there with its content; it may grow, never shrink."""
    state = _ensure_qcow2(store, volume, size_gib, None)
    if state.backing_path is not None:
        raise Rejected(f"{store.name}: volume {volume} exists and is an overlay")
    if state.capacity < size_gib * GIB:
        store.resize(volume, size_gib * GIB)


def _ensure_qcow2(store: VolumeStore, volume: str, size_gib: int, backing_path: str | None) -> VolumeState:
    state = store.find(volume) or store.create(volume, size_gib * GIB, "qcow2", backing_path)
    if state.format == "qcow2":
        return state
    # Left by a host that died while making it: no guest can have written anything.
    if any(store.read(volume, HEAD)):
        raise Rejected(f"{store.name}: volume {volume} exists and is no qcow2")
    store.delete(volume)
    return store.create(volume, size_gib * GIB, "qcow2", backing_path)


def ensure_content(store: VolumeStore, volume: str, content: bytes) -> None:
    """A raw volume with exactly this content."""
    state = store.find(volume)
    if state is not None:
        if state.capacity == len(content) and store.read(volume, len(content)) == content:
            return
        store.delete(volume)
    store.create(volume, len(content), "raw")
    store.write(volume, io.BytesIO(content), 0, len(content))
