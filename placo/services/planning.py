"""The plan that answers a request: making it, whether it still fits when it is decided about, and the one that is offered instead.

What is offered keeps what still fits (host, subnet, sizes), so that it differs only where it has to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.utils.translation import gettext as _

from placo import wiring
from placo.domain.change import Size
from placo.domain.lifecycle import PlatformState
from placo.domain.plan import Plan, PlannedMachine, cost_of, hash_of, make_plan
from placo.domain.plan_items import Item, compare
from placo.domain.stock import is_stock
from placo.drivers.ports import DriverError
from placo.platforms.models import Platform, Project, Request, User
from placo.services import auditlog, changes, clock, placement, quota
from placo.services.errors import Conflict, InvalidInput, PlanOutdated, ServiceError
from placo.services.validation import check_options, check_services


@dataclass(frozen=True)
class Draft:
    """A plan that could answer a request, with the last day where that changes too; `subnet_index` of a new platform."""

    plan: Plan
    expires_on: date | None
    subnet_index: int | None

    @property
    def hash(self) -> str:
        """What would be approved."""
        return hash_of(self.plan, self.expires_on)


@dataclass(frozen=True)
class Offer:
    """A request's plan no longer fits: why, and the plan that does.

    `draft` is None where no plan fits at the moment, and `hindrances` say why beyond `problems`. `items` are the request's plan
    and the new one side by side, agreeing or not.
    """

    problems: list[str]
    draft: Draft | None
    hindrances: list[str]
    items: tuple[Item, ...]

    @property
    def differences(self) -> list[Item]:
        """Where the new plan is another one."""
        return [item for item in self.items if item.differs]


def owners_of(project: Project) -> list[str]:
    """The uids of those who own a project."""
    return sorted(project.owners.values_list("uid", flat=True))


def plan_platform(
    *,
    platform_uuid: UUID,
    slug: str,
    title: str,
    project: Project,
    services: tuple[str, ...],
    options: Mapping[str, Mapping[str, Any]],
    days: int,
    hypervisor: str | None,
    staying: Platform | None = None,
) -> tuple[Plan, int]:
    """The plan of a new platform, and the index of its subnet; `staying`: where it was planned to be is kept if it can be."""
    place, index = placement.choose(hypervisor, staying=staying)
    catalogue, images = wiring.catalogue(), wiring.images()
    try:
        plan = make_plan(
            catalogue,
            platform_uuid=platform_uuid,
            slug=slug,
            title=title,
            project=project.slug,
            owners=owners_of(project),
            services=services,
            options=options,
            days=days,
            placement=place,
            images={name: images.name_for(name) for name in catalogue.machines_of(services)},
        )
    except ValueError:
        raise Conflict(
            _("The site has not enough addresses or ports for such a platform."),
            _("Pick fewer services, or ask an administrator."),
        ) from None
    return plan, index


def plan_new_platform(**words: Any) -> tuple[Plan, int]:
    """The plan of a platform that is new, with nothing in it of what may have been left on lost hosts; `words` as above."""
    while True:
        plan, index = plan_platform(platform_uuid=uuid4(), **words)
        if placement.collides(plan) is None:
            return plan, index


def beside(request: Request, plan: Plan, expires_on: date | None, *, new: Draft) -> tuple[Item, ...]:
    """A plan of a request and a later one, item by item."""
    if request.kind == Request.CREATE:
        return compare(plan, new.plan)
    now = request.platform.expires_on
    return compare(plan, new.plan, (expires_on or now, new.expires_on or now))


def current(request: Request) -> Draft:
    """The request's own plan."""
    return Draft(request.plan, request.expires_on, request.platform.subnet_index)


def revised(request: Request) -> tuple[Item, ...]:
    """The plan that was asked for first beside the request's present one; nothing where that is the same."""
    former = request.former
    return beside(request, former[0].plan, former[0].expires_on, new=current(request)) if former else ()


def offer(request: Request) -> Offer | None:
    """Why the plan of an open request would not be approved any more, and the plan that would; None while it fits.

    It fits as long as everything that it says is what would be planned today.
    """
    problems, hindrances = _misfits(request), list[str]()
    draft: Draft | None = None
    items: tuple[Item, ...] = ()
    try:
        draft = draw(request)
    except ServiceError as error:
        hindrances = _sentences(error)
        problems = problems or hindrances
    else:
        items = beside(request, request.plan, request.expires_on, new=draft)
        # A host that does not answer at the moment is a reason to prefer another one, none to refuse the plan.
        free = {("host",)} if request.platform.host.enabled else set()
        if not problems and any(item.differs and item.path not in free for item in items):
            problems = [_("The catalogue or the site now gives it something else.")]
    if not problems:
        return None
    if not any(item.differs for item in items):
        draft, items = None, ()
    return Offer(problems, draft, [h for h in hindrances if h not in problems], items)


