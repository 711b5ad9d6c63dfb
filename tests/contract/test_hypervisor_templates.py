"""The part of `ports.Hypervisor` that is about templates, on every implementation.

On libvirt the template is a real one, of the built image of www: one boot for the whole module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from lxml import etree

from placo.drivers.ports import DomainSpec, DriverError, Power, TemplateBroken
from placo.drivers.save_image import HEAD_LENGTH, LIBVIRT_MAGIC, SEALED_MAGIC
from tests.contract.hypervisor_hosts import FakeHost, Host, LibvirtHost
from tests.contract.template_worlds import PARTIAL, TemplateWorld

PATIENCE_S = 120


@pytest.fixture(scope="module", params=["fake", pytest.param("libvirt", marks=pytest.mark.lab)])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TemplateWorld]:
    """A world with a template, on each kind of host."""
    scratch = tmp_path_factory.mktemp("templates")
    host: Host
    if request.param == "fake":
        host = FakeHost(scratch / "host")
    else:
        host = LibvirtHost(request.getfixturevalue("site"), -1, scratch)
    made = TemplateWorld(host, scratch)
    try:
        made.make()
        yield made
    finally:
        made.clear()


def personalise(world: TemplateWorld, spec: DomainSpec) -> None:
    end = time.monotonic() + PATIENCE_S
    while not world.hypervisor.personalise(spec, world.archive(spec), 4):
        assert time.monotonic() < end


def links(world: TemplateWorld, uuid: str) -> list[str]:
    """State of the link of each NIC that a running domain has."""
    nics = etree.fromstring(world.host.live_xml(uuid)).iterfind("devices/interface")
    found = [nic.find("link") for nic in nics]
    return ["up" if link is None else str(link.get("state")) for link in found]


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_changes_with_all_that_memory_depends_on(world: TemplateWorld) -> None:
    spec, key = world.spec, world.hypervisor.template_key
    specs = [
        spec,
        replace(spec, image=f"{spec.image}x"),
        replace(spec, memory_mib=spec.memory_mib + 1),
        replace(spec, vcpus=spec.vcpus + 1),
        replace(spec, system_disk_gib=spec.system_disk_gib + 1),
        replace(spec, data_volume_gib=spec.data_volume_gib + 1),
    ]
    keys = [key(one) for one in specs]
    assert len(set(keys)) == len(specs)
    assert [key(one) for one in specs] == keys
    assert all(len(one) == 8 and set(one) <= set("0123456789abcdef") for one in keys)
    assert world.host.updated().template_key(spec) != key(spec)


# --- templates -------------------------------------------------------------------------------------------------------


def test_a_template_is_made_over_what_a_killed_maker_left(world: TemplateWorld) -> None:
    assert world.half_made is None
    state = world.hypervisor.template(world.template)
    assert state is not None
    assert state.memory_bytes > 0
    assert state.disk_bytes > 0
    assert world.magic(f"{world.template}.save") == SEALED_MAGIC
    assert world.host.backing(f"{world.template}.qcow2") == f"{world.spec.image}.qcow2"
    assert world.host.backing(f"{world.template}.blank.qcow2") is None
    size = world.host.capacity(f"{world.template}.qcow2")
    assert size == world.spec.system_disk_gib * 1024**3  # the killed maker's had another one
    names = {d.name for d in world.hypervisor.inventory().domains}
    assert f"{world.template}--template" not in names


def test_made_twice_is_made_once(world: TemplateWorld) -> None:
    before = world.host.content(f"{world.template}.save")
    started = time.monotonic()
    world.hypervisor.ensure_template(world.template, world.spec)
    assert time.monotonic() - started < 10  # no boot
    assert world.host.content(f"{world.template}.save") == before


def test_what_was_never_made_is_none(world: TemplateWorld) -> None:
    assert world.hypervisor.template(f"{world.prefix}--ffffffff") is None


def test_a_memory_that_is_not_sealed_is_no_template(world: TemplateWorld) -> None:
    name = world.replica()
    assert world.hypervisor.template(name) is not None
    for magic in (PARTIAL, LIBVIRT_MAGIC, bytes(16)):
        world.host.overwrite(f"{name}.save", 0, magic)
        assert world.hypervisor.template(name) is None, magic
    world.host.truncate(f"{name}.save", 10)
    assert world.hypervisor.template(name) is None


def test_a_memory_whose_seal_was_lost_under_clones_is_broken(world: TemplateWorld) -> None:
    """It was whole once: its disk is somebody's, and must not be made anew."""
    name = world.replica()
    world.hypervisor.ensure_clone_disk(f"{world.prefix}-over-system.qcow2", name, 4)
    world.host.overwrite(f"{name}.save", 0, bytes(16))
    with pytest.raises(TemplateBroken, match="damaged at its beginning"):
        world.hypervisor.template(name)
    with pytest.raises(TemplateBroken):
        world.hypervisor.ensure_template(name, world.spec)
    assert world.host.backing(f"{world.prefix}-over-system.qcow2") == f"{name}.qcow2"


