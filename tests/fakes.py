"""A whole outside world that lives in this process: the fake drivers, wired where PLACO looks for the real ones.

world.finish(run_id)      do what the workers would do until the run has ended or waits for a decision
world.audit(slug)         what there is of a platform, everywhere
world.warm()              templates on all hosts; without them machines come up cold
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from django.utils import timezone

from placo import wiring
from placo.domain.drift import DIRECTORY_PLACE, EDGE_PLACE
from placo.domain.lifecycle import RunState, StepState
from placo.drivers.doors import Door
from placo.drivers.fake_directory import FakeDirectory
from placo.drivers.fake_doorman import FakeDoorman
from placo.drivers.fake_edge import FakeCertificateAuthority, FakeEdge, FakeGateway, FakeProber, FakeZone
from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.drivers.fake_images import FakeImages
from placo.drivers.faults import Faults
from placo.drivers.ports import Person
from placo.platforms.models import Host, Platform, Run, Step
from placo.services import asking, audit, engine, guests, letters, proofs, runs, templates

PEOPLE = (
    Person("ada", "Ada Lovelace", "ada@example.org"),
    Person("emmy", "Emmy Noether", "emmy@example.org"),
    Person("sofia", "Sofia Kovalevskaya", "sofia@example.org"),
    Person("alan", "Alan Turing", "alan@example.org"),
    Person("evariste", "Évariste Galois", "evariste@example.org"),
)
ROUNDS = 400
"""More rounds than any run of these tests needs: a run that goes on longer never ends."""


@dataclass
class World:
    """Everything outside the portal, and the workers' part played by hand."""

    hosts: dict[str, FakeHypervisor]
    directory: FakeDirectory
    edge: FakeEdge
    gateway: FakeGateway
    zone: FakeZone
    authority: FakeCertificateAuthority
    prober: FakeProber
    images: FakeImages
    doorman: FakeDoorman
    rings: list[tuple[int, float]] = field(default_factory=list)
    asked: list[int | None] = field(default_factory=list)
    """Reconciliations asked for: a host, or None for directory and edge."""
    tasks: list[str] = field(default_factory=list)
    """Names of tasks asked for: mails to send, guests to attend."""
    proofs: list[int] = field(default_factory=list)
    """Proofs that a worker was rung for."""

    @property
    def faults(self) -> dict[str, Faults]:
        """Every place where something can go wrong, by the name of the operation that a step calls there."""
        host = self.hosts["h1"].faults
        disks = ("ensure_image", "ensure_overlay", "ensure_volume", "ensure_content")
        found = dict.fromkeys(
            (*disks, "ensure_network", "ensure_domain", "start_domain", "detach_seed"), host
        )
        found |= dict.fromkeys(("ensure_platform", "ensure_machine_account"), self.directory.faults)
        return found | {
            "ensure_site": self.edge.faults,
            "ensure_domains": self.gateway.faults,
            "ensure_names": self.zone.faults,
            "issue": self.authority.faults,
        }

    def warm(self) -> None:
        """Templates on all hosts, so that platforms come up warm from now on."""
        for host in Host.objects.all():
            templates.keep_templates(host.pk)

    def host_of(self, platform: Platform) -> FakeHypervisor:
        """Where a platform lives."""
        return self.hosts[platform.host.name]

    def let_time_pass(self, run_id: int) -> None:
        """All waits of a run are over."""
        past = timezone.now() - timedelta(seconds=1)
        Step.objects.filter(run=run_id, not_before__isnull=False).update(not_before=past)

    def lose_leases(self, run_id: int) -> None:
        """The workers that hold steps of a run have taken longer than they may."""
        past = timezone.now() - timedelta(seconds=1)
        Step.objects.filter(run=run_id, lease_until__isnull=False).update(lease_until=past)

    def make_older(self, run_id: int, seconds: float) -> None:
        """As if every step that has been started had been started so much earlier."""
        for step in Step.objects.filter(run=run_id, started_at__isnull=False):
            if step.started_at is not None:
                step.started_at -= timedelta(seconds=seconds)
                step.save(update_fields=["started_at"])

    def finish(self, run_id: int) -> Run:
        """Advance a run until it has ended, or nothing goes on without a decision, or before a place is reachable again."""
        for _round in range(ROUNDS):
            engine.advance(run_id)
            run = Run.objects.get(pk=run_id)
            going = [StepState.PENDING, StepState.RUNNING, StepState.WAITING, StepState.UNDOING]
            if run.ended_at or not run.steps.filter(state__in=[s.value for s in going]).exists():
                return run
            if self._waits_in_vain(run):
                return run
            if run.state == RunState.STUCK.value and not engine.advance(run_id):
                later = run.steps.filter(not_before__gt=timezone.now()).exists()
                if not later:
                    return run
            self.let_time_pass(run_id)
        raise AssertionError(
            f"run {run_id} never ends: {[(s.name, s.state, s.error) for s in run.steps.all()]}"
        )

    def _waits_in_vain(self, run: Run) -> bool:
        places = {**self.hosts, DIRECTORY_PLACE: self.directory, EDGE_PLACE: self.edge}
        away = {name for name, place in places.items() if place.faults.unreachable}
        due = runs.due_steps(run, list(run.steps.all()))
        return bool(due) and all(step.waits_for in away for step in due)

    def audit(self, slug: str) -> list[audit.Finding]:
        """What there is of the latest platform of that name."""
        return audit.audit_platform(Platform.objects.filter(slug=slug).latest("id"))