def _sentences(error: ServiceError) -> list[str]:
    if isinstance(error, InvalidInput):
        return [str(message) for messages in error.errors.values() for message in messages]
    return [str(error.message)]


def _misfits(request: Request) -> list[str]:
    """What has changed around the plan of a request, in words."""
    plan, platform, project = request.plan, request.platform, request.platform.project
    creation, today = request.kind == Request.CREATE, clock.today()
    found = [str(p) for p in quota.view(project, changes.takes(request), without=request).problems()]
    if not creation and platform.state != PlatformState.READY.value:
        found.append(_("The platform is %(state)s.") % {"state": platform.get_state_display()})
    if platform.host.lost:
        found.append(_("The host %(host)s was declared lost.") % {"host": platform.host.name})
    if (left := placement.collides(plan)) is not None:
        found.append(_kept(left))
    if not platform.host.enabled:
        found.append(_("The host %(host)s no longer takes platforms.") % {"host": platform.host.name})
    days = plan.days if creation else ((request.expires_on or today) - today).days
    if days > project.max_days:
        found.append(
            _("The project may now have platforms for %(max)d days at most.") % {"max": project.max_days}
        )
    if request.expires_on is not None and request.expires_on <= today:
        found.append(_("The end date that was asked for has passed."))
    catalogue = wiring.catalogue()
    gone = [s for s in plan.services if s not in catalogue.services]
    if gone:
        return [*found, _("No longer in the catalogue: %(names)s.") % {"names": ", ".join(gone)}]
    if creation and cost_of(catalogue, plan.services, plan.options) != plan.cost:
        found.append(_("The catalogue now gives these services other amounts of memory, processors or disk."))
    for machine in changes.new_machines(request):
        if machine.name in catalogue.machines and wiring.images().name_for(machine.name) != machine.image:
            found.append(_("The image of %(machine)s has been replaced.") % {"machine": machine.name})
        elif (missing := unbuilt(machine)) is not None:
            found.append(missing)
    if creation and tuple(owners_of(project)) != plan.owners:
        found.append(_("The owners of the project have changed."))
    return found


def _kept(left: Platform) -> str:
    return _("Addresses of the plan are kept for what %(slug)s may have left on the lost host %(host)s.") % {
        "slug": left.slug,
        "host": left.left_on,
    }


def unbuilt(machine: PlannedMachine) -> str | None:
    """Why a machine cannot be made from its image here: in words; None where it can."""
    words = {"machine": machine.name, "image": machine.image}
    try:
        found = wiring.images().files(machine.image)
    except DriverError:
        if is_stock(machine.image):
            return _("The image %(image)s of %(machine)s has not been imported on this site yet.") % words
        return _("The image of %(machine)s has not been built on this site yet (make images).") % words
    if found.virtual_size > machine.system_disk_gib << 30:
        return _("The image %(image)s does not fit on the system disk of %(machine)s.") % words
    return None


def draw(request: Request) -> Draft:
    """The plan that answers an open request as things are now. InvalidInput or Conflict where none can."""
    draft = _draw_platform(request) if request.kind == Request.CREATE else _draw_change(request)
    platform = request.platform
    old = None if request.kind == Request.CREATE else platform.plan
    takes = draft.plan.cost - old.cost if old else draft.plan.cost
    view = quota.view(platform.project, takes, without=request)
    if view.shortages:
        raise InvalidInput({"services": view.problems()})
    if (left := placement.collides(draft.plan)) is not None:
        raise Conflict(_kept(left))
    there = {m.name for m in old.machines} if old else set()
    for machine in draft.plan.machines:
        missing = None if machine.name in there else unbuilt(machine)
        if missing is not None:
            raise Conflict(missing)
    return draft


