"""What the tests of templates share: how a platform that came up is judged, and what keeps machines from being resumed."""

from __future__ import annotations

import io
import tarfile

from placo.drivers.ports import Power
from placo.platforms.models import Host, Machine, Platform, Run, Template
from placo.services import audit, engine
from tests.fakes import World

SLUG = "alpha"
WARM_OPERATIONS = (
    "template_key", "template", "status", "ensure_clone_disk", "ensure_clone_data", "ensure_clone_memory", "copy",
    "upload", "resume_clone", "restored", "personalise", "plug", "settled",
)  # fmt: skip
"""What a host does for a warm machine, and the points in the middle of that (placo/drivers/fake_templates.py)."""


def machines(slug: str = SLUG) -> dict[str, Machine]:
    found = Machine.objects.filter(platform=Platform.objects.filter(slug=slug).latest("id"))
    return {machine.name: machine for machine in found}


def ways(slug: str = SLUG) -> dict[str, tuple[str, str]]:
    return {name: (machine.way, machine.way_reason) for name, machine in machines(slug).items()}


def all_(way: str, reason: str = "") -> dict[str, tuple[str, str]]:
    return {"www": (way, reason), "svn": (way, reason)}


def assert_complete(world: World, run: Run) -> None:
    """The platform is there as it shall be, however it came to be, and nothing that was only on the way."""
    assert run.state == "done", [(s.name, s.state, s.error) for s in run.steps.all()]
    platform = run.platform
    host = world.host_of(platform)
    assert {(d.name, d.power, d.autostart) for d in host.inventory().domains} == {
        (m.domain, Power.RUNNING, True) for m in platform.plan.machines
    }
    kinds = [volume for m in platform.plan.machines for volume in (m.system_volume, m.data_volume)]
    assert sorted(f.name for f in world.audit(platform.slug) if f.kind == "volume") == sorted(kinds)
    for m in platform.plan.machines:
        assert host.link(m.uuid) == "up"
        warm = machines(platform.slug)[m.name].way == Machine.WARM
        assert (host.live_xml(m.uuid) is not None) == warm
        assert (host.templates.archive(m.uuid) is not None) == warm
    assert audit.orphans() == []


def members(archive: bytes | None) -> dict[str, bytes]:
    assert archive is not None
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {e.name: (tar.extractfile(e) or io.BytesIO()).read() for e in tar.getmembers()}


class Death(BaseException):
    """A worker is gone in the middle of what it did."""


def advance_to_death(world: World, run: Run) -> int:
    """Advance until the run has ended; how many workers died of it."""
    deaths = 0
    for _round in range(60):
        try:
            engine.advance(run.pk)
            if Run.objects.get(pk=run.pk).ended_at:
                break
        except Death:
            deaths += 1
            world.lose_leases(run.pk)
        world.let_time_pass(run.pk)
    return deaths


def off(_world: World) -> None:
    Host.objects.update(warm=False)


def none_yet(_world: World) -> None:
    Template.objects.all().delete()


def impossible(world: World) -> None:
    for host in world.hosts.values():
        host.no_templates = "Xen does not resume saved machines for PLACO"


def other_version(world: World) -> None:
    for host in world.hosts.values():
        host.version = "fake 1.0.1"


def no_memory(world: World) -> None:
    for host in world.hosts.values():
        host.memory_free_mib = 300


def damaged(world: World) -> None:
    for row in Template.objects.all():
        world.hosts[row.host.name].remove_volume(f"{row.name}.blank.qcow2")


def failed(_world: World) -> None:
    Template.objects.update(state=Template.FAILED, reason="no guest agent")
