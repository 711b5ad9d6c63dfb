"""Asking for a change of a living platform: other services, other sizes, a later end. Decided about like any request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _

from placo import wiring
from placo.domain import saga
from placo.domain.catalogue import Option, OptionType
from placo.domain.catalogue_model import DATA_MAX_GIB, MEMORY_MAX_MIB, MEMORY_STEP_MIB, VCPUS_MAX
from placo.domain.change import (
    Difference,
    Size,
    changed_plan,
    difference,
    size_problems,
)
from placo.domain.lifecycle import PlatformState
from placo.domain.plan import Plan, PlannedMachine, hash_of
from placo.domain.quota import Cost
from placo.platforms.models import Platform, Project, Request, User
from placo.services import access, auditlog, clock, placement, quota, seeds
from placo.services.errors import Conflict, InvalidInput
from placo.services.validation import check_into, check_options, check_services, check_text

SIZES = ("memory_mib", "vcpus", "data_volume_gib")
"""What can be said about the size of a machine; what is not said stays."""


def takes(request: Request) -> Cost:
    """What a request takes from its project's quota beyond what its platform has; less than nothing where it gives back."""
    return request.plan.cost - (request.platform.plan.cost if request.kind == Request.CHANGE else Cost())


def new_machines(request: Request) -> list[PlannedMachine]:
    """The machines that come to life by a request."""
    if request.kind == Request.CREATE:
        return list(request.plan.machines)
    return [request.plan.machine(name) for name in what(request).added]


def what(request: Request) -> Difference:
    """What a change changes."""
    return differ(request.platform.plan, request.plan)


def differ(old: Plan, new: Plan) -> Difference:
    """What has to be done to make one plan of a platform of another."""
    return difference(wiring.catalogue(), old, new)


def steps_of(request: Request) -> tuple[saga.StepSpec, ...]:
    """The steps of a change."""
    old, new, d = request.platform.plan, request.plan, what(request)
    return saga.change_steps(
        added={name: new.machine(name).image for name in d.added},
        removed=d.removed,
        resized=d.resized,
        grown=d.grown,
        told=d.told,
        routes=old.endpoints != new.endpoints,
        end=request.expires_on is not None,
    )


