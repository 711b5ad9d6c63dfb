"""A host's storage pool through libvirt: volumes are made, copied, read and written there, never through a file path."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import BinaryIO

import libvirt

from placo.drivers import libvirt_xml as xml
from placo.drivers import volumes
from placo.drivers.connection import SharedConnection
from placo.drivers.libvirt_codes import ErrorCode, fine_if

_CHUNK = 256 * 1024 - 24  # what fits into one message of libvirt's protocol


class LibvirtPool:
    """One storage pool of files; implements `placo.drivers.templates.Pool`.

    Raises libvirt's own errors: who calls it turns them into those of the contract.
    """

    def __init__(
        self, name: str, key: str, pool: str, connection: SharedConnection[libvirt.virConnect]
    ) -> None:
        self.name, self.key = name, key
        self._pool, self._connection = pool, connection
        self._reflinks = True

    def open(self) -> libvirt.virStoragePool:
        pool = self._connection.get().storagePoolLookupByName(self._pool)
        if not pool.isActive():
            pool.create()
        return pool

    def find(self, volume: str) -> volumes.VolumeState | None:
        with fine_if(ErrorCode.NO_STORAGE_VOL):
            return xml.volume_state(self._lookup(volume).XMLDesc())
        return None

    def path(self, volume: str) -> str:
        return str(self._lookup(volume).path())

    def create(
        self, volume: str, capacity: int, format: str, backing_path: str | None = None
    ) -> volumes.VolumeState:
        pool = self.open()
        try:
            created = pool.createXML(xml.volume_xml(volume, capacity, format, backing_path))
            return xml.volume_state(created.XMLDesc())
        except libvirt.libvirtError:
            pool.refresh()  # it may lie there unknown to the pool
            state = self.find(volume)
            if state is None:
                raise
            return state

    def copy(self, volume: str, source: str, capacity: int, format: str) -> None:
        pool, original = self.open(), self._lookup(source)
        description = xml.volume_xml(volume, capacity, format)
        if self._reflinks and format == "raw":
            try:
                pool.createXMLFrom(description, original, libvirt.VIR_STORAGE_VOL_CREATE_REFLINK)
                return
            except libvirt.libvirtError:
                self._reflinks = False  # not on this file system: a plain copy, from now on at once
        pool.createXMLFrom(description, original, 0)

    def length(self, volume: str) -> int:
        return int(self._lookup(volume).info()[1])

    def used(self, volume: str) -> int:
        return int(self._lookup(volume).info()[2])

    def names(self) -> list[str]:
        return [volume.name() for volume in self.open().listAllVolumes()]

    def resize(self, volume: str, capacity: int) -> None:
        self._lookup(volume).resize(capacity)  # QEMU's lock refuses it while a guest runs on it

    def delete(self, volume: str) -> None:
        with fine_if(ErrorCode.NO_STORAGE_VOL):
            self._lookup(volume).delete()

    def read(self, volume: str, length: int) -> bytes:
        content = bytearray()
        with self._stream() as stream:
            self._lookup(volume).download(stream, 0, length)
            while chunk := stream.recv(_CHUNK):
                content += chunk
        return bytes(content)

    def write(self, volume: str, source: BinaryIO, start: int, stop: int) -> None:
        source.seek(start)
        with self._stream() as stream:
            self._lookup(volume).upload(stream, start, stop - start)
            while start < stop and (chunk := source.read(min(_CHUNK, stop - start))):
                start += len(chunk)
                while chunk:
                    chunk = chunk[stream.send(chunk) :]

    def _lookup(self, volume: str) -> libvirt.virStorageVol:
        return self.open().storageVolLookupByName(volume)

    @contextlib.contextmanager
    def _stream(self) -> Iterator[libvirt.virStream]:
        stream = self._connection.get().newStream()
        try:
            yield stream
            stream.finish()
        except BaseException:
            with contextlib.suppress(
                libvirt.libvirtError
            ):  # broken already; the first error is the one to tell
                stream.abort()
            raise
