"""Reading about changes: what a request changes, whatever has happened since, and what a choice would change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.utils import timezone

from placo.domain.change import Difference
from placo.domain.lifecycle import RequestState, RunState
from placo.domain.plan import Plan
from placo.platforms.models import Platform, Request, User
from placo.services import access, changes, quota
from placo.services.errors import InvalidInput
from placo.services.validation import check_into


@dataclass(frozen=True)
class ChangeView:
    """A change: the plan before and after, and what differs. `ends` are the last days before and after, if that changes."""

    old: Plan
    new: Plan
    ends: tuple[date | None, date] | None

    @property
    def changed(self) -> Difference:
        """What differs between the plans."""
        return changes.differ(self.old, self.new)


def change_views(requests: Iterable[Request]) -> dict[int, ChangeView]:
    """What each change among these requests changes or changed, by the request's number; in one query, however many."""
    wanted = [request for request in requests if request.kind == Request.CHANGE]
    platforms = {request.platform_id for request in wanted}
    done = Request.objects.filter(platform__in=platforms, runs__state=RunState.DONE.value)
    history = list(done.select_related("platform").order_by("pk")) if platforms else []
    found = {}
    for request in wanted:
        plan, end = _before(request, [h for h in history if h.platform_id == request.platform_id])
        found[request.pk] = view_of(plan, request.plan, end, request.expires_on)
    return found


def view_of(old: Plan, new: Plan, end: date | None, new_end: date | None) -> ChangeView:
    """A change from one plan to another, and to another last day if `new_end` is one."""
    ends = (end, new_end) if new_end is not None and new_end != end else None
    return ChangeView(old, new, ends)


def change_view(request: Request) -> ChangeView | None:
    """What a change changes or changed; None for a request that is none."""
    return change_views([request]).get(request.pk)


def _before(request: Request, history: list[Request]) -> tuple[Plan, date | None]:
    """Plan and last day of a platform when a change of it was asked for; `history` are the requests that came true, in order.

    A platform is changed by one request at a time, and only one that is ready can be changed: what came true has a smaller
    number than what was asked for afterwards.
    """
    plan, end = request.platform.plan, request.platform.expires_on
    if request.state == RequestState.SUBMITTED.value:
        return plan, end
    for earlier in history:
        if earlier.pk >= request.pk:
            break
        plan = earlier.plan
        if earlier.kind == Request.CREATE and earlier.decided_at is not None:
            end = timezone.localdate(earlier.decided_at) + timedelta(days=earlier.days)
        end = earlier.expires_on or end
    return plan, end


def waiting_change(platform: Platform) -> Request | None:
    """The change of a platform that waits for a decision."""
    waiting = platform.requests.filter(kind=Request.CHANGE, state=RequestState.SUBMITTED.value)
    return waiting.select_related("requester").first()


@dataclass(frozen=True)
class ChangePreview:
    """What a choice would change, and what it would take, before anything is asked for."""

    view: ChangeView
    quota: quota.QuotaView


def preview(
    *,
    acting_user: User,
    slug: str,
    services: Iterable[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    sizes: Mapping[str, Mapping[str, Any]] | None = None,
    expires_on: Any = None,
) -> ChangePreview:
    """The difference that a change would make and the quota before and after; InvalidInput names each field."""
    platform = access.get_managed_platform(acting_user, slug)
    errors: dict[str, list[object]] = {}
    new, end = platform.plan, None
    with check_into(errors):
        end = changes.check_end(expires_on, platform, platform.project)
    with check_into(errors):
        new = changes.new_plan(platform, services, options or {}, sizes or {})
    if errors:
        raise InvalidInput(errors)
    ends = (platform.expires_on, end) if end is not None else None
    wanted = quota.view(platform.project, new.cost - platform.plan.cost)
    return ChangePreview(ChangeView(platform.plan, new, ends), wanted)