def _still_options(plan: Plan, services: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The options that were chosen, as far as the catalogue still has them."""
    known = wiring.catalogue().services
    return {
        s: {o.name: plan.options[s][o.name] for o in known[s].options if o.name in plan.options[s]}
        for s in services
        if s in plan.options
    }


def _draw_platform(request: Request) -> Draft:
    platform, old = request.platform, request.plan
    chosen = check_services(old.services)
    plan, index = plan_platform(
        platform_uuid=platform.uuid,
        slug=old.slug,
        title=old.title,
        project=platform.project,
        services=chosen,
        options=check_options(chosen, _still_options(old, chosen)),
        days=min(old.days, platform.project.max_days),
        hypervisor=platform.host.hypervisor,
        staying=platform,
    )
    return Draft(plan, None, index)


def _draw_change(request: Request) -> Draft:
    platform, wanted = request.platform, request.plan
    changes.require_ready(platform)
    old, catalogue = platform.plan, wiring.catalogue()
    asked = check_services(wanted.services)
    kept = [m for m in wanted.machines if m.name in {o.name for o in old.machines}]
    coming = [s for s in asked if s not in old.services]
    again = changes.options_again(s for s in asked if s in old.services)
    chosen = _still_options(wanted, asked)
    plan = changes.new_plan(
        platform,
        asked,
        {s: {n: v for n, v in chosen[s].items() if s in coming or n in again.get(s, ())} for s in chosen},
        {
            m.name: vars(Size.of(m))
            for m in kept
            if Size.of(m) != Size.of(old.machine(m.name)) and m.name in catalogue.machines
        },
    )
    unasked = [
        name for name in changes.differ(old, plan).removed if name not in changes.differ(old, wanted).removed
    ]
    if unasked:
        message = _(
            "With the catalogue of today it would also remove %(machines)s, which nobody has confirmed."
        )
        raise Conflict(message % {"machines": ", ".join(unasked)})
    end, today = request.expires_on, clock.today()
    if end is not None:
        end = min(end, today + timedelta(days=platform.project.max_days)) if end > today else None
    if not changes.differ(old, plan) and end in (None, platform.expires_on):
        raise Conflict(_("Nothing of what was asked for is left to do."))
    return Draft(plan, end, None)


def take(request: Request, draft: Draft, *, acting_user: User) -> None:
    """From now on a draft is the plan of an open request, with quota, host and subnet. The caller holds the locks."""
    platform, before = request.platform, current(request)
    items = beside(request, before.plan, before.expires_on, new=draft)
    if draft.hash != request.plan_hash:
        request.supersede()
    request.plan_hash = draft.hash
    if request.kind == Request.CREATE:
        platform.host = placement.host(draft.plan.host)
        platform.plan_data, platform.subnet_index = draft.plan.as_json(), draft.subnet_index
        platform.save(update_fields=["host", "plan_data", "subnet_index"])
        request.days = draft.plan.days
    else:
        request.plan_data, request.expires_on = draft.plan.as_json(), draft.expires_on
    request.save(update_fields=["plan_data", "plan_hash", "former_plans", "expires_on", "days"])
    quota.give_up(request)
    quota.reserve(request, changes.takes(request))
    told = [item.as_json() for item in items if item.differs]
    auditlog.record(acting_user, "request.replan", platform.slug, request=request.pk, differences=told)


def outdated(found: Offer) -> PlanOutdated:
    """The refusal of a plan that no longer fits, with what is offered instead."""
    message = _("The plan no longer fits: %(why)s") % {"why": " ".join(found.problems)}
    if found.draft is None:
        remedy = _("No other plan fits at the moment either: mend the cause, or reject the request.")
        return PlanOutdated(" ".join([message, *found.hindrances]), remedy)
    return PlanOutdated(
        message,
        _("Read what the new plan does differently; then approve that one, or reject the request."),
        differences=found.differences,
        plan_hash=found.draft.hash,
    )


def moved_on(request: Request, seen: str, found: Offer | None) -> PlanOutdated:
    """The refusal of a plan that is not the request's any more, or never was; `found` is what `offer` says of its present one."""
    new = found.draft if found else current(request)
    shown = current(request)
    for former in request.former:
        if former.hash == seen:
            shown = Draft(former.plan, former.expires_on, None)
    items = beside(request, shown.plan, shown.expires_on, new=new) if new else ()
    return PlanOutdated(
        _("The plan has changed since you looked at it."),
        _("Read the new plan, then approve it."),
        differences=[item for item in items if item.differs],
        plan_hash=new.hash if new else None,
    )
