"""Hosts: keeping what the portal knows of them fresh, their templates as people see them, and turning those on and off."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from placo import logs, wiring
from placo.domain.catalogue import Text
from placo.drivers.ports import DriverError
from placo.platforms.models import AuditEvent, Host, Template, User
from placo.services import access, auditlog, templates
from placo.services.errors import NotFound
from placo.services.work import hypervisor_of

log = logs.get_logger("placo.hosts")

PLANNED = "planned"
"""The state of a template that has a place but is not there yet, not even begun."""


def known() -> list[int]:
    """All hosts."""
    return list(Host.objects.values_list("pk", flat=True))


def refresh_hosts() -> None:
    """Ask every host for its size and free space; one that does not answer is marked unreachable."""
    for host in Host.objects.all():
        refresh(host)


def refresh(host: Host) -> DriverError | None:
    """Ask one host; what it said instead of answering, if it did not."""
    host.checked_at = timezone.now()
    try:
        status = hypervisor_of(host).status()
    except DriverError as error:
        log.warning("host unreachable", host=host.name, why=str(error))
        mark_unreachable(host)
        return error
    host.reachable, host.silent_since, host.version = True, None, status.version
    host.memory_mib, host.disk_free_gib = status.memory_mib, status.disk_free_gib
    host.save(
        update_fields=["checked_at", "reachable", "silent_since", "version", "memory_mib", "disk_free_gib"]
    )
    return None


def mark_unreachable(host: Host) -> None:
    """It did not answer: what is known of its platforms is how they were."""
    host.checked_at, host.reachable = timezone.now(), False
    host.silent_since = host.silent_since or host.checked_at
    host.save(update_fields=["checked_at", "reachable", "silent_since"])


def locked(acting_user: User, host_name: str) -> Host:
    """A host's row for an administrator who changes it, locked against others who do. The caller is in a transaction.

    Not against those who only refer to it: a run that ends may do so while its lock is waited for.
    """
    access.require_administrator(acting_user)
    named = Host.objects.none() if "\x00" in host_name else Host.objects.filter(name=host_name)
    host = named.select_for_update(no_key=True).first()
    if host is None:
        raise NotFound
    return host


@transaction.atomic
def set_warm(*, acting_user: User, host_name: str, warm: bool) -> Host:
    """Have a host's machines resumed from templates, or all of them booted. What was made stays for the day it is wanted."""
    host = locked(acting_user, host_name)
    if host.warm != warm:
        host.warm = warm
        host.save(update_fields=["warm"])
        auditlog.record(acting_user, "host.warm-on" if warm else "host.warm-off", host.name)
    return host


# --- templates, as people see them ---


@dataclass(frozen=True)
class TemplateView:
    """The template of one kind of machine on a host; `row` is None before anybody began to make it.

    `broken_at`, `broken_why`: when and why the one before it was found unusable, while this one is not ready.
    """

    host: Host
    image: str
    machine: str
    title: Text
    row: Template | None
    broken_at: datetime | None = None
    broken_why: str = ""

    @property
    def state(self) -> str:
        """A state of `Template`, or PLANNED."""
        return self.row.state if self.row else PLANNED

    @property
    def trouble(self) -> str:
        """`broken` or `failed` when an administrator should know, else nothing."""
        if self.state in (Template.BROKEN, Template.FAILED):
            return self.state
        return Template.BROKEN if self.broken_at and self.state != Template.READY else ""

    @property
    def reason(self) -> str:
        """What is wrong, as the driver said it."""
        return (self.row.reason if self.row else "") or self.broken_why

    @property
    def disk_taken(self) -> int:
        """Bytes of the host's disk."""
        return self.row.memory_bytes + self.row.disk_bytes if self.row else 0

    @property
    def since(self) -> datetime | None:
        """Since when it is in trouble; for how long it is ready, being made or not possible."""
        if self.trouble and self.broken_at:
            return self.broken_at
        if self.row is None:
            return None
        return self.row.made_at if self.state == Template.READY else self.row.checked_at


def templates_of(hosts: Iterable[Host]) -> dict[int, list[TemplateView]]:
    """For each host the templates that it is to have, of the catalogue's present images and in its order; and what else it has of these."""
    images = {kind.name: wiring.images().name_for(kind.name) for kind in wiring.catalogue().machines.values()}
    listed = list(hosts)
    rows = Template.objects.filter(host__in=listed, image__in=images.values())
    latest: dict[tuple[int, str], Template] = {}
    # A row without a key says that its host cannot have this template; any other is more to the point.
    for row in sorted(rows, key=lambda row: (row.key != "", row.pk)):
        latest[row.host_id, row.image] = row
    broken = _broken(listed, latest.values())
    found: dict[int, list[TemplateView]] = {}
    for host in listed:
        views = found.setdefault(host.pk, [])
        wanted = {kind.name for kind in templates.kinds_of(host)}
        for kind in wiring.catalogue().machines.values():
            image = images[kind.name]
            made = latest.get((host.pk, image))
            if made is None and kind.name not in wanted:
                continue
            at, why = broken.get((host.pk, image), (None, ""))
            views.append(TemplateView(host, image, kind.name, kind.title, made, at, why))
    return found


def _broken(hosts: Iterable[Host], rows: Iterable[Template]) -> dict[tuple[int, str], tuple[datetime, str]]:
    """When and why the predecessors of templates that are not ready were found broken, as the audit trail has it."""
    numbers = {host.name: host.pk for host in hosts}
    wanted: dict[tuple[int, str], Template] = {}
    for row in rows:
        if row.state == Template.BROKEN:
            wanted[row.host_id, row.name] = row
        elif row.state != Template.READY and row.generation:
            before = f"-{row.generation - 1}" if row.generation > 1 else ""
            wanted[row.host_id, f"{row.image}--{row.key}{before}"] = row
    if not wanted:
        return {}
    events = AuditEvent.objects.filter(verb="template.broken", subject__in=[name for _host, name in wanted])
    found = {}
    for event in events.order_by("id"):
        now = wanted.get((numbers.get(str(event.detail.get("host")), 0), event.subject))
        if now is not None:
            found[now.host_id, now.image] = (event.at, str(event.detail.get("reason", "")))
    return found


def troubled_templates() -> list[TemplateView]:
    """Templates in trouble on hosts that answer and are to have them: their machines boot meanwhile."""
    used = {"host__enabled": True, "host__warm": True, "host__reachable": True, "host__lost_at": None}
    rows = Template.objects.filter(**used)
    suspects = rows.filter(
        Q(state__in=(Template.BROKEN, Template.FAILED)) | Q(state=Template.MAKING, generation__gt=0)
    )
    if not suspects.exists():
        return []
    hosts = Host.objects.filter(pk__in=suspects.values("host"))
    return [view for views in templates_of(hosts).values() for view in views if view.trouble]
