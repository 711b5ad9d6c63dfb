"""What people do with a platform that exists."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from placo.domain import saga
from placo.domain.lifecycle import PlatformState, RunKind, RunState
from placo.platforms.models import Platform, Run, User
from placo.services import access, decisions, renewal, runs
from placo.services.errors import InvalidInput

POWER_ACTIONS = {
    kind.value: kind
    for kind in (RunKind.START, RunKind.STOP, RunKind.RESTART, RunKind.SUSPEND, RunKind.RESUME)
}


@transaction.atomic
def power_platform(*, acting_user: User, slug: str, action: str) -> Run:
    """Start, stop, restart, suspend or resume all machines of a platform."""
    platform = access.get_managed_platform(acting_user, slug)
    kind = POWER_ACTIONS.get(action)
    if kind is None:
        known = ", ".join(POWER_ACTIONS)
        raise InvalidInput({"action": [_("Unknown action. There are: %(known)s.") % {"known": known}]})
    platform = Platform.objects.select_for_update(of=("self",)).select_related("project").get(pk=platform.pk)
    renewal.require_time(platform, kind, acting_user)
    machines = [m.name for m in platform.plan.machines]
    return runs.start(platform, kind, saga.power_steps(kind, machines), acting_user=acting_user)


@transaction.atomic
def retire_platform(*, acting_user: User, slug: str, confirm: str) -> Run:
    """Remove a platform and everything in it for good; `confirm` has to be its slug. One that is being made is undone."""
    platform: Platform = access.get_managed_platform(acting_user, slug)
    if confirm != platform.slug:
        raise InvalidInput(
            {"confirm": [_("Type the platform's name, %(slug)s, to confirm.") % {"slug": slug}]}
        )
    if platform.state == PlatformState.CREATING.value:
        creation = platform.runs.get(kind=RunKind.CREATE.value, ended_at=None)
        if creation.state == RunState.UNWINDING.value:
            return creation
        return decisions.undo_run(acting_user=acting_user, run_id=creation.pk)
    steps = saga.retire_steps(platform.plan.images)
    return runs.start(platform, RunKind.RETIRE, steps, acting_user=acting_user)
