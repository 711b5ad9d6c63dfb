"""Reading one request: everything that is needed to decide about it."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Sum

from placo.domain.catalogue import Text
from placo.domain.lifecycle import RequestState
from placo.domain.plan import Plan
from placo.domain.plan_items import Item
from placo.domain.quota import Cost
from placo.platforms.models import Host, LedgerEntry, Request, Run, User
from placo.services import access, change_views, planning, quota
from placo.services.selectors import Address, Choice, addresses_of, choices_of, title_of


@dataclass(frozen=True)
class HostShare:
    """What a host has promised before and after a request; MiB. `memory_mib` is 0 while the host was never asked."""

    host: Host
    before: int
    after: int
    platforms: int


@dataclass(frozen=True)
class RequestView:
    """One request with all that is needed to decide about it.

    `plan` and what follows from it are what an approval would make now: the plan that is offered where the request's own no
    longer fits (`offer`). `revised` compares the plan that was asked for first with the request's present one, if that is another.
    """

    request: Request
    plan: Plan
    plan_hash: str
    services: list[Text]
    choices: tuple[Choice, ...]
    addresses: tuple[Address, ...]
    quota: quota.QuotaView
    host: HostShare
    offer: planning.Offer | None
    revised: tuple[Item, ...]
    history: list[Request]
    run: Run | None
    change: change_views.ChangeView | None = None


def request_view(*, acting_user: User, request_id: int) -> RequestView:
    """The request, its plan, quota and host before and after, why it would not fit any more, the project's history."""
    request = access.get_request(acting_user, request_id)
    platform = request.platform
    undecided = request.state == RequestState.SUBMITTED.value
    offer = planning.offer(request) if undecided else None
    shown = offer.draft if offer and offer.draft else planning.current(request)
    plan, change = shown.plan, change_views.change_view(request)
    if change and offer and offer.draft:
        change = change_views.view_of(change.old, plan, platform.expires_on, shown.expires_on)
    others = Request.objects.filter(platform__project=platform.project).exclude(pk=request.pk)
    wanted = plan.cost - (platform.plan.cost if request.kind == Request.CHANGE else Cost())
    return RequestView(
        request=request,
        plan=plan,
        plan_hash=shown.hash if offer and offer.draft else request.plan_hash,
        services=[title_of(s) for s in plan.services],
        choices=choices_of(plan),
        addresses=addresses_of(plan),
        quota=quota.view(platform.project, wanted, without=request),
        host=_host_share(Host.objects.filter(name=plan.host).first() or platform.host, request, wanted),
        offer=offer,
        revised=planning.revised(request),
        history=list(others.select_related("platform", "requester")[:10]),
        run=request.runs.first(),
        change=change,
    )


def _host_share(host: Host, request: Request, wanted: Cost) -> HostShare:
    ledger = LedgerEntry.objects.filter(platform__host=host).exclude(request=request)
    promised = ledger.aggregate(memory=Sum("memory_mib"), platforms=Count("pk"))
    before = promised["memory"] or 0
    return HostShare(host, before, before + wanted.memory_mib, promised["platforms"])
