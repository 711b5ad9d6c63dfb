"""What goes in and out of the API about catalogue, projects, hosts and tokens; what all shapes have in common."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.utils.translation import get_language
from ninja import Schema
from pydantic import ConfigDict, Field

from placo.domain.catalogue import Text
from placo.domain.quota import Cost
from placo.platforms.models import Host, Project
from placo.services import quota
from placo.services.host_views import Reservation
from placo.services.hosts import TemplateView
from placo.services.selectors import ServiceCard


def say(text: Text) -> str:
    """A text of the catalogue in the caller's language."""
    return text.get(get_language() or "en")


class Out(Schema):
    """Something the API answers."""


class In(Schema):
    """Something the API is told: what it does not know is an error, not ignored."""

    model_config = ConfigDict(extra="forbid")


class ProblemField(Out):
    field: str
    message: str


class DifferenceOut(Out):
    """Where two plans disagree; null where a plan has no such thing."""

    item: str = Field(examples=["machines.www.image"])
    old: Any = Field(examples=["placo-www-3f2a"])
    new: Any = Field(examples=["placo-www-9c41"])


class Problem(Out):
    """RFC 9457, served as application/problem+json."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "/problems/InvalidInput",
                "title": "Please check what you entered",
                "status": 422,
                "detail": "slug: This name is taken. Choose another one.",
                "errors": [{"field": "slug", "message": "This name is taken. Choose another one."}],
            }
        }
    )
    type: str
    title: str
    status: int
    detail: str
    remedy: str | None = None
    errors: list[ProblemField] = []
    reference: str | None = None
    differences: list[DifferenceOut] = Field(
        [], description="Where the plan that would be approved now differs (only /problems/PlanOutdated)."
    )
    plan_hash: str | None = Field(None, description="Of that plan: what to approve instead.")


class RunStarted(Out):
    """Where to follow what has begun: GET /runs/{run_id}."""

    run_id: int = Field(examples=[42])


class Amounts(Out):
    """The five resources of a quota."""

    platforms: int
    machines: int
    vcpus: int
    memory_mib: int
    disk_gib: int


def amounts(cost: Cost) -> Amounts:
    return Amounts(**vars(cost))


# --- catalogue -------------------------------------------------------------------------------------------------------


class OptionOut(Out):
    name: str
    title: str
    type: str = Field(
        description="boolean, choice, integer, text, or size: a choice by which a machine gets its size"
    )
    default: bool | int | str
    choices: list[str]
    titles: dict[str, str] = Field(description="What the choices are called, where they have titles.")
    minimum: int | None
    maximum: int | None
    required: bool
    changeable: bool = Field(description="It can be chosen anew when the service is there.")


class ServiceEndpoint(Out):
    name: str
    title: str
    protocol: str
    machine: str


class ServiceOut(Out):
    """A service of the catalogue; `cost` is what it takes, with all that it needs, when it is alone on a platform."""

    id: str = Field(examples=["web"])
    title: str
    summary: str
    help: str
    icon: str
    machines: list[str]
    needs: list[str]
    endpoints: list[ServiceEndpoint]
    options: list[OptionOut]
    cost: Amounts


def service_out(card: ServiceCard) -> ServiceOut:
    service = card.service
    return ServiceOut(
        id=service.id,
        title=say(service.title),
        summary=say(service.summary),
        help=say(service.help).strip(),
        icon=service.icon,
        machines=list(service.machines),
        needs=list(service.needs),
        endpoints=[
            ServiceEndpoint(name=e.name, title=say(e.title), protocol=e.protocol, machine=e.machine)
            for e in service.endpoints
        ],
        options=[
            OptionOut(
                name=o.name,
                title=say(o.title),
                type=o.type.value,
                default=o.default,
                choices=list(o.choices),
                titles={choice: say(title) for choice, title in o.titles.items()},
                minimum=o.minimum,
                maximum=o.maximum,
                required=o.required,
                changeable=o.again,
            )
            for o in service.options
        ],
        cost=amounts(card.cost),
    )


# --- projects and hosts ----------------------------------------------------------------------------------------------


class ProjectOut(Out):
    """A project, what it may use and what it uses."""

    slug: str
    title: str
    max_days: int
    quota: Amounts
    used: Amounts


def project_out(project: Project) -> ProjectOut:
    return ProjectOut(
        slug=project.slug,
        title=project.title,
        max_days=project.max_days,
        quota=amounts(project.quota),
        used=amounts(quota.used(project)),
    )


class TemplateOut(Out):
    """A machine of an image that was saved while it ran: new ones are resumed from it instead of being booted."""

    image: str
    machine: str = Field(description="The kind of machine that the image is for.", examples=["www"])
    state: str = Field(description="planned, making, ready, broken, failed or impossible", examples=["ready"])
    reason: str = Field(description="What is wrong with it, if something is.")
    made_at: datetime | None
    seconds: float | None = Field(description="How long it took to make.")
    memory_bytes: int = Field(description="Disk that its saved memory takes.")
    disk_bytes: int = Field(description="Disk that its system disk takes beside the image.")


def template_out(view: TemplateView) -> TemplateOut:
    row = view.row
    return TemplateOut(
        image=view.image,
        machine=view.machine,
        state=view.state,
        reason=view.reason,
        made_at=row.made_at if row else None,
        seconds=row.seconds if row else None,
        memory_bytes=row.memory_bytes if row else 0,
        disk_bytes=row.disk_bytes if row else 0,
    )


class WarmIn(In):
    on: bool = Field(description="Whether machines of this host are resumed from templates.")


class LostIn(In):
    confirm: str = Field(description="The host's name once more.", examples=["h2"])


class ReservationOut(Out):
    """What stays an ended platform's own for as long as a lost host may still have something of it."""

    platform: str
    subnet: str
    bridge: str
    macs: list[str]


