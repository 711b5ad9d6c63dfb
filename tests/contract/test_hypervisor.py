"""The contract `ports.Hypervisor`, on every implementation."""

from __future__ import annotations

import dataclasses
import os
import uuid

import pytest

from deploy.client import wait_for
from placo.drivers.ports import DomainInfo, DriverError, Power, Rejected, Unavailable
from tests.contract.hypervisor_worlds import World, lease

GIB = 1024**3


# --- the host --------------------------------------------------------------------------------------------------------


def test_status_tells_what_the_host_has(world: World) -> None:
    status = world.hypervisor.status()
    assert status.hypervisor == "kvm"
    assert status.vcpus > 0
    assert 0 < status.memory_free_mib <= status.memory_mib
    assert 0 < status.disk_free_gib <= status.disk_gib
    assert status.nwfilter
    assert status.overlay


def test_a_host_that_does_not_answer_is_unavailable(world: World) -> None:
    nowhere = world.host.unreachable()
    for call in (nowhere.status, nowhere.inventory, lambda: nowhere.power(str(uuid.uuid4()))):
        with pytest.raises(Unavailable):
            call()
    with pytest.raises(Unavailable):
        nowhere.remove_domain(str(uuid.uuid4()))
    with pytest.raises(Unavailable):
        nowhere.ensure_volume(f"{world.prefix}-data.qcow2", 1)


def test_inventory_shows_exactly_what_was_made_and_then_nothing(world: World) -> None:
    spec = world.machine()
    world.hypervisor.start_domain(spec.uuid)
    image = [f"{spec.image}.{ending}" for ending in ("qcow2", "vmlinuz", "initrd")]
    own = {spec.system_volume, spec.data_volume, spec.seed_volume}
    assert world.found() == ({spec.name}, {*own, *image}, {spec.network})
    (domain,) = (one for one in world.hypervisor.inventory().domains if one.uuid == spec.uuid)
    assert domain == DomainInfo(
        spec.name, spec.uuid, Power.RUNNING, True, world.platform_uuid, spec.memory_mib, spec.vcpus
    )
    assert spec.network not in world.hypervisor.inventory().idle_networks

    world.hypervisor.remove_domain(spec.uuid)
    world.hypervisor.remove_network(spec.network)
    for volume in (*own, *image):
        assert volume is not None
        world.hypervisor.remove_volume(volume)
    assert world.found() == (set(), set(), set())


def test_a_domain_that_is_off_has_what_it_will_be_started_with(world: World) -> None:
    spec = world.machine()
    (domain,) = (one for one in world.hypervisor.inventory().domains if one.uuid == spec.uuid)
    assert (domain.power, domain.memory_mib, domain.vcpus) == (Power.STOPPED, spec.memory_mib, spec.vcpus)


def test_a_network_that_is_only_defined_is_idle_until_it_is_ensured(world: World) -> None:
    network = world.network()
    world.hypervisor.ensure_network(network)
    world.host.stop_network(network.name)
    assert network.name in world.hypervisor.inventory().networks
    assert network.name in world.hypervisor.inventory().idle_networks
    world.hypervisor.ensure_network(network)
    assert network.name not in world.hypervisor.inventory().idle_networks


def test_somebody_elses_domain_belongs_to_no_platform(world: World) -> None:
    domain_uuid = world.foreign_domain()
    (domain,) = (one for one in world.hypervisor.inventory().domains if one.uuid == domain_uuid)
    assert (domain.platform_uuid, domain.power, domain.autostart) == (None, Power.STOPPED, False)


def test_removing_what_is_not_there_succeeds(world: World) -> None:
    nobody = str(uuid.uuid4())
    world.hypervisor.remove_domain(nobody)
    world.hypervisor.remove_volume(f"{world.prefix}-none")
    world.hypervisor.remove_network(f"{world.prefix}-none")
    world.hypervisor.kill_domain(nobody)
    assert world.hypervisor.power(nobody) is Power.MISSING
    assert world.hypervisor.shutdown_domain(nobody) is Power.MISSING
    assert world.hypervisor.detach_seed(nobody, f"{world.prefix}-none")