Damage = Callable[[TemplateWorld, str], None]


def _overwrite(offset: int, data: bytes) -> Damage:
    return lambda world, name: world.host.overwrite(f"{name}.save", offset, data)


def _cut(length: int) -> Damage:
    """Positive: so many bytes stay. Negative: so many are missing at the end."""

    def cut(world: TemplateWorld, name: str) -> None:
        whole = world.host.length(f"{name}.save")
        world.host.truncate(f"{name}.save", length if length > 0 else whole + length)

    return cut


def _without(ending: str) -> Damage:
    return lambda world, name: world.hypervisor.remove_volume(f"{name}.{ending}")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (_overwrite(16, b"\x07"), "format version 7"),
        (_overwrite(20, bytes(4)), "description would be 0 bytes"),
        (_overwrite(20, b"\xff\xff\xff\xff"), "description would be"),
        (_overwrite(32, b"\xff\xff\xff\x7f"), "description is damaged"),
        (_overwrite(HEAD_LENGTH, b"oops"), "description is damaged"),
        (_overwrite(HEAD_LENGTH + 20, b"\0"), "description is damaged"),
        (_cut(HEAD_LENGTH - 1), "cut off in its header"),
        (_cut(HEAD_LENGTH + 50), "cut off in its description"),
        (_cut(-1), "bytes of its memory are there"),
        (_cut(-4000), "bytes of its memory are there"),
        (_without("qcow2"), r"--[0-9a-f]{8}\.qcow2 is missing"),
        (_without("blank.qcow2"), r"blank\.qcow2 is missing"),
    ],
)
def test_what_is_wrong_with_a_template_is_named(damage: Damage, why: str, world: TemplateWorld) -> None:
    name = world.replica()
    damage(world, name)
    with pytest.raises(TemplateBroken, match=why):
        world.hypervisor.template(name)
    spec = replace(world.domain(world.template_image, world.network()), memory_mib=world.spec.memory_mib)
    with pytest.raises(TemplateBroken, match=why):  # the driver looks before it copies anything
        world.hypervisor.ensure_clone_memory(f"{world.prefix}-never-memory.save", name, spec)
    assert f"{world.prefix}-never-memory.save" not in world.hypervisor.inventory().volumes
    world.hypervisor.remove_templates(world.prefix, [world.template])


def test_clones_of_parts_that_are_missing(world: TemplateWorld) -> None:
    name = f"{world.prefix}--eeeeeeee"
    with pytest.raises(TemplateBroken, match="its disk is missing"):
        world.hypervisor.ensure_clone_disk(f"{world.prefix}-never-system.qcow2", name, 4)
    with pytest.raises(TemplateBroken, match="blank data volume is missing"):
        world.hypervisor.ensure_clone_data(f"{world.prefix}-never-data.qcow2", name)
    assert not [v for v in world.hypervisor.inventory().volumes if v.startswith(f"{world.prefix}-never")]


def test_removal_spares_what_is_kept_and_disks_under_clones(world: TemplateWorld) -> None:
    name, clone = world.replica(), f"{world.prefix}-kept-system.qcow2"
    world.hypervisor.ensure_clone_disk(clone, name, 4)
    parts = {f"{name}.{ending}" for ending in ("qcow2", "save", "blank.qcow2")}

    def left() -> set[str]:
        return parts & set(world.hypervisor.inventory().volumes)

    assert not parts & set(world.hypervisor.remove_templates(world.prefix, [world.template, name]))
    assert not parts & set(world.hypervisor.remove_templates(f"{world.prefix}x", []))
    assert left() == parts
    removed = world.hypervisor.remove_templates(world.prefix, [world.template])
    assert parts & set(removed) == parts - {f"{name}.qcow2"}
    assert left() == {f"{name}.qcow2"}
    assert world.hypervisor.template(name) is None
    world.hypervisor.remove_volume(clone)
    assert f"{name}.qcow2" in world.hypervisor.remove_templates(world.prefix, [world.template])
    assert left() == set()
    assert world.hypervisor.template(world.template) is not None


