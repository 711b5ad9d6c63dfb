"""Templates of the hosts: which there are, making those that are missing, and choosing one for a machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from placo import logs, wiring
from placo.domain.catalogue import Machine as Kind
from placo.domain.lifecycle import ACTIVE_RUNS, ENDED, PlatformState, RequestState
from placo.domain.plan import PlannedMachine
from placo.domain.stock import is_stock
from placo.drivers.ports import DriverError, Hypervisor, Rejected, TemplateBroken, TemplateSpec, Unavailable
from placo.platforms.models import Host, Machine, Platform, Request, Run, Template
from placo.services import auditlog
from placo.services.work import hypervisor_of

log = logs.get_logger("placo.templates")

MEMORY_RESERVE_MIB = 256
"""What a host keeps free beside the memory of a machine that is resumed."""
_MAKERS = 0x706C7465  # "plte": the advisory lock of a host's maker of templates
STOCK_BOOTS = "machines of a stock image boot: such an image does not wait in a template to be somebody"
RETRY = timedelta(minutes=10)
"""How long after a failure a template is tried again."""


@dataclass(frozen=True)
class Choice:
    """A template's name, or none and why: a code of `Template.REASONS` and details for an administrator."""

    template: str = ""
    reason: str = ""
    detail: str = ""


def spec_of(machine: PlannedMachine) -> TemplateSpec:
    """The template that a planned machine is a clone of."""
    return TemplateSpec(
        image=machine.image,
        memory_mib=machine.memory_mib,
        vcpus=machine.vcpus,
        system_disk_gib=machine.system_disk_gib,
        data_volume_gib=machine.data_volume_gib,
    )


def _spec_of_kind(kind: Kind) -> TemplateSpec:
    return TemplateSpec(
        image=wiring.images().name_for(kind.name),
        memory_mib=kind.memory_mib,
        vcpus=kind.vcpus,
        system_disk_gib=kind.system_disk_gib,
        data_volume_gib=kind.data_volume_gib,
    )


def choose(host: Host, hypervisor: Hypervisor, machine: PlannedMachine) -> Choice:
    """The template to resume a machine from, or why it has to boot."""
    if not host.warm:
        return Choice(reason=Template.OFF)
    spec = spec_of(machine)
    try:
        key = _key(hypervisor, spec)
    except Rejected as error:
        return Choice(reason=Template.IMPOSSIBLE, detail=str(error))
    row = Template.objects.filter(host=host, image=spec.image, key=key).first()
    if row is None:
        return _not_there(machine, spec)
    if row.state == Template.READY:
        _there(host, hypervisor, row)
    if row.state != Template.READY:
        return Choice(reason=row.state, detail=row.reason[:300])
    free = hypervisor.status().memory_free_mib - _promised_mib(host)
    if free < machine.memory_mib + MEMORY_RESERVE_MIB:
        return Choice(reason=Template.MEMORY, detail=f"{free} MiB free")
    return Choice(template=row.name)


def _key(hypervisor: Hypervisor, spec: TemplateSpec) -> str:
    """`Hypervisor.template_key`; Rejected for a stock image as well."""
    if is_stock(spec.image):
        raise Rejected(STOCK_BOOTS)
    return hypervisor.template_key(spec)


def _not_there(machine: PlannedMachine, spec: TemplateSpec) -> Choice:
    """Why there is no template: it is being made, or never will be, as the machine has another size than its kind."""
    kind = wiring.catalogue().machines.get(machine.name)
    if kind is None or replace(_spec_of_kind(kind), image=spec.image) != spec:
        return Choice(reason=Template.IMPOSSIBLE, detail="templates are made of the usual size alone")
    return Choice(reason=Template.MAKING)


def _promised_mib(host: Host) -> int:
    """Memory of machines that are being resumed on a host and may not have taken theirs yet."""
    coming = Machine.objects.filter(
        platform__host=host, platform__state=PlatformState.CREATING.value, way=Machine.WARM, took_s=None
    ).select_related("platform")
    return sum(row.platform.plan.machine(row.name).memory_mib for row in coming)


@transaction.atomic
def report_broken(host: Host, name: str, why: str, run: Run | None = None) -> None:
    """A template cannot be used: it is not taken again, made anew, and administrators see why."""
    row = Template.objects.select_for_update().filter(host=host, name=name, state=Template.READY).first()
    if row is None:
        return
    row.state, row.reason, row.checked_at = Template.BROKEN, why[:500], None
    row.save(update_fields=["state", "reason", "checked_at"])
    log.error("template cannot be used", host=host.name, template=name, why=why)
    auditlog.record(None, "template.broken", name, host=host.name, reason=why[:300], run=run and run.pk)


def hosts_with_templates() -> list[int]:
    """Hosts whose templates are to be kept."""
    return list(Host.objects.filter(enabled=True, warm=True, lost_at=None).values_list("pk", flat=True))


def kinds_of(host: Host) -> list[Kind]:
    """The kinds of machine that a host is to have templates of."""
    kinds = list(wiring.catalogue().machines.values())
    if wiring.site().site.templates_ahead:
        return kinds
    there = Platform.objects.filter(host=host).exclude(state__in=[state.value for state in ENDED])
    asked = Request.objects.filter(state=RequestState.SUBMITTED.value, platform__in=there)
    used = {machine.name for request in asked for machine in request.plan.machines}
    used |= set(Machine.objects.filter(platform__in=there).values_list("name", flat=True))
    return [kind for kind in kinds if kind.name in used]


