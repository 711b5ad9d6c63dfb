"""Reading for screens: what somebody sees at home, the requests, the catalogue with its costs. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.utils import timezone

from placo import wiring
from placo.domain import protocols
from placo.domain.catalogue import Service, Text
from placo.domain.catalogue_model import value_words
from placo.domain.lifecycle import ACTIVE_RUNS, ENDED, PlatformState, RequestState, RunKind, RunState
from placo.domain.plan import Plan, PlannedEndpoint, cost_of
from placo.domain.quota import Cost
from placo.platforms.models import Host, Platform, Project, Request, Run, User
from placo.services import (
    access,
    clock,
    drift,
    expiry,
    notices,
    quota,
    renewal,
    seeds,
)
from placo.services import hosts as hosts_service
from placo.services import waiting as waiting_service

ACTIVE = [state.value for state in ACTIVE_RUNS]
OVER = [state.value for state in ENDED]
NEWS = timedelta(days=7)
"""For how long a refusal or a failure is shown to the people it concerns."""


# --- the catalogue ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ServiceCard:
    """A service of the catalogue and what it takes from a quota (without the platform itself)."""

    service: Service
    cost: Cost
    comes_with: tuple[Service, ...]


def service_cards() -> list[ServiceCard]:
    """Every service that can be picked."""
    catalogue = wiring.catalogue()
    cards = []
    for name, service in catalogue.services.items():
        comes_with = tuple(s for s in catalogue.services_of([name]) if s.id != name)
        cards.append(ServiceCard(service, cost_of(catalogue, [name]) - Cost(platforms=1), comes_with))
    return cards


def services_named(names: Iterable[str]) -> list[Service]:
    """The services of these ids that the catalogue still has."""
    catalogue = wiring.catalogue()
    return [catalogue.services[name] for name in names if name in catalogue.services]


def option_words(service: str, name: str, value: Any) -> tuple[Text, Text]:
    """An option and its value in words; its name where the catalogue no longer has it."""
    found = wiring.catalogue().services.get(service)
    option = next((o for o in found.options if o.name == name), None) if found else None
    if option is None:
        return Text(name, name), value_words(value)
    return option.title, option.words(value)


@dataclass(frozen=True)
class Choice:
    """An option of a service, as it was chosen, in words."""

    service: Text
    title: Text
    value: Text


def choices_of(plan: Plan) -> tuple[Choice, ...]:
    """The options that were chosen for the services of a plan."""
    return tuple(
        Choice(title_of(service), *option_words(service, name, value))
        for service in plan.services
        for name, value in plan.options.get(service, {}).items()
    )


def title_of(service: str) -> Text:
    """A service's title; its id where the catalogue no longer has it."""
    found = wiring.catalogue().services.get(service)
    return found.title if found else Text(service, service)


@dataclass(frozen=True)
class Address:
    """One endpoint, as a link where a browser can open it; of ssh with the fingerprint by which the server is known."""

    title: Text
    url: str
    service: str
    icon: str
    fingerprint: str = ""

    @property
    def opens(self) -> bool:
        """Whether a browser does something with it."""
        return self.url.startswith("https:")

    def told(self, uid: str) -> str:
        """What somebody copies: the address, or the command that uses it."""
        return protocols.ssh_command(self.url, uid) if self.url.startswith("ssh:") else self.url


@dataclass(frozen=True)
class Outlook:
    """What a choice of services would become: machines (name, title, cost) and addresses."""

    machines: tuple[tuple[str, Text, Cost], ...]
    addresses: tuple[Address, ...]