# --- volumes ---------------------------------------------------------------------------------------------------------


def test_an_image_arrives_byte_for_byte_and_is_not_sent_twice(world: World) -> None:
    image = world.image(3_072_000)
    world.hypervisor.ensure_image(image)
    assert world.host.content(f"{image.name}.qcow2") == image.disk.read_bytes()
    assert world.host.content(f"{image.name}.vmlinuz") == image.kernel.read_bytes()
    assert world.host.content(f"{image.name}.initrd") == image.initrd.read_bytes()

    # Behind the head the file may now say what it likes: nobody looks.
    sent = image.disk.read_bytes()
    image.disk.write_bytes(sent[:70_000] + bytes(len(sent) - 70_000))
    world.hypervisor.ensure_image(image)
    assert world.host.content(f"{image.name}.qcow2") == sent


def test_a_stock_image_is_its_disk_alone_and_a_machine_boots_from_it(world: World) -> None:
    image, network = world.stock_image(), world.network()
    spec = world.domain(image, network)
    world.hypervisor.ensure_image(image)
    assert world.found()[1] == {f"{image.name}.qcow2"}
    world.hypervisor.ensure_network(network)
    world.hypervisor.ensure_overlay(spec.system_volume, image.name, 1)
    world.hypervisor.ensure_volume(spec.data_volume, 1)
    assert spec.seed_volume is not None
    world.hypervisor.ensure_content(spec.seed_volume, b"seed" * 512)
    world.hypervisor.ensure_domain(spec)
    world.hypervisor.start_domain(spec.uuid)
    assert world.hypervisor.power(spec.uuid) is Power.RUNNING
    assert world.host.attached(spec.uuid) == [spec.system_volume, spec.data_volume, spec.seed_volume]


def test_an_upload_that_was_killed_is_redone(world: World) -> None:
    image = world.image(64_000_000)
    disk = f"{image.name}.qcow2"
    process = world.start_upload(image)
    wait_for(lambda: disk in world.found()[1] or None, 30, "the upload to begin", every_s=0.005)
    process.kill()
    assert process.wait() < 0, "the upload was over before it could be killed"
    half = world.host.content(disk)
    assert len(half) == image.disk.stat().st_size
    assert half != image.disk.read_bytes()

    world.hypervisor.ensure_image(image)
    assert world.host.content(disk) == image.disk.read_bytes()


def test_another_content_under_an_images_name_is_refused(world: World) -> None:
    image = world.image()
    world.hypervisor.ensure_image(image)
    before = world.host.content(f"{image.name}.qcow2")
    image.disk.write_bytes(os.urandom(200_000))
    with pytest.raises(Rejected):
        world.hypervisor.ensure_image(image)
    assert world.host.content(f"{image.name}.qcow2") == before


def test_an_unreadable_image_is_an_error_that_may_pass(world: World) -> None:
    image = world.image()
    image.initrd.unlink()
    with pytest.raises(DriverError) as caught:
        world.hypervisor.ensure_image(image)
    assert not isinstance(caught.value, Rejected)
    image.initrd.write_bytes(b"070701")
    world.hypervisor.ensure_image(image)


def test_a_system_disk_is_an_overlay_of_its_image(world: World) -> None:
    image, other = world.image(), dataclasses.replace(world.image(), name=f"{world.prefix}-other")
    for one in (image, other):
        world.hypervisor.ensure_image(dataclasses.replace(other, name=one.name))
    system = f"{world.prefix}-system.qcow2"
    for _ in range(2):
        world.hypervisor.ensure_overlay(system, image.name, 3)
        assert world.host.backing(system) == f"{image.name}.qcow2"
        assert world.host.capacity(system) == 3 * GIB
    with pytest.raises(Rejected):
        world.hypervisor.ensure_overlay(system, other.name, 3)
    assert world.host.backing(system) == f"{image.name}.qcow2"


