"""What a run has left in the world and in the books, to be held against another one."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.drivers.ports import Power
from placo.platforms.models import (
    JournalEntry,
    LedgerEntry,
    Platform,
    Request,
    Run,
)
from placo.services import (
    audit,
    seeds,
)
from tests.fakes import World
from tests.integration.sagas import SLUG


@dataclass(frozen=True)
class State:
    """Everything that may be left behind, without what differs between two platforms of the same making."""

    platform: str
    world: tuple[str, ...]
    powers: tuple[str, ...]
    sizes: tuple[str, ...]
    told: tuple[str, ...]
    end: str
    members: tuple[str, ...]
    ledger: tuple[tuple[bool, int, int, int], ...]
    orphans: tuple[str, ...]


def state_of(world: World) -> State:
    platform = Platform.objects.get(slug=SLUG)
    rows = LedgerEntry.objects.order_by("id").values_list("committed", "machines", "memory_mib", "disk_gib")
    host = world.host_of(platform)
    found = () if host.faults.unreachable else host.inventory().domains
    domains = sorted(found, key=lambda domain: domain.name)
    sizes = [
        f"{spec['name']} {spec['memory_mib']} {spec['vcpus']} {host.file_system(spec['uuid'])}"
        for spec in (host.definition(domain.uuid) for domain in domains)
    ]
    return State(
        platform=platform.state,
        world=tuple(f"{f.kind} {f.name.replace(platform.uuid.hex[:8], '*')}" for f in world.audit(SLUG)),
        powers=tuple(f"{d.name} {d.power} {d.autostart}" for d in domains),
        sizes=tuple(sizes),
        told=tuple(_told(host, platform)),
        end=str(platform.expires_on),
        members=tuple(f"{uid} {owner}" for uid, owner in world.directory.members(SLUG).items()),
        ledger=tuple(rows),
        orphans=tuple(map(str, audit.orphans())),
    )


def _told(host: FakeHypervisor, platform: Platform) -> Iterator[str]:
    """How much room the settings that a mail machine had last leave for mail; those it came to life with are its first plan's."""
    first = platform.requests.get(kind=Request.CREATE).plan
    for machine in first.machines:
        if machine.name != "mail" or host.faults.unreachable or host.power(machine.uuid) is Power.MISSING:
            continue
        archive = host.told(machine.uuid) or seeds.archive(first, machine)
        with tarfile.open(fileobj=io.BytesIO(archive)) as settings:
            file = settings.extractfile("root/etc/dovecot/dovecot.conf")
            assert file is not None
            yield from (line for line in file.read().decode().splitlines() if "quota_rule" in line)


def sound_books(run: Run) -> None:
    """The journal has an intention before every outcome, every step has ended as the run has, and nobody holds a lease."""
    assert set(run.steps.values_list("state", flat=True)) <= {run.state, "skipped"}
    assert not run.steps.exclude(lease_until=None).exists()
    for step in run.steps.all():
        intended = set()
        for entry in JournalEntry.objects.filter(step=step).order_by("id"):
            if entry.event == "intended":
                intended.add(entry.fence)
            else:
                assert entry.fence in intended, (step.name, entry.event)
    assert run.due_at is None
