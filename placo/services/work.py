"""What a step is done with, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone

from placo import wiring
from placo.domain.plan import Plan, PlannedMachine
from placo.drivers.ports import DomainSpec, Hypervisor
from placo.platforms.models import Host, Machine, Step


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


@dataclass(frozen=True)
class Work:
    """A step about to be done."""

    step: Step
    plan: Plan

    @property
    def host_row(self) -> Host:
        """The host of the platform."""
        return self.step.run.platform.host

    @property
    def host(self) -> Hypervisor:
        """The hypervisor of the platform."""
        return hypervisor_of(self.host_row)

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