def test_an_overlay_without_its_image_is_an_error(world: World) -> None:
    with pytest.raises(DriverError):
        world.hypervisor.ensure_overlay(f"{world.prefix}-system.qcow2", f"{world.prefix}-none", 1)
    assert world.found()[1] == set()


def test_a_data_volume_grows_and_never_shrinks(world: World) -> None:
    data = f"{world.prefix}-data.qcow2"
    world.hypervisor.ensure_volume(data, 2)
    assert world.host.capacity(data) == 2 * GIB
    world.hypervisor.ensure_volume(data, 1)
    assert world.host.capacity(data) == 2 * GIB
    world.hypervisor.ensure_volume(data, 4)
    assert world.host.capacity(data) == 4 * GIB


@pytest.mark.parametrize("running", [False, True])
def test_a_data_volume_grows_under_its_machine(world: World, running: bool) -> None:
    spec = world.machine()
    if running:
        world.hypervisor.start_domain(spec.uuid)
    for size in (3, 3, 2):
        world.hypervisor.grow_volume(spec.uuid, spec.data_volume, size)
        assert world.host.capacity(spec.data_volume) == 3 * GIB
    assert world.hypervisor.power(spec.uuid) is (Power.RUNNING if running else Power.STOPPED)
    with pytest.raises(DriverError):
        world.hypervisor.grow_volume("00000000-0000-4000-8000-000000000000", spec.data_volume, 4)


def test_a_guest_that_does_not_answer_has_not_grown_its_file_system(world: World) -> None:
    spec = world.machine()
    assert not world.hypervisor.grow_file_system(spec.uuid)
    world.host.deafen(spec.uuid)
    world.hypervisor.start_domain(spec.uuid)
    assert not world.hypervisor.grow_file_system(spec.uuid)


def test_a_guest_that_does_not_answer_has_not_taken_other_settings(world: World) -> None:
    spec = world.machine()
    assert not world.hypervisor.tell_settings(spec.uuid, b"settings")
    world.host.deafen(spec.uuid)
    world.hypervisor.start_domain(spec.uuid)
    assert not world.hypervisor.tell_settings(spec.uuid, b"settings")
    with pytest.raises(DriverError):
        world.hypervisor.tell_settings("00000000-0000-4000-8000-000000000000", b"settings")


def test_an_existing_data_volume_keeps_its_content(world: World) -> None:
    data = f"{world.prefix}-data.qcow2"
    world.hypervisor.ensure_volume(data, 1)
    before = world.host.content(data)
    world.hypervisor.ensure_volume(data, 1)
    assert world.host.content(data) == before


def test_a_volume_that_is_no_disk_is_not_taken_for_one(world: World) -> None:
    volume = f"{world.prefix}-thing"
    world.hypervisor.ensure_content(volume, b"precious")
    with pytest.raises(Rejected):
        world.hypervisor.ensure_volume(volume, 1)
    assert world.host.content(volume) == b"precious"


def test_a_disk_whose_making_was_interrupted_is_made_again(world: World) -> None:
    volume = f"{world.prefix}-data.qcow2"
    world.hypervisor.ensure_content(volume, bytes(100_000))
    world.hypervisor.ensure_volume(volume, 1)
    assert world.host.capacity(volume) == GIB


