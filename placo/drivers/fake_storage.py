"""The storage of a fake host: objects and volumes in a folder, shared by all processes that use it."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from placo.drivers import volumes
from placo.drivers.faults import Faults
from placo.drivers.ports import DriverError

_CHUNK = 256 * 1024
_QCOW2 = b"QFI\xfb"


class Shelf:
    """JSON objects in a folder, by name, safe between threads and processes inside `locked`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._thread_lock = threading.RLock()
        self._depth = 0
        directory.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._thread_lock:
            if self._depth:  # flock would wait for ourselves
                yield
                return
            with (self._directory / ".lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        path = self.path(kind, name)
        return json.loads(path.read_text()) if path.exists() else None

    def put(self, kind: str, name: str, value: Mapping[str, Any]) -> None:
        path = self.path(kind, name)
        path.parent.mkdir(exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(value))
        draft.replace(path)

    def drop(self, kind: str, name: str) -> None:
        self.path(kind, name).unlink(missing_ok=True)

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self._directory / kind).glob("*.json"))]

    def names(self, kind: str) -> list[str]:
        """Of all objects, unread."""
        folder = self._directory / kind
        if not folder.is_dir():
            return []
        with os.scandir(folder) as entries:
            return sorted(e.name.removesuffix(".json") for e in entries if e.name.endswith(".json"))

    def path(self, kind: str, name: str, ending: str = "json") -> Path:
        return self._directory / kind / f"{name}.{ending}"


class FakePool:
    """Implements `placo.drivers.templates.Pool`: a JSON file and a file of bytes each."""

    def __init__(self, name: str, shelf: Shelf, faults: Faults, delays: Mapping[str, float]) -> None:
        self.name, self.key = name, str(shelf.path("volumes", ""))
        self._shelf, self._faults, self._delays = shelf, faults, delays

    def find(self, volume: str) -> volumes.VolumeState | None:
        with self._shelf.locked():
            found = self._shelf.get("volumes", volume)
            if found is None:
                return None
            state = volumes.VolumeState(**found["state"])
            if state.format == "raw" and self.read(volume, len(_QCOW2)) == _QCOW2:
                state = volumes.VolumeState(state.capacity, "qcow2", state.path, None)  # as hosts find out
            return state

    def create(
        self, volume: str, capacity: int, format: str, backing_path: str | None = None
    ) -> volumes.VolumeState:
        with self._shelf.locked():
            existing = self.find(volume)
            if existing is not None:
                return existing
            state = volumes.VolumeState(capacity, format, f"/fake/{volume}", backing_path)
            self._shelf.put("volumes", volume, {"name": volume, "state": asdict(state)})
            with self._bytes(volume).open("wb") as file:
                if format == "raw":
                    file.truncate(capacity)
                else:
                    file.write(_QCOW2)
            return state

    def resize(self, volume: str, capacity: int) -> None:
        with self._shelf.locked():
            found = self._shelf.get("volumes", volume)
            if found is None:
                raise DriverError(f"{self.name}: there is no volume {volume}")
            self._shelf.put("volumes", volume, {**found, "state": {**found["state"], "capacity": capacity}})

    def copy(self, volume: str, source: str, capacity: int, format: str) -> None:
        with self._shelf.locked():
            self.require(source)
            if self._shelf.get("volumes", volume) is not None:
                raise DriverError(f"{self.name}: volume {volume} exists")
            self.create(volume, capacity, format)
            self._bytes(volume).write_bytes(self._bytes(source).read_bytes())
            self._faults.check("copy")

    def path(self, volume: str) -> str:
        self.require(volume)
        return f"/fake/{volume}"

    def length(self, volume: str) -> int:
        self.require(volume)
        return self._bytes(volume).stat().st_size

    def used(self, volume: str) -> int:
        return self.length(volume)

    def names(self) -> list[str]:
        return self._shelf.names("volumes")

    def write_as_guest(self, volume: str) -> None:
        """Something that runs has the volume: its content is no longer what it was made with."""
        self.require(volume)
        self._shelf.put("volumes", volume, {**(self._shelf.get("volumes", volume) or {}), "written": True})

    def was_written(self, volume: str) -> bool:
        """Whether `write_as_guest` came to this volume."""
        found = self._shelf.get("volumes", volume)
        return found is not None and found.get("written", False)

    def delete(self, volume: str) -> None:
        with self._shelf.locked():
            self._shelf.drop("volumes", volume)
            self._bytes(volume).unlink(missing_ok=True)

    def read(self, volume: str, length: int) -> bytes:
        with self._bytes(volume).open("rb") as file:
            return file.read(length)

    def write(self, volume: str, source: BinaryIO, start: int, stop: int) -> None:
        with self._bytes(volume).open("rb+") as file:
            for position in range(start, stop, _CHUNK):
                self._faults.check("upload")
                time.sleep(self._delays.get("upload", 0))
                source.seek(position)
                file.seek(position)
                file.write(source.read(min(_CHUNK, stop - position)))
                file.flush()

    def require(self, volume: str) -> None:
        if self._shelf.get("volumes", volume) is None:
            raise DriverError(f"{self.name}: there is no volume {volume}")

    def _bytes(self, volume: str) -> Path:
        return self._shelf.path("volumes", volume, "bytes")
