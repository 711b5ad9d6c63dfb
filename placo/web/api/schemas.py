"""What goes in and out of the API, and how rows become it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any

from django.db.models import Max, Q, QuerySet
from django.utils.translation import get_language
from ninja import Schema
from pydantic import ConfigDict, Field

from placo.domain.catalogue import Text
from placo.domain.lifecycle import RunKind
from placo.domain.quota import Cost
from placo.platforms.models import Host, Membership, Platform, Project, Request, Run, Step, User
from placo.services import quota
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
    type: str = Field(description="boolean, choice, integer or text")
    default: bool | int | str
    choices: list[str]
    minimum: int | None
    maximum: int | None
    required: bool


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
                minimum=o.minimum,
                maximum=o.maximum,
                required=o.required,
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


class HostOut(Out):
    """A hypervisor, as it was when it was last asked."""

    name: str
    hypervisor: str
    enabled: bool
    reachable: bool
    checked_at: datetime | None
    version: str
    memory_mib: int
    disk_free_gib: int
    platforms: int


def host_out(host: Host) -> HostOut:
    """`host` carries the annotation `living`: how many platforms it has."""
    fields = (
        "name",
        "hypervisor",
        "enabled",
        "reachable",
        "checked_at",
        "version",
        "memory_mib",
        "disk_free_gib",
    )
    return HostOut(**{name: getattr(host, name) for name in fields}, platforms=getattr(host, "living", 0))


# --- requests --------------------------------------------------------------------------------------------------------

Days = Annotated[
    int, Field(strict=True, description="For how long, from 1 to the project's limit.", examples=[90])
]


class RequestIn(In):
    """What to ask for. `options` maps a service to its options by name."""

    project: str = Field(examples=["optics"])
    slug: str = Field(
        description="The platform's short name; it becomes part of its addresses.", examples=["alpha"]
    )
    services: list[str] = Field(examples=[["web", "svn"]])
    days: Days
    justification: str = Field(examples=["Workshop on wave equations"])
    hypervisor: str | None = Field(None, description="kvm, or whatever GET /hosts shows; any by default.")
    title: str = ""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict, examples=[{"web": {"php": True}}])


class ApproveIn(In):
    plan_hash: str | None = Field(None, description="Of the plan that was read: another one is refused.")
    comment: str = ""


class RejectIn(In):
    comment: str = Field(description="Why; the requester reads it.")


class RequestSummary(Out):
    """A request without its plan."""

    id: int
    state: str = Field(description="submitted, approved, rejected or withdrawn")
    project: str
    slug: str
    title: str
    services: list[str]
    days: int
    requester: str
    created_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    comment: str


class RequestOut(RequestSummary):
    """A request with the plan that answers it; `plan.hash` is what is approved, `problems` says why it no longer fits."""

    justification: str
    plan: dict[str, Any]
    problems: list[str] = Field(default_factory=list)


def _summary(request: Request) -> dict[str, Any]:
    platform = request.platform
    return {
        "id": request.pk,
        "state": request.state,
        "project": platform.project.slug,
        "slug": platform.slug,
        "title": platform.title,
        "services": list(platform.plan_data["services"]),
        "days": request.days,
        "requester": request.requester.username,
        "created_at": request.created_at,
        "decided_at": request.decided_at,
        "decided_by": request.decided_by.username if request.decided_by else None,
        "comment": request.comment,
    }


def request_summary(request: Request) -> RequestSummary:
    return RequestSummary(**_summary(request))


def request_out(request: Request, problems: Iterable[str] = ()) -> RequestOut:
    plan = {**request.platform.plan_data, "hash": request.plan_hash}
    return RequestOut(
        **_summary(request),
        justification=request.justification,
        plan=plan,
        problems=[str(p) for p in problems],
    )


# --- platforms and members -------------------------------------------------------------------------------------------


class MachineOut(Out):
    name: str
    title: str
    state: str
    address: str
    host: str
    answer: str = Field(description="What the health probe last heard.")


class EndpointOut(Out):
    service: str
    title: str
    protocol: str
    url: str


class PlatformOut(Out):
    """A platform. `run_id` is its latest life-cycle run, for those who manage it."""

    slug: str = Field(examples=["alpha"])
    title: str
    project: str
    state: str = Field(examples=["ready"])
    services: list[str]
    host: str
    standby_host: str | None
    created_at: datetime
    expires_on: date | None
    run_id: int | None
    machines: list[MachineOut]
    endpoints: list[EndpointOut]


def with_run(platforms: QuerySet[Platform]) -> QuerySet[Platform]:
    """Platforms with all that `platform_out` needs, in a constant number of queries."""
    latest = Max("runs__id", filter=~Q(runs__kind=RunKind.MEMBER.value))
    return (
        platforms.annotate(latest_run=latest).select_related("project", "host").prefetch_related("machines")
    )


def platform_out(platform: Platform, *, managed: bool) -> PlatformOut:
    """`platform` comes from `with_run`; who does not manage it is not told its run."""
    plan, french = platform.plan, (get_language() or "en").startswith("fr")
    rows = {machine.name: machine for machine in platform.machines.all()}
    return PlatformOut(
        slug=platform.slug,
        title=platform.title,
        project=platform.project.slug,
        state=platform.state,
        services=list(plan.services),
        host=platform.host.name,
        standby_host=None,
        created_at=platform.created_at,
        expires_on=platform.expires_on,
        run_id=getattr(platform, "latest_run", None) if managed else None,
        machines=[
            MachineOut(
                name=m.name,
                title=m.title_fr if french else m.title_en,
                state=rows[m.name].state if m.name in rows else "planned",
                address=m.address,
                host=platform.host.name,
                answer=rows[m.name].answer if m.name in rows else "",
            )
            for m in plan.machines
        ],
        endpoints=[
            EndpointOut(
                service=e.service, title=e.title_fr if french else e.title_en, protocol=e.protocol, url=e.url
            )
            for e in plan.endpoints
        ],
    )


class MemberOut(Out):
    """Somebody's membership; while it is `adding` or `removing`, `run_id` is the run that does it."""

    uid: str = Field(examples=["mdupont"])
    name: str
    owner: bool
    state: str = Field(description="adding, active or removing")
    run_id: int | None = None


