"""Reading for a platform's own screens: its picture, its people, what happened to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from placo import wiring
from placo.domain.catalogue import Text
from placo.domain.lifecycle import RunKind, RunState
from placo.domain.plan import PlannedMachine
from placo.platforms.models import AuditEvent, Machine, Membership, Platform, Run, User
from placo.services import access, rebuilds
from placo.services.errors import NotFound
from placo.services.selectors import ACTIVE, Address, addresses_of


@dataclass(frozen=True)
class ServiceBox:
    """A service in the picture. `answering` is None while none of its machines has been heard of."""

    id: str
    title: Text
    summary: Text
    icon: str
    machines: tuple[str, ...]
    addresses: tuple[Address, ...]
    options: tuple[tuple[Text, Any], ...]
    states: tuple[str, ...]


@dataclass(frozen=True)
class MachineBox:
    """A machine in the picture: what was planned, and what is known of it (None before it exists)."""

    planned: PlannedMachine
    title: Text
    row: Machine | None
    software: tuple[Text, ...]
    outdated: bool

    @property
    def state(self) -> str:
        """The last known state."""
        return self.row.state if self.row else "planned"


@dataclass(frozen=True)
class Picture:
    """A platform as services -> machines -> software."""

    platform: Platform
    managed: bool
    services: list[ServiceBox]
    machines: list[MachineBox]
    members: int
    run: Run | None


def picture(*, acting_user: User, slug: str) -> Picture:
    """The platform that somebody may see, whole."""
    platform = access.get_platform(acting_user, slug)
    managed = access.manages(acting_user, platform)
    rows = {machine.name: machine for machine in platform.machines.all()}
    active = platform.runs.filter(state__in=ACTIVE).exclude(kind=RunKind.MEMBER.value).first()
    return Picture(
        platform=platform,
        managed=managed,
        services=_services(platform, rows),
        machines=[_machine(m, rows.get(m.name)) for m in platform.plan.machines],
        members=platform.memberships.filter(wanted=True).count(),
        run=active,
    )


def _services(platform: Platform, rows: dict[str, Machine]) -> list[ServiceBox]:
    plan, catalogue = platform.plan, wiring.catalogue()
    addresses = addresses_of(plan)
    boxes = []
    for name in plan.services:
        service = catalogue.services.get(name)
        used = tuple(dict.fromkeys(e.machine for e in plan.endpoints if e.service == name))
        machines = tuple(m for m in service.machines if m in plan.images) if service else used
        chosen = plan.options.get(name, {})
        boxes.append(
            ServiceBox(
                id=name,
                title=service.title if service else Text(name, name),
                summary=service.summary if service else Text("", ""),
                icon=service.icon if service else "box",
                machines=machines,
                addresses=tuple(a for a in addresses if a.service == name),
                options=tuple((o.title, chosen[o.name]) for o in service.options if o.name in chosen)
                if service
                else (),
                states=tuple(rows[m].state for m in machines if m in rows),
            )
        )
    return boxes


def _machine(planned: PlannedMachine, row: Machine | None) -> MachineBox:
    catalogue = wiring.catalogue()
    known = planned.name in catalogue.machines
    software = tuple(s.title for s in catalogue.software_of(planned.name)) if known else ()
    title = Text(planned.title_en, planned.title_fr)
    return MachineBox(planned, title, row, software, outdated=rebuilds.outdated(planned))


@dataclass(frozen=True)
class MachineView:
    """One machine's own page."""

    platform: Platform
    managed: bool
    box: MachineBox
    services: list[ServiceBox]


def machine_view(*, acting_user: User, slug: str, name: str) -> MachineView:
    """One machine of a platform; NotFound for a name that is not in the plan."""
    whole = picture(acting_user=acting_user, slug=slug)
    for box in whole.machines:
        if box.planned.name == name:
            services = [service for service in whole.services if name in service.machines]
            return MachineView(whole.platform, whole.managed, box, services)
    raise NotFound


@dataclass(frozen=True)
class MemberRow:
    """A member; the run that is stuck on their membership, if one is; the run that the directory keeps waiting, if one is."""

    membership: Membership
    stuck_run: Run | None
    waiting_run: Run | None


def members(*, acting_user: User, slug: str) -> tuple[Platform, list[MemberRow]]:
    """A platform that the user manages, and its people."""
    platform = access.get_managed_platform(acting_user, slug)
    runs = platform.runs.filter(kind=RunKind.MEMBER.value)
    stuck = {run.subject: run for run in runs.filter(state=RunState.STUCK.value)}
    late = Q(steps__failures__gt=0) | Q(steps__waits_for__gt="")
    waiting = {run.subject: run for run in runs.filter(late, state=RunState.RUNNING.value)}
    rows = platform.memberships.all()
    return platform, [MemberRow(row, stuck.get(row.uid), waiting.get(row.uid)) for row in rows]


def runs_of(platform: Platform) -> QuerySet[Run]:
    """What has been done to a platform, latest first."""
    return platform.runs.select_related("started_by", "platform")


def audit_of(platform: Platform) -> QuerySet[AuditEvent]:
    """Who did what to this platform, not to another one of that name. Changes of members are told once, as deeds."""
    rows = AuditEvent.objects.filter(subject=platform.slug, at__gte=platform.created_at).exclude(
        Q(verb="run.member") | Q(verb__startswith="host.")
    )
    successor = Platform.objects.filter(slug=platform.slug, pk__gt=platform.pk).order_by("pk").first()
    return rows.filter(at__lt=successor.created_at) if successor else rows
