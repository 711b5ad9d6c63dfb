"""A hypervisor host in a folder: the whole contract without libvirt, for tests of everything above the drivers.

What it holds survives the process and is shared by all processes that use the same folder: one JSON file an object,
and the real bytes of uploads and seeds.
"""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from placo.drivers import volumes
from placo.drivers.faults import Faults
from placo.drivers.ports import (
    DomainInfo,
    DomainSpec,
    DriverError,
    HostStatus,
    ImageFiles,
    Inventory,
    NetworkSpec,
    Power,
    Rejected,
)

_CHUNK = 256 * 1024
_QCOW2 = b"QFI\xfb"


class _Shelf:
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

    def path(self, kind: str, name: str, ending: str = "json") -> Path:
        return self._directory / kind / f"{name}.{ending}"


class _FakePool:
    """Implements `placo.drivers.volumes.VolumeStore`: a JSON file and a file of bytes each."""

    def __init__(self, name: str, shelf: _Shelf, faults: Faults, delays: Mapping[str, float]) -> None:
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


class FakeHypervisor:
    """Implements `placo.drivers.ports.Hypervisor` in `directory`.

    `faults` makes operations fail (also ``upload``, checked for each piece of an image), `delays` makes them take so
    many seconds. Guests in `deaf_guests` (domain uuids) neither shut down nor let go of their seed.
    """

    def __init__(
        self, directory: Path, name: str = "fake", delays: Mapping[str, float] | None = None
    ) -> None:
        self.name = name
        self.faults = Faults(name)
        self.delays: dict[str, float] = dict(delays or {})
        self.deaf_guests: set[str] = set()
        self._shelf = _Shelf(directory)
        self._pool = _FakePool(name, self._shelf, self.faults, self.delays)

    @contextmanager
    def _operation(self, operation: str) -> Iterator[None]:
        self._begin(operation)
        with self._shelf.locked():
            yield

    def _begin(self, operation: str) -> None:
        self.faults.check(operation)
        time.sleep(self.delays.get(operation, 0))

    # --- the host ----------------------------------------------------------------------------------------------------

    def status(self) -> HostStatus:
        self._begin("status")
        return HostStatus(
            hypervisor="kvm",
            version="fake 1.0.0",
            vcpus=8,
            memory_mib=32 * 1024,
            memory_free_mib=16 * 1024,
            disk_gib=1000,
            disk_free_gib=800,
            nwfilter=True,
            overlay=True,
        )

    def inventory(self) -> Inventory:
        with self._operation("inventory"):
            return Inventory(
                domains=tuple(
                    DomainInfo(
                        name=domain["spec"]["name"],
                        uuid=domain["spec"]["uuid"],
                        power=Power(domain["power"]),
                        autostart=domain["autostart"],
                        platform_uuid=domain["spec"]["platform_uuid"],
                    )
                    for domain in self._shelf.all("domains")
                ),
                volumes=tuple(volume["name"] for volume in self._shelf.all("volumes")),
                networks=tuple(network["name"] for network in self._shelf.all("networks")),
            )

    def define_foreign_domain(self, name: str, uuid: str) -> None:
        """Somebody else's domain, as an administrator makes them by hand."""
        with self._shelf.locked():
            spec = {"name": name, "uuid": uuid, "platform_uuid": None}
            self._put_domain({"spec": spec, "power": Power.STOPPED, "autostart": False, "live_seed": None})

    # --- networks ----------------------------------------------------------------------------------------------------

    def ensure_network(self, spec: NetworkSpec) -> None:
        with self._operation("ensure_network"):
            wanted = json.loads(json.dumps(asdict(spec)))
            found = self._shelf.get("networks", spec.name)
            if found is not None and found["uuid"] != spec.uuid:
                raise Rejected(
                    f"{self.name}: network {spec.name} exists and is another one ({found['uuid']})"
                )
            if found is not None and any(
                found[key] != wanted[key] for key in ("bridge", "gateway", "prefix")
            ):
                raise Rejected(f"{self.name}: network {spec.name} is in use with another bridge or subnet")
            self._shelf.put("networks", spec.name, wanted)

    def remove_network(self, name: str) -> None:
        with self._operation("remove_network"):
            self._shelf.drop("networks", name)

    def network(self, name: str) -> dict[str, Any] | None:
        """The fields of its `NetworkSpec`, for assertions."""
        return self._shelf.get("networks", name)

    # --- volumes -----------------------------------------------------------------------------------------------------

    def ensure_image(self, image: ImageFiles) -> None:
        self._begin("ensure_image")
        volumes.ensure_image(self._pool, image)

    def ensure_overlay(self, volume: str, image: str, size_gib: int) -> None:
        with self._operation("ensure_overlay"):
            volumes.ensure_overlay(self._pool, volume, image, size_gib)

    def ensure_volume(self, volume: str, size_gib: int) -> None:
        with self._operation("ensure_volume"):
            volumes.ensure_volume(self._pool, volume, size_gib)

    def ensure_content(self, volume: str, content: bytes) -> None:
        with self._operation("ensure_content"):
            volumes.ensure_content(self._pool, volume, content)

    def remove_volume(self, volume: str) -> None:
        with self._operation("remove_volume"):
            self._pool.delete(volume)

    def content(self, volume: str) -> bytes:
        """All bytes of a volume, for assertions."""
        return self._pool.read(volume, -1)

    # --- domains -----------------------------------------------------------------------------------------------------

    def _put_domain(self, domain: Mapping[str, Any]) -> None:
        self._shelf.put("domains", domain["spec"]["uuid"], domain)

    def ensure_domain(self, spec: DomainSpec) -> None:
        with self._operation("ensure_domain"):
            for other in self._shelf.all("domains"):
                same_name, same_uuid = other["spec"]["name"] == spec.name, other["spec"]["uuid"] == spec.uuid
                if same_name != same_uuid:
                    raise Rejected(
                        f"{self.name}: domain {other['spec']['name']} ({other['spec']['uuid']}) exists"
                    )
            for volume in (
                spec.system_volume,
                spec.data_volume,
                f"{spec.image}.vmlinuz",
                f"{spec.image}.initrd",
            ):
                self._pool.require(volume)
            if spec.seed_volume is not None:
                self._pool.require(spec.seed_volume)
            found = self._shelf.get("domains", spec.uuid)
            new = {"power": Power.STOPPED, "autostart": False, "live_seed": None}
            self._put_domain({**(found or new), "spec": asdict(spec)})

    def start_domain(self, uuid: str) -> None:
        with self._operation("start_domain"):
            domain = self._shelf.get("domains", uuid)
            if domain is None:
                raise DriverError(f"{self.name}: there is no domain {uuid}")
            if domain["power"] == Power.STOPPED:
                self._pool.require(domain["spec"]["system_volume"])
                self._pool.require(domain["spec"]["data_volume"])
                if self._shelf.get("networks", domain["spec"]["network"]) is None:
                    raise DriverError(f"{self.name}: there is no network {domain['spec']['network']}")
                domain["live_seed"] = domain["spec"]["seed_volume"]
            self._put_domain({**domain, "power": Power.RUNNING, "autostart": True})

    def suspend_domain(self, uuid: str) -> Power:
        with self._operation("suspend_domain"):
            domain = self._shelf.get("domains", uuid)
            if domain is None:
                return Power.MISSING
            power = Power.PAUSED if domain["power"] == Power.RUNNING else Power(domain["power"])
            self._put_domain({**domain, "power": power, "autostart": False})
            return power

    def shutdown_domain(self, uuid: str) -> Power:
        with self._operation("shutdown_domain"):
            domain = self._shelf.get("domains", uuid)
            if domain is None:
                return Power.MISSING
            if uuid not in self.deaf_guests:
                domain["power"] = Power.STOPPED
            self._put_domain({**domain, "autostart": False})
            return Power(domain["power"])

    def kill_domain(self, uuid: str) -> None:
        with self._operation("kill_domain"):
            domain = self._shelf.get("domains", uuid)
            if domain is not None:
                self._put_domain({**domain, "power": Power.STOPPED, "autostart": False})

    def power(self, uuid: str) -> Power:
        with self._operation("power"):
            domain = self._shelf.get("domains", uuid)
            return Power.MISSING if domain is None else Power(domain["power"])

    def detach_seed(self, uuid: str, seed_volume: str) -> bool:
        with self._operation("detach_seed"):
            domain = self._shelf.get("domains", uuid)
            if domain is None:
                return True
            if domain["spec"]["seed_volume"] == seed_volume:
                domain["spec"]["seed_volume"] = None
            held = domain["power"] != Power.STOPPED and domain["live_seed"] == seed_volume
            if held and uuid not in self.deaf_guests:
                held, domain["live_seed"] = False, None
            self._put_domain(domain)
            return not held

    def remove_domain(self, uuid: str) -> None:
        with self._operation("remove_domain"):
            self._shelf.drop("domains", uuid)
