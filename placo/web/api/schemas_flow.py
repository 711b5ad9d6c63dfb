"""What goes in and out of the API about requests, platforms, members and runs, and how rows become it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Annotated, Any

from django.db.models import Max, Q, QuerySet
from pydantic import Field

from placo.domain.catalogue import Text
from placo.domain.lifecycle import RunKind
from placo.domain.plan import PlannedMachine
from placo.platforms.models import Machine, Membership, Platform, Request, Run, Step, User
from placo.services import planning, rebuilds, renewal, waiting
from placo.services.change_views import ChangeView, change_view
from placo.services.planning import Offer
from placo.services.selectors import addresses_of
from placo.web.api.schemas import DifferenceOut, In, Out, say
from placo.web.api.schemas_changes import ChangesOut, OfferOut, changes_out, differences_out, offer_out

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
    plan_hash: str | None = Field(
        None, description="Of the plan that was read, or of the one that was offered: another one is refused."
    )
    comment: str = ""


class RejectIn(In):
    comment: str = Field(description="Why; the requester reads it.")


class RequestSummary(Out):
    """A request without its plan. `services` are those that the platform has, or will have, by this request."""

    id: int
    kind: str = Field(description="create, or change for one of a living platform")
    state: str = Field(description="submitted, approved, rejected or withdrawn")
    project: str
    slug: str
    title: str
    services: list[str]
    days: int
    expires_on: date | None = Field(description="The new last day, where a change asks for one.")
    changes: ChangesOut | None = Field(description="What is different afterwards; null for a new platform.")
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
    offer: OfferOut | None = Field(None, description="Where the plan no longer fits and another one does.")
    revised: list[DifferenceOut] = Field(
        default_factory=list, description="Where the plan differs from the one that was asked for first."
    )


def _summary(request: Request, view: ChangeView | None) -> dict[str, Any]:
    platform = request.platform
    return {
        "id": request.pk,
        "kind": request.kind,
        "state": request.state,
        "project": platform.project.slug,
        "slug": platform.slug,
        "title": platform.title,
        "services": list(request.plan.services),
        "days": request.days,
        "expires_on": request.expires_on,
        "changes": changes_out(view) if view else None,
        "requester": request.requester.username,
        "created_at": request.created_at,
        "decided_at": request.decided_at,
        "decided_by": request.decided_by.username if request.decided_by else None,
        "comment": request.comment,
    }


def request_summary(request: Request, view: ChangeView | None) -> RequestSummary:
    """`view` is what a change changes: `change_views` has it for many at once."""
    return RequestSummary(**_summary(request, view))


def request_out(request: Request, offer: Offer | None = None) -> RequestOut:
    """`offer` says why the plan no longer fits, and what does."""
    plan = {**request.plan.as_json(), "hash": request.plan_hash}
    return RequestOut(
        **_summary(request, change_view(request)),
        justification=request.justification,
        plan=plan,
        problems=[*offer.problems, *offer.hindrances] if offer else [],
        offer=offer_out(offer),
        revised=differences_out(planning.revised(request)),
    )


# --- platforms and members -------------------------------------------------------------------------------------------


class MachineOut(Out):
    name: str
    title: str
    state: str
    address: str
    host: str
    answer: str = Field(description="What the health probe last heard.")
    image: str = Field(description="The image that its system disk was made from.")
    outdated: bool = Field(description="There is a newer image, and the machine can be rebuilt.")
    way: str = Field(
        description="How it came to life: warm (resumed from a template), cold (booted); empty before that is decided.",
        examples=["warm"],
    )
    way_reason: str = Field(
        description="Why it was booted: making, broken, failed, impossible, off, memory or fell-back."
    )
    way_detail: str = Field(description="More of that, for administrators.")
    took_s: float | None = Field(
        description="Seconds from its first step to its first answer.", examples=[2.3]
    )


def _machine_out(planned: PlannedMachine, row: Machine | None, host: str, *, details: bool) -> MachineOut:
    return MachineOut(
        name=planned.name,
        title=say(Text(planned.title_en, planned.title_fr)),
        state=row.state if row else "planned",
        address=planned.address,
        host=host,
        answer=row.answer if row else "",
        image=planned.image,
        outdated=rebuilds.outdated(planned),
        way=row.way if row else "",
        way_reason=row.way_reason if row else "",
        way_detail=row.way_detail if row and details else "",
        took_s=row.took_s if row else None,
    )


class EndpointOut(Out):
    service: str
    title: str
    protocol: str
    url: str
    command: str | None = Field(
        None,
        description="What is typed to get there, where that is no browser's work.",
        examples=["ssh -p 22000 mdupont@alpha-gateway.example.org"],
    )
    fingerprint: str | None = Field(None, description="By what the server of an address of ssh is known.")


class PlatformOut(Out):
    """A platform. `run_id` is its latest life-cycle run, for those who manage it.

    On `expires_on` it is stopped (`over`), on `removed_on` removed for good; `renews_to` is the end date that a renewal by you
    would give it now, null where there is none.
    """

    slug: str = Field(examples=["alpha"])
    title: str
    project: str
    state: str = Field(examples=["ready"])
    unknown: bool = Field(description="Its host does not answer: everything is as it was when it last did.")
    lost: bool = Field(description="Its host was declared lost, with everything on it.")
    services: list[str]
    host: str
    standby_host: str | None
    created_at: datetime
    expires_on: date | None
    over: bool
    removed_on: date | None
    renews_to: date | None
    run_id: int | None
    machines: list[MachineOut]
    endpoints: list[EndpointOut]


class RenewIn(In):
    expires_on: date | None = Field(
        None,
        description="The end date that you know: if it is another one by now, nothing is done. Without it, what a renewal "
        "has given is not renewed again before the next reminder.",
    )


class RebuildIn(In):
    machines: list[str] | None = Field(
        None, description="Names of machines; without it, all that are outdated."
    )


class EndIn(In):
    expires_on: date = Field(description="A date from today on.", examples=["2027-03-31"])


def with_run(platforms: QuerySet[Platform]) -> QuerySet[Platform]:
    """Platforms with all that `platform_out` needs, in a constant number of queries."""
    latest = Max("runs__id", filter=~Q(runs__kind=RunKind.MEMBER.value))
    return (
        platforms.annotate(latest_run=latest).select_related("project", "host").prefetch_related("machines")
    )


def platform_out(platform: Platform, user: User, *, managed: bool) -> PlatformOut:
    """For `user`. `platform` comes from `with_run`; who does not manage it is not told its run."""
    plan, details = platform.plan, user.is_administrator
    end = renewal.end_of(platform, user, managed=managed)
    rows = {machine.name: machine for machine in platform.machines.all()}
    return PlatformOut(
        slug=platform.slug,
        title=platform.title,
        project=platform.project.slug,
        state=platform.state,
        unknown=platform.unknown,
        lost=platform.lost,
        services=list(plan.services),
        host=platform.host.name,
        standby_host=None,
        created_at=platform.created_at,
        expires_on=platform.expires_on,
        over=end is not None and end.over,
        removed_on=end.removed_on if end else None,
        renews_to=end.renews_to if end else None,
        run_id=getattr(platform, "latest_run", None) if managed else None,
        machines=[
            _machine_out(m, rows.get(m.name), platform.host.name, details=details) for m in plan.machines
        ],
        endpoints=[
            EndpointOut(
                service=e.service,
                title=say(address.title),
                protocol=e.protocol,
                url=e.url,
                command=told if (told := address.told(user.username)) != e.url else None,
                fingerprint=address.fingerprint or None,
            )
            for e, address in zip(plan.endpoints, addresses_of(plan), strict=True)
        ],
    )


class MemberOut(Out):
    """Somebody's membership; while it is `adding` or `removing`, `run_id` is the run that does it."""

    uid: str = Field(examples=["mdupont"])
    name: str
    owner: bool
    until: date | None = Field(None, description="The day on which it ends.")
    state: str = Field(description="adding, active or removing")
    run_id: int | None = None