@pytest.mark.parametrize("size", [1, 2048, 1_500_000])
def test_a_seed_has_exactly_its_content(world: World, size: int) -> None:
    seed, content = f"{world.prefix}-seed.iso", bytes(size // 2) + os.urandom(size - size // 2)
    for _ in range(2):
        world.hypervisor.ensure_content(seed, content)
        assert world.host.content(seed) == content


def test_a_seed_is_made_again_when_its_content_differs(world: World) -> None:
    seed = f"{world.prefix}-seed.iso"
    for content in (b"first" * 100, b"other" * 100, b"longer" * 1000, b"short"):
        world.hypervisor.ensure_content(seed, content)
        assert world.host.content(seed) == content


def test_volumes_are_removed_twice(world: World) -> None:
    seed = f"{world.prefix}-seed.iso"
    world.hypervisor.ensure_content(seed, b"x")
    for _ in range(2):
        world.hypervisor.remove_volume(seed)
        assert world.found()[1] == set()


# --- networks --------------------------------------------------------------------------------------------------------


def test_a_network_reserves_what_was_asked(world: World) -> None:
    spec = world.network(
        lease(2, "www"), lease(3, "svn"), dns_hosts=(("10.77.0.2", "directory.placo.internal"),)
    )
    for _ in range(2):
        world.hypervisor.ensure_network(spec)
        assert world.host.leases(spec.name) == {
            ("52:54:00:fe:01:02", "10.77.31.242", "www"),
            ("52:54:00:fe:01:03", "10.77.31.243", "svn"),
        }
        assert world.host.dns_names(spec.name) == {
            ("10.77.31.242", "www"),
            ("10.77.31.243", "svn"),
            ("10.77.0.2", "directory.placo.internal"),
        }
    for _ in range(2):
        world.hypervisor.remove_network(spec.name)
        assert world.found()[2] == set()


def test_changed_reservations_are_updated_in_place(world: World) -> None:
    world.hypervisor.ensure_network(world.network(lease(2, "www"), lease(3, "svn")))
    # One goes, one changes its name, one comes and takes the address of the one that went.
    newcomer = dataclasses.replace(lease(4, "wiki"), address="10.77.31.242")
    spec = world.network(newcomer, lease(3, "subversion"), dns_hosts=(("10.77.0.2", "directory"),))
    for _ in range(2):
        world.hypervisor.ensure_network(spec)
        assert world.host.leases(spec.name) == {
            ("52:54:00:fe:01:04", "10.77.31.242", "wiki"),
            ("52:54:00:fe:01:03", "10.77.31.243", "subversion"),
        }
        assert world.host.dns_names(spec.name) == {
            ("10.77.31.242", "wiki"),
            ("10.77.31.243", "subversion"),
            ("10.77.0.2", "directory"),
        }


def test_a_network_in_use_does_not_change_its_subnet(world: World) -> None:
    spec = world.network()
    world.hypervisor.ensure_network(spec)
    with pytest.raises(Rejected):
        world.hypervisor.ensure_network(dataclasses.replace(spec, gateway="10.77.31.225"))
    with pytest.raises(Rejected):
        world.hypervisor.ensure_network(dataclasses.replace(spec, uuid=str(uuid.uuid4())))
    assert world.host.leases(spec.name) == {("52:54:00:fe:01:02", "10.77.31.242", "www")}


# --- domains ---------------------------------------------------------------------------------------------------------


def test_a_domain_is_defined_twice_and_stays_one(world: World) -> None:
    spec = world.machine()
    world.hypervisor.ensure_domain(dataclasses.replace(spec, memory_mib=96))
    assert world.found()[0] == {spec.name}
    assert world.hypervisor.power(spec.uuid) is Power.STOPPED
    assert world.host.attached(spec.uuid) == [spec.system_volume, spec.data_volume, spec.seed_volume]


def test_a_name_or_uuid_that_is_taken_is_refused(world: World) -> None:
    spec = world.machine()
    with pytest.raises(Rejected):
        world.hypervisor.ensure_domain(dataclasses.replace(spec, uuid=str(uuid.uuid4())))
    with pytest.raises(Rejected):
        world.hypervisor.ensure_domain(dataclasses.replace(spec, name=f"{spec.name}-2"))
    assert world.found()[0] == {spec.name}


def test_a_domain_without_its_disks_is_an_error(world: World) -> None:
    spec = world.domain(world.image(), world.network())
    with pytest.raises(DriverError):
        world.hypervisor.ensure_domain(spec)
    with pytest.raises(DriverError):
        world.hypervisor.start_domain(spec.uuid)
    assert world.found()[0] == set()


def test_a_domain_runs_until_it_is_killed(world: World) -> None:
    spec = world.machine()
    for _ in range(2):
        world.hypervisor.start_domain(spec.uuid)
        assert (world.hypervisor.power(spec.uuid), autostart(world, spec.uuid)) == (Power.RUNNING, True)
    world.hypervisor.ensure_domain(spec)
    assert (world.hypervisor.power(spec.uuid), autostart(world, spec.uuid)) == (Power.RUNNING, True)
    for _ in range(2):
        world.hypervisor.kill_domain(spec.uuid)
        assert (world.hypervisor.power(spec.uuid), autostart(world, spec.uuid)) == (Power.STOPPED, False)
    world.hypervisor.start_domain(spec.uuid)
    assert world.hypervisor.power(spec.uuid) is Power.RUNNING


def test_a_domain_is_suspended_and_goes_on(world: World) -> None:
    spec = world.machine()
    assert world.hypervisor.suspend_domain(spec.uuid) is Power.STOPPED, "what does not run is not suspended"
    world.hypervisor.start_domain(spec.uuid)
    for _ in range(2):
        assert world.hypervisor.suspend_domain(spec.uuid) is Power.PAUSED
        assert (world.hypervisor.power(spec.uuid), autostart(world, spec.uuid)) == (Power.PAUSED, False)
    world.hypervisor.start_domain(spec.uuid)
    assert (world.hypervisor.power(spec.uuid), autostart(world, spec.uuid)) == (Power.RUNNING, True)
    world.hypervisor.kill_domain(spec.uuid)
    assert world.hypervisor.suspend_domain("00000000-0000-4000-8000-000000000000") is Power.MISSING


def test_shutdown_asks_and_does_not_wait(world: World) -> None:
    spec = world.machine()
    assert world.hypervisor.shutdown_domain(spec.uuid) is Power.STOPPED
    world.host.deafen(spec.uuid)
    world.hypervisor.start_domain(spec.uuid)
    for _ in range(2):
        assert world.hypervisor.shutdown_domain(spec.uuid) is Power.RUNNING
    assert not autostart(world, spec.uuid)


def test_a_seed_is_held_by_a_guest_that_does_not_let_go(world: World) -> None:
    spec = world.machine()
    assert spec.seed_volume is not None
    world.host.deafen(spec.uuid)
    world.hypervisor.start_domain(spec.uuid)
    assert not world.hypervisor.detach_seed(spec.uuid, spec.seed_volume)
    assert spec.seed_volume in world.host.attached(spec.uuid)
    world.hypervisor.kill_domain(spec.uuid)
    for _ in range(2):
        assert world.hypervisor.detach_seed(spec.uuid, spec.seed_volume)
        assert world.host.attached(spec.uuid) == [spec.system_volume, spec.data_volume]
    world.hypervisor.remove_volume(spec.seed_volume)
    world.hypervisor.start_domain(spec.uuid)
    assert world.hypervisor.power(spec.uuid) is Power.RUNNING


def test_a_running_domain_is_removed_and_its_volumes_stay(world: World) -> None:
    spec = world.machine()
    world.hypervisor.start_domain(spec.uuid)
    for _ in range(2):
        world.hypervisor.remove_domain(spec.uuid)
        assert world.hypervisor.power(spec.uuid) is Power.MISSING
    domains, volumes, _ = world.found()
    assert domains == set()
    assert {spec.system_volume, spec.data_volume, spec.seed_volume} <= volumes


def autostart(world: World, domain_uuid: str) -> bool:
    (found,) = (one.autostart for one in world.hypervisor.inventory().domains if one.uuid == domain_uuid)
    return found
