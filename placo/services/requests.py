"""Asking for a platform and deciding about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from placo import wiring
from placo.domain.lifecycle import PlatformState, RequestState, RunKind
from placo.domain.plan import Plan, cost_of
from placo.domain.quota import Cost
from placo.domain.saga import create_steps
from placo.platforms.models import Machine, Membership, Platform, Project, Request, Run, User
from placo.services import access, auditlog, changes, clock, placement, planning, quota, runs
from placo.services.errors import Conflict, Forbidden, InvalidInput
from placo.services.validation import (
    check_days,
    check_into,
    check_options,
    check_services,
    check_slug,
    check_text,
)


@dataclass(frozen=True)
class Preview:
    """What a choice of services would cost, before anything is asked for."""

    services: tuple[str, ...]
    cost: Cost
    quota: quota.QuotaView


def preview(
    *,
    acting_user: User,
    project_slug: str,
    services: Iterable[str],
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Preview:
    """The cost of a choice against the project's quota; unknown services raise InvalidInput."""
    project = access.get_project(acting_user, project_slug)
    chosen = check_services(services, allow_empty=True)
    cost = cost_of(wiring.catalogue(), chosen, options) if chosen else Cost()
    return Preview(chosen, cost, quota.view(project, cost))


def submit_request(
    *,
    acting_user: User,
    project_slug: str,
    slug: str,
    services: Iterable[str],
    days: Any,
    justification: str,
    title: str = "",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    hypervisor: str | None = None,
) -> Request:
    """Check everything, freeze the plan, reserve quota, subnet and slug. Raises InvalidInput naming each field.

    `hypervisor` is "kvm", or what other hosts there are; any will do by default.
    """
    project = access.get_project(acting_user, project_slug)
    errors: dict[str, list[object]] = {}
    with check_into(errors):
        slug = check_slug(slug)
    chosen: tuple[str, ...] = ()
    with check_into(errors):
        chosen = check_services(services)
    checked_options: dict[str, dict[str, Any]] = {}
    with check_into(errors):
        checked_options = check_options(chosen, options or {})
    with check_into(errors):
        days = check_days(days, project.max_days)
    with check_into(errors):
        justification = check_text("justification", justification, limit=4000)
    with check_into(errors):
        title = check_text("title", title, limit=200) if title.strip() else ""
    if errors:
        raise InvalidInput(errors)
    try:
        with transaction.atomic():
            project = quota.lock(project)
            placement.lock()
            view = quota.view(project, cost_of(wiring.catalogue(), chosen, checked_options))
            if view.shortages:
                raise InvalidInput({"services": view.problems()})
            plan, index = planning.plan_new_platform(
                slug=slug,
                title=title or slug,
                project=project,
                services=chosen,
                options=checked_options,
                days=days,
                hypervisor=hypervisor,
            )
            return _store(acting_user, project, plan, index, justification)
    except IntegrityError as error:
        if "one_living_platform_per_slug" in str(error):
            raise InvalidInput({"slug": [_("This name is taken. Choose another one.")]}) from None
        raise


def _store(acting_user: User, project: Project, plan: Plan, index: int, justification: str) -> Request:
    platform = Platform.objects.create(
        uuid=plan.uuid,
        slug=plan.slug,
        title=plan.title,
        project=project,
        host=placement.host(plan.host),
        state=PlatformState.REQUESTED.value,
        plan_data=plan.as_json(),
        subnet_index=index,
    )
    request = Request.objects.create(
        platform=platform,
        requester=acting_user,
        justification=justification,
        days=plan.days,
        plan_hash=plan.hash,
    )
    quota.reserve(request, plan.cost)
    auditlog.record(
        acting_user, "request.submit", plan.slug, request=request.pk, services=list(plan.services)
    )
    return request


def _open_request(request_id: int) -> Request:
    """The request, locked with its project and platform, if it still waits for a decision."""
    request = (
        Request.objects.select_for_update()
        .select_related("platform__project", "requester")
        .get(pk=request_id)
    )
    quota.lock(request.platform.project)
    if request.state != RequestState.SUBMITTED.value:
        raise Conflict(
            _("This request has already been decided: %(state)s.") % {"state": request.get_state_display()},
            _("Open it to see by whom and when."),
        )
    return request


