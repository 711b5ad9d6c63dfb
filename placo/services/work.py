"""What a step is done with, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from placo import wiring
from placo.domain import places
from placo.domain.lifecycle import RunKind
from placo.domain.places import Fate, Place
from placo.domain.plan import Plan, PlannedMachine
from placo.domain.saga import Verb
from placo.drivers.ports import Directory, DomainSpec, Edge, Hypervisor, MailGateway, Rejected, Zone
from placo.platforms.models import Host, Machine, Run, Step
from placo.services.outage import through_outage

LOST_WITH_HOST, HOST_IS_LOST = "lost with its host", "its host was declared lost"
"""What the engine says of a step that is given up, and of one that is refused."""
NO_GATEWAY = "this site has no mail gateway"


class LeaseLost(Exception):
    """The step is no longer this worker's: nothing more may be done under its claim."""


Guard = Callable[[], None]
"""Asked before every effect; raises LeaseLost."""


@dataclass(frozen=True)
class Done:
    """The effect is there; `message` for the screen."""

    message: str = ""


@dataclass(frozen=True)
class NotYet:
    """Ask again after so many seconds; `message` says what is waited for, `patience` by how much longer than its kind of step usually is."""

    after: float
    message: str
    patience: float = 1


@dataclass(frozen=True)
class GoCold:
    """The machine cannot be resumed from a template: it is booted instead, in the same run. What it had is gone."""

    why: str


@dataclass(frozen=True)
class GivenUp:
    """What was to be taken away, or brought back, is lost with its host: nothing was done, and nothing is left to do."""

    message: str = LOST_WITH_HOST


Answer = Done | NotYet | GoCold | GivenUp


class _Guarded:
    """A driver of which every call first asks whether the step is still this worker's."""

    def __init__(self, driver: object, guard: Guard) -> None:
        self._driver, self._guard = driver, guard

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._driver, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            self._guard()
            return attribute(*arguments, **options)

        return call


@dataclass(frozen=True)
class Work:
    """A step about to be done. The world is reached through it alone, so that no effect goes without the guard.

    `plan` is the one that the step is about: of a change what comes is in the new one, what goes in the old one.
    """

    step: Step
    plan: Plan
    guard: Guard

    @classmethod
    def of(cls, step: Step, verb: Verb, guard: Guard) -> Work:
        """The work of one half of a step."""
        run = step.run
        new = step.verb == Verb.ENSURE.value or verb is Verb.CHANGE
        return cls(step, (run.new_plan if new else None) or run.platform.plan, guard)

    @property
    def host_row(self) -> Host:
        """The host on which the run does its work."""
        return host_of(self.step.run)

    @property
    def repairing(self) -> bool:
        """The run mends a platform, or clears away what was left of one."""
        return self.step.run.kind == RunKind.REPAIR.value

    @property
    def resumed(self) -> bool:
        """The machine comes up from a template in this run. One that is rebuilt always boots."""
        return self.row.way == Machine.WARM and self.step.run.kind != RunKind.REBUILD.value

    @property
    def host(self) -> Hypervisor:
        """Its hypervisor."""
        return cast(Hypervisor, _Guarded(hypervisor_of(self.host_row), self.guard))

    @property
    def directory(self) -> Directory:
        """The site's directory."""
        return cast(Directory, _Guarded(wiring.directory(), self.guard))

    @property
    def edge(self) -> Edge:
        """The reverse proxy in front of all platforms."""
        return cast(Edge, _Guarded(wiring.edge(), self.guard))

    @property
    def gateway(self) -> MailGateway:
        """The mail gateway; Rejected where the site has none."""
        gateway = wiring.gateway()
        if gateway is None:
            raise Rejected(NO_GATEWAY)
        return cast(MailGateway, _Guarded(gateway, self.guard))

    @property
    def zone(self) -> Zone | None:
        """The DNS zone; None where the site has the portal write none."""
        zone = wiring.zone()
        return None if zone is None else cast(Zone, _Guarded(zone, self.guard))

    @property
    def machine(self) -> PlannedMachine:
        """The machine that the step is about."""
        return self.plan.machine(self.step.target)

    @property
    def row(self) -> Machine:
        """The machine's row."""
        return through_outage(self._rows.get)

    @property
    def _rows(self) -> QuerySet[Machine]:
        return Machine.objects.filter(platform=self.step.run.platform_id, name=self.step.target)

    def domain(self, *, seed: bool) -> DomainSpec:
        """The machine as its host shall see it, with its seed disk or without."""
        m = self.machine
        return DomainSpec(
            name=m.domain,
            uuid=m.uuid,
            title=f"{self.plan.slug} {m.name}",
            memory_mib=m.memory_mib,
            vcpus=m.vcpus,
            image=m.image,
            system_volume=m.system_volume,
            data_volume=m.data_volume,
            seed_volume=m.seed_volume if seed else None,
            network=self.plan.network.name,
            mac=m.mac,
            address=m.address,
            platform_uuid=self.plan.uuid,
        )

    def on_lost_host(self, verb: Verb) -> GivenUp | None:
        """What becomes of a step on a lost host instead of its effect; Rejected where it would make something there.

        None where it is done as ever: on a host that is not lost, at another place, and to clear away what was left there of a
        platform that has ended, when the host answers again.
        """
        host = self.host_row
        if not host.lost:
            return None
        fate = places.fate(self.step.action, verb, unwinding=verb.value != self.step.verb)
        if fate is Fate.REFUSED:
            raise Rejected(HOST_IS_LOST)
        clearing = self.repairing and not self.step.run.platform.alive and host.reachable
        return GivenUp() if fate is Fate.GIVEN_UP and not clearing else None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction for what the step writes into the database beside its journal: the step stays this worker's until it is
        committed, for whoever takes it over or turns the run round needs the run's lock first. LeaseLost when it is not any more."""
        with transaction.atomic():
            Run.objects.select_for_update(of=("self",)).get(pk=self.step.run_id)
            self.guard()
            yield

    def tell(self, **values: Any) -> None:
        """Write these columns of the machine's row."""
        with self.writing():
            self._rows.update(**values)

    def note(self, state: str, answer: str = "") -> None:
        """Remember the machine's state for the screens."""
        seen = {"state": state, "answer": answer[:200], "seen_at": timezone.now()}
        through_outage(partial(self.tell, **seen))


def host_of(run: Run) -> Host:
    """The host of a run's platform; for a repair of what was left elsewhere, that host."""
    platform = run.platform
    if run.kind == RunKind.REPAIR.value and run.subject and run.subject != platform.host.name:
        return Host.objects.get(name=run.subject)
    return platform.host


def place_of(step: Step) -> str | None:
    """The name of what a step reaches: a host, directory, edge; None for one that reaches nothing outside of the portal."""
    place = places.place_of(step.action)
    if place is Place.PORTAL:
        return None
    return host_of(step.run).name if place is Place.HOST else place.value


def hypervisor_of(host: Host) -> Hypervisor:
    """The driver of a host."""
    return wiring.hypervisor(host.name, host.uri, host.storage_pool, host.domain_type)
