"""What each action of a saga does to the world, and how it is undone. One ensure/remove pair an action.

Everything that a step needs is in the frozen plan; a step may be repeated or interrupted at any line.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db.models import Min, Q
from django.utils import timezone

from placo import wiring
from placo.domain.lifecycle import RunKind
from placo.domain.protocols import SMTP
from placo.domain.saga import Verb
from placo.domain.stock import is_stock
from placo.drivers.ports import EdgeRoute, Lease, MachineAccount, MailDomain, NetworkSpec, Power, Rejected
from placo.platforms.models import Machine, Membership, Platform, Step
from placo.services import cloning, names, probing, renewal, seeds
from placo.services.work import Answer, Done, Guard, NotYet, Work

SHUTDOWN_PATIENCE_S = 40
"""How long a guest may take to power off by itself before it is switched off."""
STOCK_PATIENCE = 2
"""A stock image takes twice the time of PLACO's own to boot, and more where much else boots."""
HEALTH_PATIENCE_S, HEALTH_POLL_S = 2.0, 0.05
"""How long one step asks a machine that was resumed, and how often."""


def perform(step: Step, verb: Verb, guard: Guard) -> Answer:
    """Do one half of a step's pair; raises what the drivers raise, and LeaseLost when `guard` does."""
    ensure, remove = ACTIONS[step.action]
    work = Work.of(step, verb, guard)
    return work.on_lost_host(verb) or (remove if verb is Verb.REMOVE else ensure)(work)


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
    """The owners are those whom the platform has now: since the plan was made one may have left or handed it over."""
    plan = work.plan
    rows = work.step.run.platform.memberships.filter(owner=True, wanted=True)
    work.directory.ensure_platform(plan.slug, plan.uuid, rows.values_list("uid", flat=True), plan.addresses())
    return Done()


def _directory_gone(work: Work) -> Answer:
    work.directory.remove_platform(work.plan.slug, work.plan.uuid)
    return Done()


def _image_up(work: Work) -> Answer:
    work.host.ensure_image(wiring.images().files(work.step.target))
    return Done()


def _system_disk_gone(work: Work) -> Answer:
    work.host.remove_volume(work.machine.system_volume)
    return Done()


def _data_volume_gone(work: Work) -> Answer:
    work.host.remove_volume(work.machine.data_volume)
    return Done()


def _account_up(work: Work) -> Answer:
    m = work.machine
    account = MachineAccount(m.name, wiring.machine_secret(m.uuid, seeds.DIRECTORY_PURPOSE))
    work.directory.ensure_machine_account(work.plan.slug, account)
    return Done()


def _account_gone(work: Work) -> Answer:
    work.directory.remove_machine_account(work.plan.slug, work.machine.name)
    return Done()


def _seed_gone(work: Work) -> Answer:
    work.host.remove_volume(work.machine.seed_volume)
    return Done()


def _domain_gone(work: Work) -> Answer:
    work.host.remove_domain(work.machine.uuid)
    work.note("gone")
    return Done()


def _started(work: Work) -> Answer:
    """A machine that has been there before goes on, or boots."""
    work.host.start_domain(work.machine.uuid)
    work.note("starting")
    return Done(work.machine.address)


def _killed(work: Work) -> Answer:
    """What is then removed for good is switched off: nobody waits for it to say farewell."""
    work.host.kill_domain(work.machine.uuid)
    work.note("stopped")
    return Done()


def _shut_down(work: Work) -> Answer:
    """The guest is asked to power off; one that does not is switched off."""
    started, uuid = work.step.started_at, work.machine.uuid
    waited = (timezone.now() - started).total_seconds() if started else 0.0
    power = work.host.power(uuid)
    if power in (Power.RUNNING, Power.PAUSED):
        if waited < SHUTDOWN_PATIENCE_S:
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


def _sized(work: Work) -> Answer:
    """The machine's definition with the memory and processors of the plan; it is off."""
    work.host.ensure_domain(work.domain(seed=False))
    return Done()