@transaction.atomic
def approve_request(
    *, acting_user: User, request_id: int, plan_hash: str | None = None, comment: str = ""
) -> Run:
    """Start the run that makes or changes the platform. Conflict if it was decided already.

    `plan_hash` names the plan that was read: the request's own, or the one that is offered where that no longer fits. Whatever
    else it names, and without it a plan that does not fit, is refused (PlanOutdated) with the differences and a new plan.
    """
    access.get_request(acting_user, request_id)
    if not acting_user.is_administrator:
        raise Forbidden(
            _(
                "Only an administrator can approve a request, and nobody can approve their own without being one."
            ),
            _("An administrator has been shown your request and will decide."),
        )
    request = _open_request(request_id)
    if plan_hash in (None, request.plan_hash):
        found = planning.offer(request)
        if found is not None:
            raise planning.outdated(found)
    else:
        placement.lock()
        found = planning.offer(request)
        if found is None or found.draft is None or found.draft.hash != plan_hash:
            raise planning.moved_on(request, plan_hash or "", found)
        planning.take(request, found.draft, acting_user=acting_user)
    platform, plan = request.platform, request.plan
    _decide(request, RequestState.APPROVED, acting_user, comment)
    Machine.objects.bulk_create(
        Machine(platform=platform, name=m.name, uuid=m.uuid, address=m.address)
        for m in changes.new_machines(request)
    )
    if request.kind == Request.CHANGE:
        steps = changes.steps_of(request)
        return runs.start(platform, RunKind.CHANGE, steps, acting_user=acting_user, request=request)
    left = set(platform.stepped_down.values_list("uid", flat=True))  # since it was asked for
    owners = [uid for uid in plan.owners if uid not in left]
    names = {u.username: u.display_name for u in User.objects.filter(username__in=owners)}
    Membership.objects.bulk_create(
        Membership(platform=platform, uid=uid, name=names.get(uid, uid), owner=True, settled=True)
        for uid in owners
    )
    platform.term_from = clock.today()
    platform.expires_on = platform.term_from + timedelta(days=plan.days)
    platform.save(update_fields=["term_from", "expires_on"])
    steps = create_steps(plan.images)
    return runs.start(platform, RunKind.CREATE, steps, acting_user=acting_user, request=request)


def _decide(request: Request, state: RequestState, acting_user: User, comment: str) -> None:
    request.state, request.decided_by, request.decided_at = state.value, acting_user, timezone.now()
    request.comment = comment.strip()
    request.save(update_fields=["state", "decided_by", "decided_at", "comment"])
    auditlog.record(
        acting_user, f"request.{state.value}", request.platform.slug, request=request.pk, comment=comment
    )


def _close(request: Request, state: RequestState, acting_user: User, comment: str) -> Request:
    _decide(request, state, acting_user, comment)
    quota.give_up(request)
    if request.kind == Request.CREATE:
        platform = request.platform
        platform.state, platform.subnet_index = PlatformState.DECLINED.value, None
        platform.save(update_fields=["state", "subnet_index"])
    return request


@transaction.atomic
def reject_request(*, acting_user: User, request_id: int, comment: str) -> Request:
    """Refuse with a reason that the requester will read; gives back what was reserved."""
    access.get_request(acting_user, request_id)
    access.require_administrator(acting_user)
    comment = check_text("comment", comment, limit=4000)
    return _close(_open_request(request_id), RequestState.REJECTED, acting_user, comment)


@transaction.atomic
def withdraw_request(*, acting_user: User, request_id: int) -> Request:
    """The project's owners take their request back."""
    access.get_request(acting_user, request_id)
    return _close(_open_request(request_id), RequestState.WITHDRAWN, acting_user, "")


@transaction.atomic
def replan_request(*, acting_user: User, request_id: int) -> Request:
    """A new plan for the same wish, where the old one no longer fits. InvalidInput when even a new one cannot fit."""
    access.get_request(acting_user, request_id)
    access.require_administrator(acting_user)
    request = _open_request(request_id)
    placement.lock()
    planning.take(request, planning.draw(request), acting_user=acting_user)
    return request
