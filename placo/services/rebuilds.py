"""Rebuilding machines: a new system disk from the newest image; what is on the data volume stays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from placo import wiring
from placo.domain import saga
from placo.domain.lifecycle import ENDED, PlatformState, RequestState, RunKind
from placo.domain.plan import Plan, PlannedMachine
from placo.domain.rebuild import rebuilt_plan
from placo.platforms.models import Platform, Run, User
from placo.services import access, changes, planning, runs
from placo.services.errors import Conflict, InvalidInput, ServiceError


def newest_image(machine: PlannedMachine) -> str | None:
    """The image that such a machine would be made from today; None for one that is its owners' own, or of no known kind."""
    kind = wiring.catalogue().machines.get(machine.name)
    return None if kind is None or kind.owned else wiring.images().name_for(machine.name)


def outdated(machine: PlannedMachine) -> bool:
    """Whether it runs another image than one that is made today, and may be rebuilt."""
    return newest_image(machine) not in (None, machine.image)


@dataclass(frozen=True)
class Wave:
    """What became of the wish to rebuild many platforms: runs that have begun, and why others have not, by slug."""

    begun: dict[str, Run]
    refused: dict[str, ServiceError]


def outdated_platforms(*, acting_user: User) -> QuerySet[Platform]:
    """Platforms some of whose machines run another image than would be made today, for administrators."""
    access.require_administrator(acting_user)
    kinds, images = wiring.catalogue().machines, wiring.images()
    newest = {name: images.name_for(name) for name, kind in kinds.items() if not kind.owned}
    without = [state.value for state in (PlatformState.REQUESTED, *ENDED)]
    built = Platform.objects.exclude(state__in=without).values_list("pk", "plan_data")
    late = [
        pk
        for pk, plan in built.iterator()
        if any(newest.get(m["name"], m["image"]) != m["image"] for m in plan["machines"])
    ]
    return Platform.objects.filter(pk__in=late).select_related("project", "host")


def rebuild_all(*, acting_user: User) -> Wave:
    """Rebuild whatever is outdated on every platform, as far as each one's state allows; one that refuses stops no other."""
    wave = Wave({}, {})
    for slug in outdated_platforms(acting_user=acting_user).order_by("slug").values_list("slug", flat=True):
        try:
            wave.begun[slug] = rebuild_platform(acting_user=acting_user, slug=slug)
        except ServiceError as error:
            wave.refused[slug] = error
    return wave


@transaction.atomic
def rebuild_platform(*, acting_user: User, slug: str, machines: Iterable[str] | None = None) -> Run:
    """Rebuild these machines of a platform that is ready, or all that are outdated. Goes back by itself where one does not answer.

    InvalidInput names machines that cannot be rebuilt; Conflict when it is not the time, or nothing is outdated.
    """
    platform = access.get_managed_platform(acting_user, slug)
    platform = Platform.objects.select_for_update(of=("self",)).select_related("project").get(pk=platform.pk)
    changes.require_ready(platform)
    if platform.requests.filter(state=RequestState.SUBMITTED.value).exists():
        raise Conflict(
            _("A change of this platform has been asked for already."),
            _("Wait for the decision, or withdraw that request."),
        )
    plan = platform.plan
    images = _chosen(plan, machines)
    new = rebuilt_plan(plan, images)
    for machine in new.machines:
        missing = planning.unbuilt(machine) if machine.name in images else None
        if missing is not None:
            raise Conflict(missing)
    steps = saga.rebuild_steps(images)
    return runs.start(platform, RunKind.REBUILD, steps, acting_user=acting_user, plan=new)


def _chosen(plan: Plan, names: Iterable[str] | None) -> dict[str, str]:
    """The machines to rebuild, in the order of the plan, and their new images."""
    late = {m.name: str(newest_image(m)) for m in plan.machines if outdated(m)}
    if names is None:
        if not late:
            raise Conflict(_("Every machine runs the newest image: there is nothing to rebuild."))
        return late
    wanted, problems = set(names), list[object]()
    if not wanted:
        problems.append(_("Choose at least one machine."))
    for name in sorted(wanted - set(late)):
        problems.append(_why_not(plan, name) % {"machine": name})
    if problems:
        raise InvalidInput({"machines": problems})
    return {name: image for name, image in late.items() if name in wanted}


def _why_not(plan: Plan, name: str) -> str:
    kind = wiring.catalogue().machines.get(name)
    if name not in plan.images:
        return _("The platform has no machine %(machine)s.")
    if kind is None:
        return _("The catalogue no longer has %(machine)s: there is no newer image.")
    if kind.owned:
        return _("%(machine)s is its administrators' own: what they installed there would be lost.")
    return _("%(machine)s runs the newest image already.")