def member_out(row: Membership, run_id: int | None = None) -> MemberOut:
    state = "active" if row.settled else "adding"
    return MemberOut(
        uid=row.uid, name=row.name, owner=row.owner, state=state if row.wanted else "removing", run_id=run_id
    )


# --- runs ------------------------------------------------------------------------------------------------------------


class StepOut(Out):
    name: str
    action: str
    target: str
    state: str
    attempts: int
    error: str
    message: str
    started_at: datetime | None
    finished_at: datetime | None


class RunOut(Out):
    """One execution of a plan; `version` grows with every change."""

    id: int
    kind: str
    state: str = Field(description="running, done, stuck, unwinding or undone")
    platform: str
    subject: str
    started_by: str | None
    created_at: datetime
    ended_at: datetime | None
    version: int
    steps: list[StepOut]


def _step_out(step: Step) -> StepOut:
    return StepOut(**{name: getattr(step, name) for name in StepOut.model_fields})


def run_out(run: Run, steps: Iterable[Step]) -> RunOut:
    starter: User | None = run.started_by
    return RunOut(
        id=run.pk,
        kind=run.kind,
        state=run.state,
        platform=run.platform.slug,
        subject=run.subject,
        started_by=starter.username if starter else None,
        created_at=run.created_at,
        ended_at=run.ended_at,
        version=run.version,
        steps=[_step_out(step) for step in steps],
    )


class TokenOut(Out):
    """Shown once: only its digest is kept."""

    token: str
    uid: str
    days: int = Field(description="How long it is valid.")