def _exchanged(work: Work) -> Answer:
    """The machine's definition with the system disk of the plan; it is off. A new system has to be told who it is."""
    name = work.machine.name
    new = work.machine.system_volume != work.step.run.platform.plan.machine(name).system_volume
    work.host.ensure_domain(work.domain(seed=new))
    return Done()


def _volume_grown(work: Work) -> Answer:
    m = work.machine
    work.host.grow_volume(m.uuid, m.data_volume, m.data_volume_gib)
    return Done()


def _file_system_grown(work: Work) -> Answer:
    if is_stock(work.machine.image):
        return Done()  # the machine does it itself (guest-stock/): nothing in it waits for orders
    if not work.host.grow_file_system(work.machine.uuid):
        return NotYet(2.0, "the machine does not answer")
    return Done()


def _settings_told(work: Work) -> Answer:
    """A machine that runs is told what its platform's plan says now; its software takes it in (`configure`)."""
    m = work.machine
    back = work.plan == work.step.run.platform.plan
    if (why := seeds.untellable(m)) is not None:  # the catalogue is another one since this was approved
        if back and not work.step.journal.filter(event="done").exists():
            return Done()
        raise Rejected(why)
    try:
        taken = work.host.tell_settings(m.uuid, seeds.archive(work.plan, m))
    except Rejected:
        if not back:
            raise
        return Done()  # one that can never take other settings has those that it came with
    return Done() if taken else NotYet(2.0, "the machine does not answer")


def _end_moved(work: Work) -> Answer:
    run = work.step.run
    with work.writing():
        platform = Platform.objects.select_for_update().get(pk=run.platform_id)
        end = run.request.expires_on if run.request else None
        if end is not None and platform.expires_on != end:
            renewal.move_end(platform, end, acting_user=run.started_by, verb="platform.end")
    return Done()


def _suspend(work: Work) -> Answer:
    power = work.host.suspend_domain(work.machine.uuid)
    work.note("suspended" if power is Power.PAUSED else "stopped")
    return Done()


def _edge_up(work: Work) -> Answer:
    plan = work.plan
    routes = {
        (e.host, e.protocol): EdgeRoute(
            e.host,
            plan.machine(e.machine).address,
            e.port,
            plan.machine(e.machine).fqdn,
            e.protocol,
            e.edge_port,
        )
        for e in plan.endpoints
        if e.protocol != SMTP
    }
    pair = wiring.authority().issue(sorted({host for host, _ in routes}))
    work.edge.ensure_site(plan.slug, plan.uuid, routes.values(), pair.certificate, pair.key)
    domains = [
        MailDomain(e.host, plan.machine(e.machine).address, e.port, plan.machine(e.machine).fqdn)
        for e in plan.endpoints
        if e.protocol == SMTP
    ]
    if domains or wiring.gateway():
        work.gateway.ensure_domains(plan.slug, plan.uuid, domains)
    if zone := work.zone:
        names.make_keys(plan)
        zone.ensure_names(plan.slug, plan.uuid, names.names_of(plan))
    return Done()


def _edge_gone(work: Work) -> Answer:
    if zone := work.zone:
        zone.remove_names(work.plan.slug, work.plan.uuid)
    if wiring.gateway():
        work.gateway.remove_domains(work.plan.slug, work.plan.uuid)
    work.edge.remove_site(work.plan.slug, work.plan.uuid)
    return Done()


def _healthy(work: Work) -> Answer:
    """Asked through the edge as a user would. What was resumed answers within a moment: it is not left for that."""
    m = work.machine
    probe = wiring.catalogue().machines[m.name].probe
    end = time.monotonic() + (HEALTH_PATIENCE_S if work.row.way == Machine.WARM else 0)
    while True:
        result = probing.ask(probe, work.plan, 10)
        if result.healthy:
            work.note("answering", result.answer)
            _note_duration(work)
            return Done(result.answer)
        if time.monotonic() > end:
            break
        time.sleep(HEALTH_POLL_S)
    power = work.host.power(m.uuid)
    if power is Power.STOPPED:
        work.host.start_domain(m.uuid)
    work.note("starting", result.answer)
    return NotYet(1.0, result.answer, STOCK_PATIENCE if is_stock(m.image) else 1)