def outlook(*, services: Iterable[str], options: Mapping[str, Mapping[str, Any]], slug: str) -> Outlook:
    """The last step of a request in data: what will exist if it is approved. Unknown services are left out."""
    catalogue, edge = wiring.catalogue(), wiring.site().edge
    chosen = services_named(services)
    machines = []
    for name in catalogue.machines_of(s.id for s in chosen):
        m = catalogue.sized(name, (s.id for s in chosen), options)
        machines.append(
            (name, m.title, Cost(0, 0, m.vcpus, m.memory_mib, m.system_disk_gib + m.data_volume_gib))
        )
    addresses = []
    for service in chosen:
        values = {**service.defaults(), **options.get(service.id, {})}
        for e in service.endpoints:
            host = f"{e.label(slug)}.{edge.domain}"
            port = None if e.protocol == protocols.SSH else edge.port
            url = protocols.address(e.protocol, host, e.path_for(slug, values), port, e.user)
            addresses.append(Address(e.title, url, service.id, service.icon))
    return Outlook(tuple(machines), tuple(addresses))


# --- home ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Need:
    """Something that waits for the person who looks.

    `kind`: request, stuck, host, returned (a lost one that answers again), drift (how many), template, rejected, failed, expiring, notice.
    """

    kind: str
    item: Any


@dataclass(frozen=True)
class HostNeed:
    """A host that does not answer, and how many runs wait for it."""

    host: Host
    waiting: int


@dataclass(frozen=True)
class Ending:
    """A platform that somebody has to decide about, because its end has come or comes near."""

    platform: Platform
    end: renewal.End


@dataclass(frozen=True)
class PlatformCard:
    """A platform in a list."""

    platform: Platform
    managed: bool
    end: renewal.End | None
    addresses: tuple[Address, ...]
    services: tuple[Text, ...]
    answering: int
    machines: int
    members: int
    run: Run | None
    waits: tuple[waiting_service.Wait, ...] = ()


@dataclass(frozen=True)
class Home:
    """The first page."""

    needs: list[Need] = field(default_factory=list)
    platforms: list[PlatformCard] = field(default_factory=list)
    open_requests: list[Request] = field(default_factory=list)
    projects: list[Project] = field(default_factory=list)


def addresses_of(plan: Plan) -> tuple[Address, ...]:
    """The public addresses of a platform."""
    services = wiring.catalogue().services

    def address(e: PlannedEndpoint) -> Address:
        icon = services[e.service].icon if e.service in services else "box"
        key = seeds.known_by(plan.machine(e.machine)) if e.protocol == protocols.SSH else ""
        return Address(Text(e.title_en, e.title_fr), e.url, e.service, icon, key)

    return tuple(address(e) for e in plan.endpoints)


def home(*, acting_user: User) -> Home:
    """What needs the person, their platforms, their open requests, the projects in which they may ask."""
    submitted = access.visible_requests(acting_user).filter(state=RequestState.SUBMITTED.value)
    shown = submitted.select_related("platform__project", "requester").order_by("id")
    living = access.visible_platforms(acting_user).exclude(state__in=[*OVER, PlatformState.REQUESTED.value])
    return Home(
        needs=_needs(acting_user),
        platforms=platform_cards(living, acting_user=acting_user),
        open_requests=[] if acting_user.is_administrator else list(shown),
        projects=list(access.owned_projects(acting_user)),
    )


def _needs(user: User) -> list[Need]:
    now, needs = timezone.now(), []
    if user.is_administrator:
        waited = waiting_service.counted()
        waiting = Request.objects.filter(state=RequestState.SUBMITTED.value).order_by("id")
        needs += [Need("request", r) for r in waiting.select_related("platform__project", "requester")]
        silent = Host.objects.filter(enabled=True, reachable=False, lost_at=None)
        needs += [Need("host", HostNeed(h, waited[h.name])) for h in silent]
        needs += [Need("returned", h) for h in Host.objects.filter(reachable=True, lost_at__isnull=False)]
        needs += [Need("drift", count)] if (count := drift.waiting()) else []
        needs += [Need("template", view) for view in hosts_service.troubled_templates()]
    managed = access.managed_platforms(user)
    stuck = Q(state=RunState.STUCK.value) | Q(state=RunState.UNWINDING.value, steps__state="failed")
    runs = Run.objects.filter(stuck, platform__in=managed).select_related("platform").distinct()
    needs += [Need("stuck", run) for run in runs]
    if not user.is_administrator:
        mine = access.visible_requests(user).select_related("platform", "decided_by")
        recent = mine.filter(state=RequestState.REJECTED.value, decided_at__gte=now - NEWS)
        needs += [Need("rejected", request) for request in recent]
        failed = Run.objects.filter(
            platform__in=managed,
            kind__in=[RunKind.CREATE.value, RunKind.CHANGE.value],
            state=RunState.UNDONE.value,
            ended_at__gte=now - NEWS,
        )
        needs += [Need("failed", run) for run in failed.select_related("platform")]
    ending = _ending(user, managed)
    needs += [Need("expiring", item) for item in ending]
    told = notices.unread(user).exclude(platform__in=[item.platform.pk for item in ending])
    return needs + [Need("notice", notice) for notice in told]


