"""A KVM (or emulating QEMU) host through libvirt, wherever it is: nothing here uses a path of the portal's machine.

Only this module, `libvirt_connection`, `libvirt_networks` and `libvirt_pool` import libvirt. It needs what libvirt 9.0 offers to a remote client: one storage pool of files,
one network per platform, domains with direct kernel boot.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

import libvirt
import libvirt_qemu

from placo.drivers import libvirt_connection, libvirt_networks, nwfilter, volumes
from placo.drivers import libvirt_xml as xml
from placo.drivers.connection import Patience, SharedConnection
from placo.drivers.guest_agent import AgentMissing, CommandFailed, GuestAgent, NoSuchFile
from placo.drivers.libvirt_codes import ErrorCode, contract_error, fine_if, power_of
from placo.drivers.libvirt_events import LibvirtWatch
from placo.drivers.libvirt_pool import LibvirtPool
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
    Unavailable,
    Watch,
)
from placo.drivers.templates import Templates

_P = ParamSpec("_P")
_R = TypeVar("_R")

_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)
_GROW = ("/usr/sbin/resize2fs", "/dev/vdb")
_GROW_TIMEOUT_S = 60
_SETTINGS = "/root/placo-settings"
"""Where a guest finds the settings that it is told later: nobody but root comes there."""
_TAKE_SETTINGS = ("/usr/sbin/placo-personalise", "--change", _SETTINGS)
_TAKE_SETTINGS_TIMEOUT_S = 120
_USAGE = 64
"""What placo-personalise ends with when it does not know what it is asked for (sysexits.h)."""
_AGENT_TIMEOUT_S = 20
_PATIENCE_S = 10


def _guarded(
    method: Callable[Concatenate[LibvirtHypervisor, _P], _R],
) -> Callable[Concatenate[LibvirtHypervisor, _P], _R]:
    """Turn libvirt's errors into those of the contract; try once more when a cached connection proves dead."""

    @functools.wraps(method)
    def call(self: LibvirtHypervisor, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            try:
                return method(self, *args, **kwargs)
            except libvirt.libvirtError:
                if not self.connection.is_dead():
                    raise
            return method(self, *args, **kwargs)
        except libvirt.libvirtError as error:
            message = f"{self.name}: {method.__name__.replace('_', ' ')}: {error}"
            dead = self.connection.is_dead()
            raise (Unavailable if dead else contract_error(error.get_error_code()))(message) from error

    return call


class LibvirtHypervisor:
    """Implements `placo.drivers.ports.Hypervisor`.

    `domain_type` is ``kvm``, or ``qemu`` where the processor does not virtualise. `cpu` overrides the CPU mode or model.
    """

    def __init__(
        self,
        name: str,
        uri: str,
        *,
        storage_pool: str = "placo",
        domain_type: str = "kvm",
        cpu: str | None = None,
        connect_timeout_s: float = 10,
    ) -> None:
        self.name = name
        self._uri, self._domain_type = uri, domain_type
        # Emulated, a plain model boots with less work than everything that QEMU can emulate ("maximum").
        self._cpu = cpu or ("host-model" if domain_type == "kvm" else "Nehalem")
        self._connect_timeout_s = connect_timeout_s
        self.connection, self._asked = self._another(), self._another()
        self._pool = LibvirtPool(name, f"{uri} {storage_pool}", storage_pool, self.connection)
        self._filter = nwfilter.OwnFilter()
        self._templates = Templates(name, self.connection.get, self._pool, self._agent, self._definition)
        self._patient = Patience(f"patient-{name}", _PATIENCE_S)
        self._platforms: dict[str, str | None] = {}  # domain uuid -> platform uuid; neither ever changes

    @_guarded
    def status(self) -> HostStatus:
        connection = self.connection.get()
        pool = self._pool.open()
        memory = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
        free = sum(memory.get(key, 0) for key in ("free", "buffers", "cached"))
        _, capacity, _, available = pool.info()
        driver = connection.getType()
        version = connection.getVersion()
        return HostStatus(
            hypervisor={"QEMU": "kvm", "Xen": "xen"}.get(driver, driver.lower()),
            version=f"{driver} {version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}",
            vcpus=connection.getInfo()[2],
            memory_mib=memory["total"] // 1024,
            memory_free_mib=free // 1024,
            disk_gib=capacity // volumes.GIB,
            disk_free_gib=available // volumes.GIB,
            nwfilter=driver == "QEMU" and nwfilter.available(connection),  # libxl takes no filters
            overlay=xml.pool_type(pool.XMLDesc()) in ("dir", "fs", "netfs"),
        )

    @_guarded
    def inventory(self) -> Inventory:
        connection = self.connection.get()
        stats = self._domain_stats()
        bulk = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)
        autostarted = {domain.UUIDString() for domain in bulk}
        domains = []
        for domain, state in stats:
            with fine_if(ErrorCode.NO_DOMAIN):
                uuid = domain.UUIDString()
                domains.append(
                    DomainInfo(
                        name=domain.name(),
                        uuid=uuid,
                        power=power_of(state["state.state"]),
                        autostart=uuid in autostarted,
                        platform_uuid=self._platform(domain, uuid),
                        memory_mib=state.get("balloon.maximum", 0) // 1024,
                        vcpus=state.get("vcpu.maximum", 0),
                    )
                )
        idle = connection.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_INACTIVE)
        return Inventory(
            domains=tuple(domains),
            volumes=tuple(volume.name() for volume in self._pool.open().listAllVolumes()),
            networks=tuple(network.name() for network in connection.listAllNetworks()),
            idle_networks=frozenset(network.name() for network in idle),
        )

    def _domain_stats(self) -> list[tuple[libvirt.virDomain, dict[str, Any]]]:
        """State, memory and processors of all domains. libvirt asks each running QEMU for the latter two, and one that hangs never
        answers. NOWAIT leaves out what a call is waiting at already: so the first call may hang, the next one does not. Theirs is
        a connection of its own, for libvirt is slow to tell others what comes on one where a call hangs; it is then left."""
        wanted = (
            libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_BALLOON | libvirt.VIR_DOMAIN_STATS_VCPU
        )
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
        for _turn in range(2):
            asked = self._asked
            connection = asked.get()
            try:
                return self._patient.call(lambda c=connection: c.getAllDomainStats(wanted, flags))  # type: ignore[misc]
            except TimeoutError:
                if self._asked is asked:
                    self._asked = self._another()
        raise Unavailable(f"{self.name} did not tell of its domains within {_PATIENCE_S} s, twice")

    def _another(self) -> SharedConnection[libvirt.virConnect]:
        return SharedConnection(
            self.name,
            lambda: libvirt_connection.open_to(self._uri),
            libvirt_connection.is_alive,
            self._connect_timeout_s,
        )

    @_guarded
    def watch(self, callback: Callable[[DomainEvent], None]) -> Watch:
        self.connection.get()  # a host that does not answer is known to do so at once
        with contextlib.suppress(TimeoutError):
            return LibvirtWatch(
                self._patient.call(lambda: libvirt_connection.open_to(self._uri)),
                libvirt_connection.is_alive,
                callback,
            )
        raise Unavailable(f"{self.name} did not answer within {_PATIENCE_S} s")

    def _platform(self, domain: libvirt.virDomain, uuid: str) -> str | None:
        # There is no bulk call for metadata, so each domain is asked once in the life of this driver.
        if uuid not in self._platforms:
            found = None
            with fine_if(ErrorCode.NO_DOMAIN_METADATA):
                metadata = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml.PLACO_NAMESPACE)
                found = xml.platform_of(metadata)
            self._platforms[uuid] = found
        return self._platforms[uuid]

    @_guarded
    def ensure_network(self, spec: NetworkSpec) -> None:
        libvirt_networks.ensure(self.connection.get(), self.name, spec)

    @_guarded
    def remove_network(self, name: str) -> None:
        libvirt_networks.remove(self.connection.get(), name)

    @_guarded
    def ensure_image(self, image: ImageFiles) -> None:
        volumes.ensure_image(self._pool, image)

    @_guarded
    def ensure_overlay(self, volume: str, image: str, size_gib: int) -> None:
        volumes.ensure_overlay(self._pool, volume, image, size_gib)

    @_guarded
    def ensure_volume(self, volume: str, size_gib: int) -> None:
        volumes.ensure_volume(self._pool, volume, size_gib)

    @_guarded
    def ensure_content(self, volume: str, content: bytes) -> None:
        volumes.ensure_content(self._pool, volume, content)

    @_guarded
    def remove_volume(self, volume: str) -> None:
        self._pool.delete(volume)

    def _domain(self, uuid: str) -> libvirt.virDomain:
        return self.connection.get().lookupByUUIDString(uuid)

    def _definition(self, spec: DomainSpec) -> str:
        return xml.domain_xml(spec, domain_type=self._domain_type, cpu=self._cpu, path_of=self._pool.path)

    @_guarded
    def ensure_domain(self, spec: DomainSpec) -> None:
        connection = self.connection.get()
        for look_up, key in (
            (connection.lookupByName, spec.name),
            (connection.lookupByUUIDString, spec.uuid),
        ):
            with fine_if(ErrorCode.NO_DOMAIN):
                found = look_up(key)
                if (found.name(), found.UUIDString()) != (spec.name, spec.uuid):
                    raise Rejected(f"{self.name}: domain {found.name()} ({found.UUIDString()}) exists")
        self._filter.ensure(connection)
        connection.defineXMLFlags(self._definition(spec), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        self._platforms[spec.uuid] = spec.platform_uuid

    @_guarded
    def grow_volume(self, uuid: str, volume: str, size_gib: int) -> None:
        domain = self._domain(uuid)
        if domain.isActive():
            path, size = self._pool.path(volume), size_gib * volumes.GIB
            if domain.blockInfo(path)[0] < size:
                domain.blockResize(path, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        else:
            volumes.ensure_volume(self._pool, volume, size_gib)

    @_guarded
    def grow_file_system(self, uuid: str) -> bool:
        domain = self._domain(uuid)
        if not domain.isActive():
            return False
        try:
            self._agent(domain).run(*_GROW, timeout_s=_GROW_TIMEOUT_S)
        except AgentMissing:
            return False
        return True

    @_guarded
    def tell_settings(self, uuid: str, archive: bytes) -> bool:
        domain = self._domain(uuid)
        if not domain.isActive():
            return False
        agent = self._agent(domain)
        try:
            agent.write(_SETTINGS, archive)
            agent.run(*_TAKE_SETTINGS, timeout_s=_TAKE_SETTINGS_TIMEOUT_S)
        except AgentMissing:
            return False
        except CommandFailed as error:
            if error.status != _USAGE:
                raise
            raise Rejected(
                f"{self.name}: {domain.name()} cannot take other settings: rebuild it from a newer image first"
            ) from error
        return True

    @_guarded
    def start_domain(self, uuid: str) -> None:
        domain = self._domain(uuid)
        if not domain.isActive():
            with fine_if(ErrorCode.OPERATION_INVALID):  # started in the meantime
                domain.create()
        if power_of(domain.state()[0]) is Power.PAUSED:
            domain.resume()
        domain.setAutostart(1)

    @_guarded
    def suspend_domain(self, uuid: str) -> Power:
        with fine_if(ErrorCode.NO_DOMAIN):
            domain = self._domain(uuid)
            domain.setAutostart(0)
            with fine_if(ErrorCode.OPERATION_INVALID):  # not running, or suspended already
                domain.suspend()
            return power_of(domain.state()[0])
        return Power.MISSING

    @_guarded
    def shutdown_domain(self, uuid: str) -> Power:
        with fine_if(ErrorCode.NO_DOMAIN):
            domain = self._domain(uuid)
            domain.setAutostart(0)
            with fine_if(ErrorCode.OPERATION_INVALID):  # not running
                # Through the agent libvirt would wait a minute for the guest to go.
                domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
            return power_of(domain.state()[0])
        return Power.MISSING

    @_guarded
    def kill_domain(self, uuid: str) -> None:
        with fine_if(ErrorCode.NO_DOMAIN, ErrorCode.OPERATION_INVALID):  # gone, not running
            domain = self._domain(uuid)
            domain.setAutostart(0)
            domain.destroy()

    @_guarded
    def power(self, uuid: str) -> Power:
        with fine_if(ErrorCode.NO_DOMAIN):
            return power_of(self._domain(uuid).state()[0])
        return Power.MISSING

    @_guarded
    def detach_seed(self, uuid: str, seed_volume: str) -> bool:
        with fine_if(ErrorCode.NO_DOMAIN):
            domain = self._domain(uuid)
            disk = xml.disk_with_file(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), seed_volume)
            if disk is not None:
                domain.detachDeviceFlags(disk, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
            disk = xml.disk_with_file(domain.XMLDesc(), seed_volume) if domain.isActive() else None
            if disk is not None:
                domain.detachDeviceFlags(disk, libvirt.VIR_DOMAIN_AFFECT_LIVE)
                return xml.disk_with_file(domain.XMLDesc(), seed_volume) is None
        return True

    @_guarded
    def remove_domain(self, uuid: str) -> None:
        with fine_if(ErrorCode.NO_DOMAIN):
            domain = self._domain(uuid)
            with fine_if(ErrorCode.OPERATION_INVALID):  # not running
                domain.destroy()
            domain.undefineFlags(_UNDEFINE)
        self._platforms.pop(uuid, None)

    # --- templates: placo/drivers/templates.py ---------------------------------------------------------------------

    def _agent(self, domain: libvirt.virDomain) -> GuestAgent:
        name = f"{self.name}: {domain.name()}"

        def ask(command: str) -> str:
            try:
                return str(libvirt_qemu.qemuAgentCommand(domain, command, _AGENT_TIMEOUT_S, 0))
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_AGENT_UNRESPONSIVE:
                    raise AgentMissing(f"{name}: the guest agent does not answer") from None
                if "No such file" in str(error):
                    raise NoSuchFile(f"{name}: no such file in the guest") from None
                if self.connection.is_dead():
                    raise
                raise DriverError(f"{name}: {error}") from None

        return GuestAgent(name, ask)

    @_guarded
    def template_key(self, spec: TemplateSpec) -> str:
        return self._templates.key(spec, self._cpu, self._domain_type)

    @_guarded
    def ensure_template(self, name: str, spec: TemplateSpec) -> None:
        self._templates.ensure(name, spec)

    @_guarded
    def template(self, name: str) -> TemplateState | None:
        return self._templates.state(name)

    @_guarded
    def remove_templates(self, image_prefix: str, keep: Iterable[str]) -> list[str]:
        return self._templates.remove_all(image_prefix, keep)

    @_guarded
    def ensure_clone_disk(self, volume: str, template: str, size_gib: int) -> None:
        self._templates.clone_disk(volume, template, size_gib)

    @_guarded
    def ensure_clone_data(self, volume: str, template: str) -> None:
        self._templates.clone_data(volume, template)

    @_guarded
    def ensure_clone_memory(self, volume: str, template: str, spec: DomainSpec) -> None:
        self._templates.clone_memory(volume, template, spec)

    @_guarded
    def resume_clone(self, spec: DomainSpec, memory_volume: str) -> None:
        self._templates.resume(spec, memory_volume)

    @_guarded
    def personalise(self, spec: DomainSpec, archive: bytes, patience_s: float) -> bool:
        return self._templates.personalise(spec, archive, patience_s)