def member_out(row: Membership, run_id: int | None = None) -> MemberOut:
    state = "active" if row.settled else "adding"
    return MemberOut(
        uid=row.uid,
        name=row.name,
        owner=row.owner,
        until=row.until,
        state=state if row.wanted else "removing",
        run_id=run_id,
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


class WaitOut(Out):
    """A place that does not answer, and that a run waits for, for as long as it takes."""

    place: str = Field(description="A host's name, directory or edge.", examples=["h2"])
    since: datetime = Field(description="Since when it is known not to answer.")
    text: str = Field(examples=["waits for host h2, which has not answered since 10:12"])


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
    web_request: str = Field(
        description="The X-Request-ID of the call that it came of: `request` in the portal's log."
    )
    waits: list[WaitOut]
    steps: list[StepOut]


def _step_out(step: Step) -> StepOut:
    return StepOut(**{name: getattr(step, name) for name in StepOut.model_fields})


def run_out(run: Run, steps: Iterable[Step]) -> RunOut:
    starter: User | None = run.started_by
    steps = list(steps)
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
        web_request=run.web_request,
        waits=[
            WaitOut(place=wait.place, since=wait.since, text=waiting.words(wait))
            for wait in waiting.waits_of(steps)
        ],
        steps=[_step_out(step) for step in steps],
    )