def _ending(user: User, managed: QuerySet[Platform]) -> list[Ending]:
    """Platforms that end soon or are over, the most urgent first; for administrators, where it is they who renew."""
    if user.is_administrator and renewal.by_oneself(None):
        return []
    until = clock.today() + timedelta(days=expiry.rules().renewal)
    rows = managed.exclude(state__in=OVER).filter(expires_on__lte=until).select_related("project")
    ends = [(row, renewal.end_of(row, user, managed=True)) for row in rows.order_by("expires_on", "slug")]
    return [Ending(row, end) for row, end in ends if end is not None]


def platform_cards(platforms: QuerySet[Platform], *, acting_user: User) -> list[PlatformCard]:
    """Cards in a fixed number of queries, whatever the number of platforms."""
    managed = set(access.managed_platforms(acting_user).values_list("pk", flat=True))
    wanted = Count("memberships", filter=Q(memberships__wanted=True), distinct=True)
    members = dict(
        platforms.order_by().values_list("pk").annotate(members=wanted).values_list("pk", "members")
    )
    rows = list(platforms.select_related("project", "host").prefetch_related("machines").order_by("slug"))
    active = Run.objects.filter(platform__in=rows, state__in=ACTIVE).exclude(kind=RunKind.MEMBER.value)
    runs = {run.platform_id: run for run in active}
    waits = waiting_service.waits_of_runs(run.pk for run in runs.values()) if runs else {}
    cards = []
    for platform in rows:
        plan, machines = platform.plan, list(platform.machines.all())
        cards.append(
            PlatformCard(
                platform=platform,
                managed=platform.pk in managed,
                end=renewal.end_of(platform, acting_user, managed=platform.pk in managed),
                addresses=addresses_of(plan),
                services=tuple(title_of(s) for s in plan.services),
                answering=sum(machine.state == "answering" for machine in machines),
                machines=len(plan.machines),
                members=members.get(platform.pk, 0),
                run=runs.get(platform.pk),
                waits=waits.get(runs[platform.pk].pk, ()) if platform.pk in runs else (),
            )
        )
    return cards


# --- requests --------------------------------------------------------------------------------------------------------


def waiting_requests() -> int:
    """How many requests wait for a decision."""
    return Request.objects.filter(state=RequestState.SUBMITTED.value).count()


# --- operations ------------------------------------------------------------------------------------------------------


def hosts() -> QuerySet[Host]:
    """Hosts with what they promised: annotated with `promised_mib` and `living` platforms."""
    alive = ~Q(platforms__state__in=OVER)
    return Host.objects.annotate(
        promised_mib=Sum("platforms__ledger__memory_mib"),
        living=Count("platforms", filter=alive, distinct=True),
    )


@dataclass(frozen=True)
class ProjectQuota:
    """A project and its quota."""

    project: Project
    owners: list[str]
    view: quota.QuotaView


def project_quotas(projects: Iterable[Project]) -> list[ProjectQuota]:
    """What each project uses of its quota."""
    return [
        ProjectQuota(p, sorted(p.owners.values_list("uid", flat=True)), quota.view(p, Cost()))
        for p in projects
    ]