def keep_templates(host_id: int) -> None:
    """Make what a host's templates lack, one after the other, and remove what nobody will use again.

    Called now and then for each host; returns at once while another worker is at it, or when templates are turned off.
    """
    host = Host.objects.get(pk=host_id)
    if not host.warm or not host.enabled or host.lost:
        return
    with _only_maker(host) as alone:
        if not alone:
            return
        hypervisor = hypervisor_of(host)
        try:
            left = {kind.name: kind for kind in kinds_of(host)}
            while left:
                if _busy(host):
                    return  # people wait for that; templates can wait
                _keep(host, hypervisor, _spec_of_kind(left.pop(_most_wanted(left))))
            _collect(host, hypervisor)
        except Unavailable as error:
            log.warning("templates cannot be kept", host=host.name, why=str(error))


def _most_wanted(names: Iterable[str]) -> str:
    """The kind of machine that most open requests are about, then that of which there are most; the first among equals."""
    open_requests = Request.objects.filter(state=RequestState.SUBMITTED.value).select_related("platform")
    asked = Counter(machine.name for request in open_requests for machine in request.plan.machines)
    ended = [state.value for state in ENDED]
    there = Counter(Machine.objects.exclude(platform__state__in=ended).values_list("name", flat=True))
    return max(names, key=lambda name: (asked[name], there[name]))


def _busy(host: Host) -> bool:
    return Run.objects.filter(
        platform__host=host, request__isnull=False, state__in=[s.value for s in ACTIVE_RUNS]
    ).exists()


def _keep(host: Host, hypervisor: Hypervisor, spec: TemplateSpec) -> None:
    """Make one template if it is not there."""
    try:
        key = _key(hypervisor, spec)
    except Rejected as error:
        Template.objects.update_or_create(
            host=host,
            image=spec.image,
            key="",
            defaults={"state": Template.IMPOSSIBLE, "reason": str(error)[:500], "name": ""},
        )
        return
    Template.objects.filter(host=host, image=spec.image, key="").delete()  # what was not possible is now
    row, _new = Template.objects.get_or_create(
        host=host, image=spec.image, key=key, defaults={"name": f"{spec.image}--{key}"}
    )
    if row.state == Template.READY and _there(host, hypervisor, row):
        return
    if row.state == Template.FAILED and row.checked_at and row.checked_at > timezone.now() - RETRY:
        return
    if row.state == Template.BROKEN:
        # Clones may lie over the broken one's disk, which stays for them: the new one has a name of its own.
        row.generation += 1
        row.name = f"{spec.image}--{key}-{row.generation}"
    _make(host, hypervisor, spec, row)


def _there(host: Host, hypervisor: Hypervisor, row: Template) -> bool:
    """Whether a template that was made is there and whole; `row` says what is wrong with it if not."""
    try:
        found = hypervisor.template(row.name)
        why = f"{host.name}: template {row.name} is gone"
    except TemplateBroken as error:
        found, why = None, str(error)
    if found is None:
        report_broken(host, row.name, why)
        row.refresh_from_db()
    return found is not None


def _make(host: Host, hypervisor: Hypervisor, spec: TemplateSpec, row: Template) -> None:
    started = timezone.now()
    row.state, row.reason, row.checked_at = Template.MAKING, "", started
    row.save()
    try:
        hypervisor.ensure_image(wiring.images().files(spec.image))
        hypervisor.ensure_template(row.name, spec)
        found = hypervisor.template(row.name)
    except DriverError as error:
        say = log.warning if isinstance(error, Unavailable) else log.error
        say("template could not be made", host=host.name, template=row.name, why=str(error))
        row.state, row.reason = Template.FAILED, str(error)[:500]
        # An outage says nothing about the template: tried again as soon as the host is back.
        row.checked_at = None if isinstance(error, Unavailable) else timezone.now()
        row.save()
        return
    row.state, row.checked_at = Template.READY, timezone.now()
    row.made_at, row.seconds = timezone.now(), (timezone.now() - started).total_seconds()
    if found is not None:
        row.memory_bytes, row.disk_bytes = found.memory_bytes, found.disk_bytes
    row.save()
    log.info("template made", host=host.name, template=row.name, seconds=round(row.seconds, 1))


def _collect(host: Host, hypervisor: Hypervisor) -> None:
    """Remove templates of images that are no longer built, or of versions that the host no longer runs."""
    specs = [_spec_of_kind(kind) for kind in wiring.catalogue().machines.values()]
    try:
        current = {(spec.image, hypervisor.template_key(spec)) for spec in specs}
    except Rejected:
        current = set()
    rows = list(Template.objects.filter(host=host).exclude(key=""))
    stale = [row for row in rows if (row.image, row.key) not in current]
    keep = {row.name for row in rows if row not in stale}
    # One that would be made today and is there already is taken over when it is asked for.
    keep |= {f"{image}--{key}" for image, key in current - {(row.image, row.key) for row in rows}}
    for volume in hypervisor.remove_templates("placo-", keep):
        log.info("volume of an unused template removed", host=host.name, volume=volume)
    Template.objects.filter(pk__in=[row.pk for row in stale]).delete()


@contextmanager
def _only_maker(host: Host) -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_MAKERS, host.pk])
        alone = cursor.fetchone() == (True,)
        try:
            yield alone
        finally:
            if alone:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_MAKERS, host.pk])
