"""A hypervisor host in a folder: the whole contract without libvirt, for tests of everything above the drivers.

What it holds survives the process and is shared by all processes that use the same folder: one JSON file an object,
and the real bytes of uploads and seeds.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from placo.domain.stock import is_stock
from placo.drivers import volumes
from placo.drivers.fake_storage import FakePool, Shelf
from placo.drivers.fake_templates import FakeTemplates, link_of
from placo.drivers.fake_watch import FakeWatch
from placo.drivers.faults import Faults
from placo.drivers.ports import (
    DomainEvent,
    DomainInfo,
    DomainSpec,
    DriverError,
    HostStatus,
    ImageFiles,
    Inventory,
    NetworkSpec,
    Power,
    Rejected,
    TemplateSpec,
    TemplateState,
    Watch,
)


class FakeHypervisor:
    """Implements `placo.drivers.ports.Hypervisor` in `directory`.

    `faults` makes operations fail (also ``upload``, checked for each piece of an image), `delays` makes them take so
    many seconds. Guests in `deaf_guests` (domain uuids) neither shut down nor let go of their seed; what a resumed one
    does with its settings is in `templates`, and so are faults in the middle of making and resuming.

    `version` is the hypervisor's, on which templates depend; `no_templates` says why there can be none, if so.
    """

    def __init__(
        self,
        directory: Path,
        name: str = "fake",
        delays: Mapping[str, float] | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.name = name
        self.faults = faults or Faults(name)
        self.delays: dict[str, float] = dict(delays or {})
        self.deaf_guests: set[str] = set()
        self.version = "fake 1.0.0"
        self.memory_free_mib = 16 * 1024
        self.no_templates = ""
        self._shelf = Shelf(directory)
        self._pool = FakePool(name, self._shelf, self.faults, self.delays)
        self.templates = FakeTemplates(name, self._shelf, self._pool, self.faults)

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
            version=self.version,
            vcpus=8,
            memory_mib=32 * 1024,
            memory_free_mib=self.memory_free_mib,
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
                        memory_mib=domain["spec"].get("memory_mib", 0),
                        vcpus=domain["spec"].get("vcpus", 0),
                    )
                    for domain in self._shelf.all("domains")
                ),
                volumes=tuple(self._shelf.names("volumes")),
                networks=tuple(self._shelf.names("networks")),
                idle_networks=frozenset(self._shelf.names("idle-networks")),
            )

    def watch(self, callback: Callable[[DomainEvent], None]) -> Watch:
        self._begin("watch")
        return FakeWatch(self._powers, callback)

    def _powers(self) -> dict[str, Power]:
        self.faults.check("events")
        with self._shelf.locked():
            return {domain["spec"]["uuid"]: Power(domain["power"]) for domain in self._shelf.all("domains")}

    def define_foreign_domain(self, name: str, uuid: str) -> None:
        """Somebody else's domain, as an administrator makes them by hand."""
        with self._shelf.locked():
            spec = {"name": name, "uuid": uuid, "platform_uuid": None}
            self._put_domain(
                {"spec": spec, "power": Power.STOPPED, "autostart": False, "live_seed": None, "live": None}
            )

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
            self._shelf.drop("idle-networks", spec.name)

    def remove_network(self, name: str) -> None:
        with self._operation("remove_network"):
            self._shelf.drop("networks", name)
            self._shelf.drop("idle-networks", name)

    def stop_network(self, name: str) -> None:
        """Somebody takes the bridge away and leaves the definition."""
        with self._shelf.locked():
            self._shelf.put("idle-networks", name, {"name": name})

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

    def grow_volume(self, uuid: str, volume: str, size_gib: int) -> None:
        with self._operation("grow_volume"):
            if self._shelf.get("domains", uuid) is None:
                raise DriverError(f"{self.name}: there is no domain {uuid}")
            self._pool.require(volume)
            volumes.ensure_volume(self._pool, volume, size_gib)

    def grow_file_system(self, uuid: str) -> bool:
        with self._operation("grow_file_system"):
            domain = self._shelf.get("domains", uuid)
            if domain is None:
                raise DriverError(f"{self.name}: there is no domain {uuid}")
            if domain["power"] != Power.RUNNING or uuid in self.deaf_guests:
                return False
            state = self._pool.find(domain["spec"]["data_volume"])
            self._put_domain({**domain, "file_system": state and state.capacity})
            return True

    def tell_settings(self, uuid: str, archive: bytes) -> bool:
        with self._operation("tell_settings"):
            domain = self._shelf.get("domains", uuid)
            if domain is None:
                raise DriverError(f"{self.name}: there is no domain {uuid}")
            if domain["power"] != Power.RUNNING or uuid in self.deaf_guests:
                return False
            self._put_domain({**domain, "told": base64.b64encode(archive).decode()})
            return True

    def told(self, uuid: str) -> bytes | None:
        """The settings archive that a running guest was told last, for assertions."""
        found = (self._shelf.get("domains", uuid) or {}).get("told")
        return None if found is None else base64.b64decode(found)

    def definition(self, uuid: str) -> dict[str, Any]:
        """The fields of a domain's `DomainSpec`, for assertions."""
        found = self._shelf.get("domains", uuid)
        if found is None:
            raise KeyError(uuid)
        return dict(found["spec"])

    def file_system(self, uuid: str) -> int | None:
        """Bytes of the data volume that its file system was made to fill; None if it never was. For assertions."""
        return (self._shelf.get("domains", uuid) or {}).get("file_system")

    def ensure_content(self, volume: str, content: bytes) -> None:
        with self._operation("ensure_content"):
            volumes.ensure_content(self._pool, volume, content)

    def remove_volume(self, volume: str) -> None:
        with self._operation("remove_volume"):
            self._pool.delete(volume)

    def content(self, volume: str) -> bytes:
        """All bytes of a volume, for assertions."""
        return self._pool.read(volume, -1)

    def backing(self, volume: str) -> str | None:
        """The volume that this one is an overlay of, for assertions."""
        state = self._pool.find(volume)
        return None if state is None or state.backing_path is None else Path(state.backing_path).name

    def was_written(self, volume: str) -> bool:
        """Whether a guest ever had it, for assertions."""
        return self._pool.was_written(volume)

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
            own = () if is_stock(spec.image) else (f"{spec.image}.vmlinuz", f"{spec.image}.initrd")
            for volume in (spec.system_volume, spec.data_volume, *own):
                self._pool.require(volume)
            if spec.seed_volume is not None:
                self._pool.require(spec.seed_volume)
            found = self._shelf.get("domains", spec.uuid)
            new = {"power": Power.STOPPED, "autostart": False, "live_seed": None, "live": None}
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
                for volume in ("system_volume", "data_volume"):
                    self._pool.write_as_guest(domain["spec"][volume])
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
                domain |= {"power": Power.STOPPED, "live": None}
            self._put_domain({**domain, "autostart": False})
            return Power(domain["power"])

    def kill_domain(self, uuid: str) -> None:
        with self._operation("kill_domain"):
            domain = self._shelf.get("domains", uuid)
            if domain is not None:
                self._put_domain({**domain, "power": Power.STOPPED, "autostart": False, "live": None})

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

    def link(self, uuid: str) -> str:
        """``up`` or ``down``, of a running domain's NIC; empty when it has none. For assertions."""
        domain = self._shelf.get("domains", uuid)
        if domain is None or domain["power"] == Power.STOPPED:
            return ""
        return "up" if domain["live"] is None else link_of(domain["live"])

    def live_xml(self, uuid: str) -> str | None:
        """What a resumed domain runs as; None for one that booted, or does not run. For assertions."""
        domain = self._shelf.get("domains", uuid)
        return None if domain is None else domain["live"]

    # --- templates: placo/drivers/fake_templates.py ------------------------------------------------------------------

    def template_key(self, spec: TemplateSpec) -> str:
        self._begin("template_key")
        if self.no_templates:
            raise Rejected(f"{self.name}: {self.no_templates}")
        return self.templates.key_for(spec, self.version)

    def ensure_template(self, name: str, spec: TemplateSpec) -> None:
        with self._operation("ensure_template"):
            self.templates.ensure(name, spec)

    def template(self, name: str) -> TemplateState | None:
        with self._operation("template"):
            return self.templates.state(name)

    def remove_templates(self, image_prefix: str, keep: Iterable[str]) -> list[str]:
        with self._operation("remove_templates"):
            return self.templates.remove_all(image_prefix, keep)

    def ensure_clone_disk(self, volume: str, template: str, size_gib: int) -> None:
        with self._operation("ensure_clone_disk"):
            self.templates.clone_disk(volume, template, size_gib)

    def ensure_clone_data(self, volume: str, template: str) -> None:
        with self._operation("ensure_clone_data"):
            self.templates.clone_data(volume, template)

    def ensure_clone_memory(self, volume: str, template: str, spec: DomainSpec) -> None:
        with self._operation("ensure_clone_memory"):
            self.templates.clone_memory(volume, template, spec)

    def resume_clone(self, spec: DomainSpec, memory_volume: str) -> None:
        with self._operation("resume_clone"):
            self.templates.resume(spec, memory_volume)

    def personalise(self, spec: DomainSpec, archive: bytes, patience_s: float) -> bool:
        with self._operation("personalise"):
            return self.templates.personalise(spec, archive, patience_s)