def _note_duration(work: Work) -> None:
    """How long a machine took from its first step to its first answer."""
    steps = work.step.run.steps.filter(target=work.step.target)
    first = steps.aggregate(first=Min("started_at"))["first"]
    if first is not None and steps.filter(action="way").exists():
        took = (timezone.now() - first).total_seconds()
        work.tell(took_s=took)


def _seed_released(work: Work) -> Answer:
    m = work.machine
    if work.resumed and not work.repairing:
        return Done()  # it had none
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
        work.directory.ensure_member(platform.slug, uid, owner=row.owner)
        if not row.owner:
            work.directory.remove_owner(platform.slug, uid)
    else:
        work.directory.remove_member(platform.slug, uid)
        if _may_come_back(work):
            return NotYet(0.5, "another step is at the platform's people")
    with work.writing():
        now = Membership.objects.select_for_update().filter(pk=row.pk).first()
        if now is not None and now.version != row.version:
            return NotYet(0.1, "the wish changed meanwhile")
        if now is not None and not now.wanted:
            now.delete()
        elif now is not None:
            now.settled = True
            now.save(update_fields=["settled"])
    return Done()


def _may_come_back(work: Work) -> bool:
    """Whether a step of another run may let this person in once more: one that began, and read who belongs there, before the wish
    to refuse them was committed. It is asked after the effect, which is then repeated; who begins later knows of the wish."""
    run = work.step.run
    if run.kind != RunKind.MEMBER.value:
        return False
    about = Q(action="directory") | Q(action="member", target=work.step.target)
    others = Step.objects.filter(about, run__platform=run.platform_id, lease_until__gt=timezone.now())
    return others.exclude(run=run).exists()


def _member_refused(work: Work) -> Answer:
    """The undo of both wishes: who was refused, or could not be removed, is not a member afterwards. Who was refused as an
    owner is none, and a new run asks whether they are still a member."""
    platform = work.step.run.platform
    row = Membership.objects.filter(platform=platform, uid=work.step.target, wanted=True, appointed=True)
    if platform.alive and row.exists():
        work.directory.remove_owner(platform.slug, work.step.target)
    elif platform.alive:
        work.directory.remove_member(platform.slug, work.step.target)
    return Done()


Half = Callable[[Work], Answer]
ACTIONS: dict[str, tuple[Half, Half]] = {
    "network": (_network_up, _network_gone),
    "directory": (_directory_up, _directory_gone),
    "image": (_image_up, _nothing),
    "way": (cloning.way_up, _nothing),
    "system-disk": (cloning.system_disk_up, _system_disk_gone),
    "data-volume": (cloning.data_volume_up, _data_volume_gone),
    "account": (_account_up, _account_gone),
    "seed": (cloning.seed_up, _seed_gone),
    "domain": (cloning.domain_up, _domain_gone),
    "memory": (cloning.memory_up, cloning.memory_gone),
    "power": (cloning.power_up, _killed),
    "start": (_started, _shut_down),
    "personalise": (cloning.personalise_up, _nothing),
    "suspend": (_suspend, _started),
    "end": (_end_moved, _nothing),
    "size": (_sized, _nothing),
    "exchange": (_exchanged, _nothing),
    "volume": (_volume_grown, _nothing),
    "file-system": (_file_system_grown, _nothing),
    "settings": (_settings_told, _nothing),
    "edge": (_edge_up, _edge_gone),
    "health": (_healthy, _nothing),
    "seed-release": (_seed_released, _nothing),
    "member": (_member_settled, _member_refused),
}
"""Action -> (ensure, remove). What changes something ensures it as the new plan says, and undone as the old one says."""