def make_world(monkeypatch: pytest.MonkeyPatch, folder: Path) -> World:
    """Wire the fakes in place of the real drivers until the test ends. Hosts have templates of everything, whatever the lab has."""
    site = wiring.site()
    ahead = replace(site, site=replace(site.site, templates_ahead=True))
    monkeypatch.setattr(wiring, "site", lambda: ahead)
    edge = FakeEdge(folder / "edge")
    directory = FakeDirectory(folder / "directory", PEOPLE, wiring.site().directory.base)
    world = World(
        hosts={name: FakeHypervisor(folder / name, name) for name in ("h1", "h2")},
        directory=directory,
        edge=edge,
        gateway=FakeGateway(folder / "gateway"),
        zone=FakeZone(folder / "names", wiring.site().edge.domain),
        authority=FakeCertificateAuthority(),
        prober=FakeProber(edge),
        images=FakeImages(folder / "images"),
        doorman=FakeDoorman(partial(_knows, directory)),
    )
    world.prober.answers = _Answers()
    monkeypatch.setattr(wiring, "hypervisor", lambda name, *rest: world.hosts[name])
    for name in ("directory", "edge", "gateway", "zone", "authority", "prober", "images", "doorman"):
        monkeypatch.setattr(wiring, name, partial(getattr, world, name))
    monkeypatch.setattr(runs, "_send", lambda run_id, after: world.rings.append((run_id, after)))
    monkeypatch.setattr(asking, "_send", world.asked.append)
    monkeypatch.setattr(letters, "_send", world.tasks.append)
    monkeypatch.setattr(guests, "_send", world.tasks.append)
    monkeypatch.setattr(proofs, "_send", world.proofs.append)
    return world


def _knows(directory: FakeDirectory, door: Door, uid: str, password: str) -> bool:
    """What a brick does: whoever is a member of its platform, and binds. Where everybody is root, an owner."""
    slug = max((s for s in directory.slugs() if door.host.startswith(f"{s}-")), key=len, default="")
    if not slug:
        return False
    return uid in directory.insiders(slug, owners=door.user == "root") and directory.opens(uid, password)


class _Answers(dict[str, int]):
    """What a host answers: what a test says, else what its probe expects, once the edge has a route to it."""

    def get(self, host: str, default: int = 0) -> int:  # type: ignore[override]
        if host in self or default == 404:
            return super().get(host, default)
        label = host.partition(".")[0]
        for machine in wiring.catalogue().machines.values():
            if label.endswith(machine.probe.host.removeprefix("{slug}")):
                return next(iter(machine.probe.expect_status), default)
        return default
