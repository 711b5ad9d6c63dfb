"""What each action of a saga does to the world, and how it is undone. One ensure/remove pair an action.

Everything that a step needs is in the frozen plan; a step may be repeated or interrupted at any line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from placo import wiring
from placo.domain.lifecycle import RunKind
from placo.domain.plan import Plan, PlannedMachine
from placo.domain.saga import Verb
from placo.drivers.ports import (
    DomainSpec,
    EdgeRoute,
    Hypervisor,
    Lease,
    MachineAccount,
    NetworkSpec,
    Power,
)
from placo.platforms.models import Host, Machine, Membership, Step
from placo.services import seeds

SHUTDOWN_PATIENCE_S = 40
"""How long a guest may take to power off by itself before it is switched off."""
GENTLE = (RunKind.STOP.value, RunKind.RESTART.value)
"""Kinds of run after which the machine's disks are still wanted."""


@dataclass(frozen=True)
class Done:
    """The effect is there; `message` for the screen."""

    message: str = ""


@dataclass(frozen=True)
class NotYet:
    """Ask again after so many seconds; `message` says what is waited for."""

    after: float
    message: str


Answer = Done | NotYet


@dataclass(frozen=True)
class Work:
    """A step about to be done."""

    step: Step
    plan: Plan

    @property
    def host(self) -> Hypervisor:
        """The hypervisor of the platform."""
        return hypervisor_of(self.step.run.platform.host)

    @property
    def machine(self) -> PlannedMachine:
        """The machine that the step is about."""
        return self.plan.machine(self.step.target)

    def note(self, state: str, answer: str = "") -> None:
        """Remember the machine's state for the screens."""
        Machine.objects.filter(platform=self.step.run.platform, name=self.step.target).update(
            state=state, answer=answer[:200], seen_at=timezone.now()
        )


def hypervisor_of(host: Host) -> Hypervisor:
    """The driver of a host."""
    return wiring.hypervisor(host.name, host.uri, host.storage_pool, host.domain_type)


def perform(step: Step, verb: Verb) -> Answer:
    """Do one half of a step's pair; raises what the drivers raise."""
    ensure, remove = ACTIONS[step.action]
    return (ensure if verb is Verb.ENSURE else remove)(Work(step, step.run.platform.plan))


def _nothing(_work: Work) -> Answer:
    return Done()


def _network_up(work: Work) -> Answer:
    plan, network = work.plan, work.plan.network
    directory = wiring.site().directory
    work.host.ensure_network(
        NetworkSpec(
            name=network.name,
            uuid=network.uuid,
            bridge=network.bridge,
            mac=network.mac,
            gateway=network.gateway,
            prefix=int(network.subnet.split("/")[1]),
            dns_domain=network.dns_domain,
            leases=tuple(Lease(m.mac, m.address, m.hostname) for m in plan.machines),
            dns_hosts=((directory.guest_address, directory.guest_host),),
        )
    )
    return Done(network.subnet)


def _network_gone(work: Work) -> Answer:
    work.host.remove_network(work.plan.network.name)
    return Done()


def _directory_up(work: Work) -> Answer:
    plan = work.plan
    wiring.directory().ensure_platform(plan.slug, plan.uuid, plan.owners)
    return Done()


def _directory_gone(work: Work) -> Answer:
    wiring.directory().remove_platform(work.plan.slug, work.plan.uuid)
    return Done()


def _image_up(work: Work) -> Answer:
    work.host.ensure_image(wiring.images().files(work.step.target))
    return Done()


def _system_disk_up(work: Work) -> Answer:
    m = work.machine
    work.host.ensure_overlay(m.system_volume, m.image, m.system_disk_gib)
    return Done()


def _system_disk_gone(work: Work) -> Answer:
    work.host.remove_volume(work.machine.system_volume)
    return Done()


def _data_volume_up(work: Work) -> Answer:
    work.host.ensure_volume(work.machine.data_volume, work.machine.data_volume_gib)
    return Done()


def _data_volume_gone(work: Work) -> Answer:
    work.host.remove_volume(work.machine.data_volume)
    return Done()


def _account_up(work: Work) -> Answer:
    m = work.machine
    account = MachineAccount(m.name, wiring.machine_secret(m.uuid, seeds.DIRECTORY_PURPOSE))
    wiring.directory().ensure_machine_account(work.plan.slug, account)
    return Done()


def _account_gone(work: Work) -> Answer:
    wiring.directory().remove_machine_account(work.plan.slug, work.machine.name)
    return Done()


def _seed_up(work: Work) -> Answer:
    m = work.machine
    if work.host.power(m.uuid) is Power.MISSING:
        work.host.ensure_content(m.seed_volume, seeds.seed(work.plan, m))
    return Done()


def _seed_gone(work: Work) -> Answer:
    work.host.remove_volume(work.machine.seed_volume)
    return Done()