class HostOut(Out):
    """A hypervisor, as it was when it was last asked. `waiting_runs` counts the runs that wait for it.

    Since `lost_at` it counts as gone for good; `reserved` is what is kept for what it may still have.

    `warm`: new machines are resumed from templates where that is possible, at most `resumes_at_once` at the same time.
    """

    name: str
    hypervisor: str
    enabled: bool
    reachable: bool
    state: str = Field(
        description="reachable, unreachable, lost, returned (lost, and answers again) or unknown"
    )
    silent_since: datetime | None
    lost_at: datetime | None
    lost_by: str | None
    waiting_runs: int
    reserved: list[ReservationOut]
    checked_at: datetime | None
    version: str
    memory_mib: int
    disk_free_gib: int
    platforms: int
    warm: bool
    resumes_at_once: int
    templates: list[TemplateOut]


def host_out(
    host: Host, templates: Iterable[TemplateView], reserved: Iterable[Reservation], waiting: int
) -> HostOut:
    """`host` carries the annotation `living`: how many platforms it has."""
    fields = (
        "name",
        "hypervisor",
        "enabled",
        "reachable",
        "state",
        "silent_since",
        "lost_at",
        "checked_at",
        "version",
        "memory_mib",
        "disk_free_gib",
        "warm",
        "resumes_at_once",
    )
    return HostOut(
        **{name: getattr(host, name) for name in fields},
        lost_by=host.lost_by.username if host.lost_by else None,
        waiting_runs=waiting,
        reserved=[
            ReservationOut(platform=r.platform.slug, subnet=r.subnet, bridge=r.bridge, macs=list(r.macs))
            for r in reserved
        ],
        platforms=getattr(host, "living", 0),
        templates=[template_out(view) for view in templates],
    )


# --- tokens ---------------------------------------------------------------------------------------------------------


class TokenOut(Out):
    """Shown once: only its digest is kept."""

    token: str
    uid: str
    days: int = Field(description="How long it is valid.")