def submit_change(
    *,
    acting_user: User,
    slug: str,
    justification: str,
    services: Iterable[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    sizes: Mapping[str, Mapping[str, Any]] | None = None,
    expires_on: Any = None,
    confirm: str = "",
) -> Request:
    """Freeze the plan of a change and reserve what it takes. InvalidInput names each field; Conflict when it is not the time.

    `services` are all that the platform will have (as they are where it is None), `options` are those of services that come new,
    and of those that stay the ones that can be chosen anew; `sizes` maps machines that stay to some of SIZES, which go before those. Who
    removes a machine, with its data, says so by the platform's slug in `confirm`.
    """
    platform = access.get_managed_platform(acting_user, slug)
    errors: dict[str, list[object]] = {}
    with check_into(errors):
        justification = check_text("justification", justification, limit=4000)
    try:
        with transaction.atomic():
            project = quota.lock(platform.project)
            platform = (
                Platform.objects.select_for_update().select_related("host", "project").get(pk=platform.pk)
            )
            require_ready(platform)
            plan, end = platform.plan, None
            with check_into(errors):
                end = check_end(expires_on, platform, project)
            with check_into(errors):
                plan = new_plan(platform, services, options or {}, sizes or {})
                same_end = end is None and "expires_on" not in errors
                _check_difference(platform, plan, confirm, same_end=same_end)
            if errors:
                raise InvalidInput(errors)
            changed = differ(platform.plan, plan)
            request = Request.objects.create(
                platform=platform,
                kind=Request.CHANGE,
                requester=acting_user,
                justification=justification,
                days=plan.days,
                plan_data=plan.as_json(),
                plan_hash=hash_of(plan, end),
                expires_on=end,
            )
            quota.reserve(request, plan.cost - platform.plan.cost)
            auditlog.record(acting_user, "request.change", slug, request=request.pk, **_told(changed))
    except IntegrityError as error:
        if "one_open_request_per_platform" not in str(error):
            raise
        raise Conflict(
            _("A change of this platform has been asked for already."),
            _("Wait for the decision, or withdraw that request."),
        ) from None
    return request


def _check_difference(platform: Platform, plan: Plan, confirm: str, *, same_end: bool) -> None:
    """That something changes, that it fits the quota, and that who loses data has said so."""
    errors: dict[str, list[object]] = {}
    changed = differ(platform.plan, plan)
    if same_end and not changed:
        errors["services"] = [_("Nothing would change.")]
    view = quota.view(platform.project, plan.cost - platform.plan.cost)
    if view.shortages:
        errors["services"] = view.problems()
    if changed.removed and confirm != platform.slug:
        message = _(
            "This removes %(machines)s with everything in it. Type the platform's name, %(slug)s, to confirm."
        )
        names = ", ".join(changed.removed)
        errors["confirm"] = [message % {"machines": names, "slug": platform.slug}]
    if errors:
        raise InvalidInput(errors)


def _told(changed: Difference) -> dict[str, list[str]]:
    return {name: list(values) for name, values in vars(changed).items() if values}


def require_ready(platform: Platform) -> None:
    """Conflict for a platform that cannot be changed at the moment."""
    if platform.state != PlatformState.READY.value:
        raise Conflict(
            _("The platform is %(state)s: only one that is ready can be changed.")
            % {"state": platform.get_state_display()},
            _("Start it, or wait until what is under way has ended."),
        )


def new_plan(
    platform: Platform,
    services: Iterable[str] | None,
    options: Mapping[str, Mapping[str, Any]],
    sizes: Mapping[str, Mapping[str, Any]],
) -> Plan:
    """The plan of a platform with these services (None: those that it has), options and sizes; InvalidInput names each field."""
    catalogue, images, edge, old = wiring.catalogue(), wiring.images(), wiring.site().edge, platform.plan
    chosen = old.services if services is None else check_services(services)
    coming = [s for s in chosen if s not in old.services]
    staying = {s: given for s, given in options.items() if s in chosen and s not in coming}
    checked = check_options(coming, {s: given for s, given in options.items() if s not in staying})
    anew = _check_again(old, staying)
    _check_told(old, anew)
    checked |= anew
    kept = {m.name: m for m in old.machines if m.name in catalogue.machines_of(chosen)}
    try:
        return changed_plan(
            catalogue,
            old,
            services=chosen,
            options=checked,
            sizes=_check_sizes(kept, sizes),
            images={
                name: images.name_for(name) for name in catalogue.machines_of(chosen) if name not in kept
            },
            edge_domain=edge.domain,
            edge_port=edge.port,
            ssh_ports=placement.ports_of(platform.subnet_index),
        )
    except ValueError as error:
        raise InvalidInput({"services": [str(error)]}) from None


def size_options(services: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The options of services by which the size of a machine is chosen."""
    return _named(services, lambda option: option.type is OptionType.SIZE)


def options_again(services: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The options of services that can be chosen anew when the services are there."""
    return _named(services, lambda option: option.again)


def _named(services: Iterable[str], wanted: Callable[[Option], bool]) -> dict[str, tuple[str, ...]]:
    known = wiring.catalogue().services
    return {s: tuple(o.name for o in known[s].options if wanted(o)) for s in services}


def _check_again(old: Plan, options: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is chosen anew for services which stay, as far as it is another choice; their other options were taken long ago."""
    again, known = options_again(options), wiring.catalogue().services
    errors: dict[str, list[object]] = {
        f"options.{service}.{name}": [_("Of a service that is there, this cannot be changed any more.")]
        for service, given in options.items()
        for name in given
        if name not in again[service]
    }
    if errors:
        raise InvalidInput(errors)
    # A plan that is older than an option says nothing of it: its machines have the default.
    present = {s: known[s].defaults() | dict(old.options.get(s, {})) for s in options}
    # What was right when it was chosen is not asked again: somebody whom it names may have left since.
    other = {
        s: {name: value for name, value in given.items() if not _same(value, present[s].get(name))}
        for s, given in options.items()
    }
    checked = check_options(other, other)
    return {
        s: {name: checked[s][name] for name in given if checked[s][name] != present[s].get(name)}
        for s, given in other.items()
    }


def _same(given: object, present: object) -> bool:
    """Whether a value is the one that is there, as a form may send it."""
    return given == present or str(given).replace("\r\n", "\n").strip() == str(present).strip()


def _check_told(old: Plan, chosen: Mapping[str, Mapping[str, Any]]) -> None:
    """That the machines which these choices concern can be told."""
    known, errors = wiring.catalogue().services, dict[str, list[object]]()
    for service, given in chosen.items():
        names = [o.name for o in known[service].options if o.changeable and o.name in given]
        machines = [m for m in old.machines if m.name in known[service].machines]
        reasons: list[object] = [why for m in machines if (why := seeds.untellable(m)) is not None]
        errors |= {f"options.{service}.{name}": reasons for name in names if reasons}
    if errors:
        raise InvalidInput(errors)


def _check_sizes(
    kept: Mapping[str, PlannedMachine], sizes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Size]:
    errors: dict[str, list[object]] = {}
    checked = {}
    for name, given in sizes.items():
        if name not in kept:
            errors[f"sizes.{name}"] = [_("The platform has no such machine, or will not have it.")]
            continue
        values = vars(Size.of(kept[name])).copy()
        for key, value in given.items():
            field = f"sizes.{name}.{key}"
            if key not in SIZES:
                errors[field] = [_("There is no such size.")]
            elif isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
                errors[field] = [_("A whole number is expected.")]
            else:
                values[key] = value
        checked[name] = Size(**values)
        least = wiring.catalogue().machines[name].memory_mib
        for problem in size_problems(kept[name], checked[name], least):
            key, message = _size_message(problem, kept[name], least)
            errors.setdefault(f"sizes.{name}.{key}", []).append(message)
    if errors:
        raise InvalidInput(errors)
    return checked


def _size_message(problem: str, machine: PlannedMachine, least: int) -> tuple[str, str]:
    return {
        "memory-step": ("memory_mib", _("A multiple of %(n)d.") % {"n": MEMORY_STEP_MIB}),
        "memory-range": (
            "memory_mib",
            _("From %(least)d to %(most)d.") % {"least": least, "most": MEMORY_MAX_MIB},
        ),
        "vcpus-range": ("vcpus", _("From %(least)d to %(most)d.") % {"least": 1, "most": VCPUS_MAX}),
        "data-range": ("data_volume_gib", _("At most %(max)d.") % {"max": DATA_MAX_GIB}),
        "data-shrinks": (
            "data_volume_gib",
            _("A data volume can only grow: it has %(now)d GiB.") % {"now": machine.data_volume_gib},
        ),
    }[problem]


def check_end(value: Any, platform: Platform, project: Project) -> date | None:
    """Another end date that the project allows; None where nothing is said or nothing changes. InvalidInput."""
    if value in (None, ""):
        return None
    try:
        end = value if isinstance(value, date) else parse_date(str(value))
    except ValueError:
        end = None
    if end is None:
        raise InvalidInput({"expires_on": [_("A date such as 2030-12-31.")]})
    if end == platform.expires_on:
        return None
    today = clock.today()
    last = today + timedelta(days=project.max_days)
    if not today < end <= last:
        message = _("From tomorrow to %(last)s in this project.")
        raise InvalidInput({"expires_on": [message % {"last": last.isoformat()}]})
    return end