def _domain_up(work: Work) -> Answer:
    m = work.machine
    if work.host.power(m.uuid) is not Power.MISSING:
        return Done()
    work.host.ensure_domain(
        DomainSpec(
            name=m.domain,
            uuid=m.uuid,
            title=f"{work.plan.slug} {m.name}",
            memory_mib=m.memory_mib,
            vcpus=m.vcpus,
            image=m.image,
            system_volume=m.system_volume,
            data_volume=m.data_volume,
            seed_volume=m.seed_volume,
            network=work.plan.network.name,
            mac=m.mac,
            address=m.address,
            platform_uuid=work.plan.uuid,
        )
    )
    return Done()


def _domain_gone(work: Work) -> Answer:
    work.host.remove_domain(work.machine.uuid)
    work.note("gone")
    return Done()


def _power_on(work: Work) -> Answer:
    work.host.start_domain(work.machine.uuid)
    work.note("starting")
    return Done(work.machine.address)


def _power_off(work: Work) -> Answer:
    """Stopping is gentle; what is removed for good is switched off."""
    patience = SHUTDOWN_PATIENCE_S if work.step.run.kind in GENTLE else 0
    started, uuid = work.step.started_at, work.machine.uuid
    waited = (timezone.now() - started).total_seconds() if started else 0.0
    power = work.host.power(uuid)
    if power in (Power.RUNNING, Power.PAUSED):
        if waited < patience:
            power = work.host.shutdown_domain(uuid)
        else:
            work.host.kill_domain(uuid)
            power = Power.STOPPED
    elif power is Power.STOPPED:
        work.host.kill_domain(uuid)  # also clears the autostart flag of a machine that went off by itself
    if power in (Power.RUNNING, Power.PAUSED):
        work.note("stopping")
        return NotYet(1.5, "the machine is shutting down")
    work.note("stopped")
    return Done()


def _suspend(work: Work) -> Answer:
    power = work.host.suspend_domain(work.machine.uuid)
    work.note("suspended" if power is Power.PAUSED else "stopped")
    return Done()


def _edge_up(work: Work) -> Answer:
    plan = work.plan
    routes = {
        e.host: EdgeRoute(e.host, plan.machine(e.machine).address, e.port, plan.machine(e.machine).fqdn)
        for e in plan.endpoints
    }
    pair = wiring.authority().issue(sorted(routes))
    wiring.edge().ensure_site(plan.slug, plan.uuid, routes.values(), pair.certificate, pair.key)
    return Done()


def _edge_gone(work: Work) -> Answer:
    wiring.edge().remove_site(work.plan.slug, work.plan.uuid)
    return Done()


def _healthy(work: Work) -> Answer:
    plan, m = work.plan, work.machine
    probe = wiring.catalogue().machines[m.name].probe
    host = f"{probe.label(plan.slug)}.{wiring.site().edge.domain}"
    result = wiring.prober().https(host, probe.path, probe.expect_status, 10)
    if result.healthy:
        work.note("answering", result.answer)
        return Done(result.answer)
    power = work.host.power(m.uuid)
    if power is Power.STOPPED:
        work.host.start_domain(m.uuid)
    work.note("starting", result.answer)
    return NotYet(1.0, result.answer)


def _seed_released(work: Work) -> Answer:
    m = work.machine
    if not work.host.detach_seed(m.uuid, m.seed_volume):
        return NotYet(1.0, "the machine still holds its seed disk")
    work.host.remove_volume(m.seed_volume)
    return Done()


def _member_settled(work: Work) -> Answer:
    platform, uid = work.step.run.platform, work.step.target
    row = Membership.objects.filter(platform=platform, uid=uid).first()
    if row is None or not platform.alive:  # its subtree is gone, and the slug may be another platform's
        return Done()
    if row.wanted:
        wiring.directory().ensure_member(platform.slug, uid, owner=row.owner)
    else:
        wiring.directory().remove_member(platform.slug, uid)
    with transaction.atomic():
        now = Membership.objects.select_for_update().filter(pk=row.pk).first()
        if now is not None and now.version != row.version:
            return NotYet(0.1, "the wish changed meanwhile")
        if now is not None and not now.wanted:
            now.delete()
        elif now is not None:
            now.settled = True
            now.save(update_fields=["settled"])
    return Done()


def _member_refused(work: Work) -> Answer:
    """The undo of both wishes: who was refused, or could not be removed, is not a member afterwards."""
    platform = work.step.run.platform
    if platform.alive:
        wiring.directory().remove_member(platform.slug, work.step.target)
    return Done()


Half = Callable[[Work], Answer]
ACTIONS: dict[str, tuple[Half, Half]] = {
    "network": (_network_up, _network_gone),
    "directory": (_directory_up, _directory_gone),
    "image": (_image_up, _nothing),
    "system-disk": (_system_disk_up, _system_disk_gone),
    "data-volume": (_data_volume_up, _data_volume_gone),
    "account": (_account_up, _account_gone),
    "seed": (_seed_up, _seed_gone),
    "domain": (_domain_up, _domain_gone),
    "power": (_power_on, _power_off),
    "suspend": (_suspend, _power_on),
    "edge": (_edge_up, _edge_gone),
    "health": (_healthy, _nothing),
    "seed-release": (_seed_released, _nothing),
    "member": (_member_settled, _member_refused),
}
"""Action -> (ensure, remove)."""
