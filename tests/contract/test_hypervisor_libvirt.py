"""What only a real host can show, beyond the contract."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from placo.drivers import nwfilter
from placo.drivers.libvirt import LibvirtHypervisor
from placo.drivers.libvirt_xml import FILTER
from placo.drivers.ports import DriverError, Lease, Power, Unavailable
from tests.contract.hypervisor_hosts import LibvirtHost
from tests.contract.hypervisor_worlds import World


def test_a_host_that_accepts_and_says_nothing_is_given_up_in_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        hypervisor = LibvirtHypervisor(
            "silent", f"qemu+unix:///system?socket={tmp_path}/s", connect_timeout_s=0.5
        )
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(Unavailable, match="did not answer within"):
                hypervisor.status()
        assert time.monotonic() - began < 30  # it gives up instead of hanging


@pytest.mark.lab
@pytest.mark.parametrize("world", ["libvirt"], indirect=True)
def test_two_platforms_networks_live_side_by_side(world: World) -> None:
    assert isinstance(world.host, LibvirtHost)
    below = Lease(mac="52:54:00:fe:01:02", address="10.77.31.226", hostname="www")
    specs = [world.network(), world.network(below, number=1)]
    for spec in specs:
        world.hypervisor.ensure_network(spec)
    for spec in specs:
        network = etree.fromstring(world.host.virsh("net-dumpxml", spec.name))
        assert network.xpath("forward/@mode") == ["open"]
        assert network.xpath("bridge/@name") == [spec.bridge]
        assert "yes" in world.host.virsh("net-info", spec.name).split("Active:")[1].splitlines()[0]


@pytest.mark.lab
@pytest.mark.parametrize("world", ["libvirt"], indirect=True)
def test_volumes_are_nobody_elses_to_read(world: World) -> None:
    assert isinstance(world.host, LibvirtHost)
    spec = world.machine()
    for volume in world.found()[1]:
        assert world.host.volume(volume).findtext("target/permissions/mode") == "0600", volume
    assert spec.seed_volume in world.found()[1]


@pytest.mark.lab
@pytest.mark.parametrize("world", ["libvirt"], indirect=True)
def test_a_seed_never_shows_in_xml_or_errors(world: World) -> None:
    assert isinstance(world.host, LibvirtHost)
    secret = os.urandom(24).hex()
    spec = world.machine()
    assert spec.seed_volume is not None
    world.hypervisor.ensure_content(spec.seed_volume, secret.encode())
    assert secret not in world.host.virsh("dumpxml", "--security-info", spec.uuid)
    world.hypervisor.remove_network(spec.network)
    with pytest.raises(DriverError) as caught:
        world.hypervisor.start_domain(spec.uuid)
    assert secret not in str(caught.value)


@pytest.mark.lab
@pytest.mark.parametrize("world", ["libvirt"], indirect=True)
def test_a_nics_filter_is_there_and_a_damaged_one_is_brought_back(
    world: World, site: dict[str, Any], tmp_path: Path
) -> None:
    assert isinstance(world.host, LibvirtHost)
    spec, host = world.machine(), world.host
    assert nwfilter.same(host.virsh("nwfilter-dumpxml", FILTER), nwfilter.filter_xml())
    others = set(host.virsh("nwfilter-list").splitlines())
    damaged = etree.fromstring(host.virsh("nwfilter-dumpxml", FILTER))
    damaged.findall("rule")[-1].set("priority", "999")  # the same to whoever is at work on this host
    (tmp_path / "damaged.xml").write_bytes(etree.tostring(damaged))
    try:
        host.virsh("nwfilter-define", str(tmp_path / "damaged.xml"))
        assert not nwfilter.same(host.virsh("nwfilter-dumpxml", FILTER), nwfilter.filter_xml())
    finally:
        _new_driver(site).ensure_domain(spec)
    assert nwfilter.same(host.virsh("nwfilter-dumpxml", FILTER), nwfilter.filter_xml())
    assert set(host.virsh("nwfilter-list").splitlines()) == others, "the same UUIDs, and no other filter"


@pytest.mark.lab
@pytest.mark.parametrize("world", ["libvirt"], indirect=True)
def test_a_guest_process_that_hangs_does_not_hide_the_others(world: World) -> None:
    """libvirt waits for ever for the answer of a QEMU that is stopped: its host is told of nevertheless."""
    assert isinstance(world.host, LibvirtHost)
    spec = world.machine()
    world.hypervisor.start_domain(spec.uuid)
    pid = _process_of(spec.uuid)
    os.kill(pid, signal.SIGSTOP)
    try:
        for patience in (20, 2):  # only the first one waits
            began = time.monotonic()
            (domain,) = (one for one in world.hypervisor.inventory().domains if one.uuid == spec.uuid)
            assert (domain.power, domain.memory_mib, domain.vcpus) == (Power.RUNNING, spec.memory_mib, 1)
            assert time.monotonic() - began < patience
    finally:
        os.kill(pid, signal.SIGCONT)


def _process_of(domain_uuid: str) -> int:
    """The QEMU of a domain, by its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"-uuid" in words and words[words.index(b"-uuid") + 1] == domain_uuid.encode():
                return int(path.parent.name)
    raise AssertionError(f"no process of {domain_uuid}")


def _new_driver(site: dict[str, Any]) -> LibvirtHypervisor:
    """As a worker has it that has just been started."""
    host = site["hosts"][0]
    return LibvirtHypervisor(
        host["name"], host["uri"], storage_pool=host["storage_pool"], domain_type=host["domain_type"]
    )