# --- clones ----------------------------------------------------------------------------------------------------------


def test_a_clone_of_another_size_is_refused(world: TemplateWorld) -> None:
    spec = world.domain(world.template_image, world.network(), "sized")
    spec = replace(spec, memory_mib=world.spec.memory_mib + 1)
    world.hypervisor.ensure_clone_disk(spec.system_volume, world.template, 4)
    with pytest.raises(TemplateBroken, match="MiB"):
        world.hypervisor.ensure_clone_memory(f"{world.prefix}-x-memory.save", world.template, spec)


def test_a_copy_that_was_not_finished_is_refused_by_the_host(world: TemplateWorld) -> None:
    spec, memory = world.clone(1)
    world.host.copy(f"{world.template}.save", memory)  # its head was not written anew
    for _turn in range(2):
        with pytest.raises(DriverError):
            world.hypervisor.resume_clone(spec, memory)
        assert world.hypervisor.power(spec.uuid) is Power.STOPPED
    world.host.overwrite(memory, 0, PARTIAL)
    with pytest.raises(DriverError):
        world.hypervisor.resume_clone(spec, memory)
    assert world.hypervisor.power(spec.uuid) is Power.STOPPED
    world.hypervisor.ensure_clone_memory(memory, world.template, spec)  # made anew, over the old one
    world.hypervisor.resume_clone(spec, memory)
    assert world.hypervisor.power(spec.uuid) is Power.RUNNING


def test_a_clone_comes_to_life(world: TemplateWorld) -> None:
    spec, memory = world.clone(0)
    hypervisor = world.hypervisor
    assert world.host.backing(spec.system_volume) == f"{world.template}.qcow2"
    assert world.host.backing(spec.data_volume) is None
    assert world.host.capacity(spec.data_volume) == world.spec.data_volume_gib * 1024**3

    hypervisor.ensure_clone_memory(memory, world.template, spec)
    first = world.host.content(memory)
    assert first[:16] == LIBVIRT_MAGIC
    hypervisor.ensure_clone_memory(memory, world.template, spec)
    assert world.host.content(memory) == first

    for _turn in range(2):
        hypervisor.resume_clone(spec, memory)
        assert hypervisor.power(spec.uuid) is Power.RUNNING
    root = etree.fromstring(world.host.live_xml(spec.uuid))
    assert [root.findtext(tag) for tag in ("name", "uuid", "title")] == [spec.name, spec.uuid, spec.title]
    assert "placo.template" not in (root.findtext("os/cmdline") or "placo.template")
    files = [str(source.get("file")).rpartition("/")[2] for source in root.iterfind("devices/disk/source")]
    assert files == [spec.system_volume, spec.data_volume]
    text = etree.tostring(root).decode()
    assert "--template" not in text
    assert f"{world.template}.save" not in text
    assert "up" not in links(world, spec.uuid)
    (info,) = [d for d in hypervisor.inventory().domains if d.uuid == spec.uuid]
    assert (info.name, info.platform_uuid, info.autostart) == (spec.name, spec.platform_uuid, False)

    personalise(world, spec)
    assert links(world, spec.uuid) == ["up"]
    assert hypervisor.personalise(spec, b"not an archive: it has its settings", 4)
    assert links(world, spec.uuid) == ["up"]
    (info,) = [d for d in hypervisor.inventory().domains if d.uuid == spec.uuid]
    assert (info.power, info.autostart) == (Power.RUNNING, True)
    if isinstance(world.host, FakeHost):
        assert world.host.hypervisor.templates.archive(spec.uuid) == world.archive(spec)

    hypervisor.remove_volume(memory)
    assert hypervisor.power(spec.uuid) is Power.RUNNING
    hypervisor.kill_domain(spec.uuid)
    with pytest.raises(DriverError):
        hypervisor.personalise(spec, world.archive(spec), 0)


def test_a_template_is_never_written_by_its_clones(world: TemplateWorld) -> None:
    """After all of the above it is still whole."""
    assert world.hypervisor.template(world.template) is not None
    assert world.magic(f"{world.template}.save") == SEALED_MAGIC
