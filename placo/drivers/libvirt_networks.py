"""A platform's network on its host."""

from __future__ import annotations

import libvirt

from placo.drivers import libvirt_xml as xml
from placo.drivers.libvirt_codes import ErrorCode, fine_if
from placo.drivers.ports import NetworkSpec, Rejected


def ensure(connection: libvirt.virConnect, host: str, spec: NetworkSpec) -> None:
    """As `ports.Hypervisor.ensure_network` has it; `host` is for what is said."""
    network = None
    with fine_if(ErrorCode.NO_NETWORK):
        network = connection.networkLookupByName(spec.name)
    if network is not None and network.UUIDString() != spec.uuid:
        raise Rejected(f"{host}: another network {spec.name} ({network.UUIDString()}) exists")
    if network is not None and network.isActive():
        _update(network, host, spec)
    else:
        network = connection.networkDefineXMLFlags(xml.network_xml(spec), libvirt.VIR_NETWORK_DEFINE_VALIDATE)
        network.create()
    network.setAutostart(1)


def _update(network: libvirt.virNetwork, host: str, spec: NetworkSpec) -> None:
    """Reservations and names are changed without taking the guests' bridge away."""
    for where, description in (
        (libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG, libvirt.VIR_NETWORK_XML_INACTIVE),
        (libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE, 0),
    ):
        changes = xml.network_changes(network.XMLDesc(description), spec)
        if changes is None:
            raise Rejected(f"{host}: network {spec.name} is in use with another bridge or subnet")
        for change in changes:
            network.update(change.command, change.section, 0, change.fragment, where)


def remove(connection: libvirt.virConnect, name: str) -> None:
    """Gone, whether it was active or not."""
    with fine_if(ErrorCode.NO_NETWORK):
        network = connection.networkLookupByName(name)
        if network.isActive():
            with fine_if(ErrorCode.OPERATION_INVALID):  # somebody else was faster
                network.destroy()
        if network.isPersistent():
            network.undefine()
