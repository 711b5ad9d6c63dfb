"""What a step is done with, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from django.utils import timezone

from placo import wiring
from placo.domain.lifecycle import RunKind
from placo.domain.plan import Plan, PlannedMachine
from placo.domain.saga import Verb
from placo.drivers.ports import Directory, DomainSpec, Edge, Hypervisor
from placo.platforms.models import Host, Machine, Step


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
    """Ask again after so many seconds; `message` says what is waited for."""

    after: float
    message: str


@dataclass(frozen=True)
class GoCold:
    """The machine cannot be resumed from a template: it is booted instead, in the same run. What it had is gone."""

    why: str


Answer = Done | NotYet | GoCold


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
        return cls(step, run.request.plan if new and run.request else run.platform.plan, guard)

    @property
    def host_row(self) -> Host:
        """The host of the platform; for a repair of what was left elsewhere, that host."""
        run = self.step.run
        if self.repairing and run.subject and run.subject != run.platform.host.name:
            return Host.objects.get(name=run.subject)
        return run.platform.host

    @property
    def repairing(self) -> bool:
        """The run mends a platform, or clears away what was left of one."""
        return self.step.run.kind == RunKind.REPAIR.value

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
    def machine(self) -> PlannedMachine:
        """The machine that the step is about."""
        return self.plan.machine(self.step.target)

    @property
    def row(self) -> Machine:
        """The machine's row."""
        return Machine.objects.get(platform=self.step.run.platform_id, name=self.step.target)

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

    def note(self, state: str, answer: str = "") -> None:
        """Remember the machine's state for the screens."""
        Machine.objects.filter(platform=self.step.run.platform, name=self.step.target).update(
            state=state, answer=answer[:200], seen_at=timezone.now()
        )


def hypervisor_of(host: Host) -> Hypervisor:
    """The driver of a host."""
    return wiring.hypervisor(host.name, host.uri, host.storage_pool, host.domain_type)
