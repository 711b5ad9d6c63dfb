"""Every kind of run on a small platform: its steps, what is there before, and who starts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from placo import wiring
from placo.domain import saga
from placo.domain.lifecycle import PlatformState, RunKind
from placo.domain.saga import StepSpec
from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.drivers.fake_images import FakeImages
from placo.platforms.models import (
    Drift,
    Platform,
    Run,
    User,
)
from placo.services import (
    changes,
    drift,
    lost,
    members,
    ownership,
    platforms,
    rebuilds,
    reconcile,
    requests,
)
from placo.services.work import hypervisor_of
from tests.factories import approve

SLUG = "alpha"
IMAGES = {"www": "placo-www-000000000000"}
SVN = {"svn": "placo-svn-000000000000"}
MAIL = {"mail": "placo-mail-000000000000"}
GUEST = "alan"


@dataclass(frozen=True)
class Saga:
    """A kind of run on a platform of one machine: its steps, what is there before, and who starts it."""

    kind: RunKind
    steps: tuple[StepSpec, ...]
    start: Callable[[User, User], Run]
    before: tuple[str, ...] = ()
    warm: bool = False
    services: tuple[str, ...] = ("web",)


def _create(emmy: User, admin: User) -> Run:
    return approve(emmy, admin, services=["web"])


def _retire(emmy: User, _admin: User) -> Run:
    return platforms.retire_platform(acting_user=emmy, slug=SLUG, confirm=SLUG)


def _retire_lost(emmy: User, admin: User) -> Run:
    """Its host is gone for good, with everything on it."""
    host = Platform.objects.get(slug=SLUG).host
    gone = hypervisor_of(host)
    assert isinstance(gone, FakeHypervisor)
    gone.faults.unreachable = True
    reconcile.reconcile_host(host.pk)
    lost.declare_lost(acting_user=admin, host_name=host.name, confirm=host.name)
    return _retire(emmy, admin)


def _power(action: str) -> Callable[[User, User], Run]:
    return lambda emmy, _admin: platforms.power_platform(acting_user=emmy, slug=SLUG, action=action)


def _change(**wish: Any) -> Callable[[User, User], Run]:
    def start(emmy: User, admin: User) -> Run:
        asked = changes.submit_change(acting_user=emmy, slug=SLUG, justification="more", confirm=SLUG, **wish)
        return requests.approve_request(acting_user=admin, request_id=asked.pk)

    return start


def _change_saga(wish: dict[str, Any], *services: str, warm: bool = False, **steps_of: Any) -> Saga:
    nothing: dict[str, Any] = {
        "added": {},
        "removed": (),
        "resized": (),
        "grown": (),
        "told": (),
        "routes": False,
        "end": False,
    }
    listed = saga.change_steps(**{**nothing, **steps_of})
    return Saga(RunKind.CHANGE, listed, _change(**wish), ("create",), warm, services or ("web",))


def _add(emmy: User, _admin: User) -> Run:
    members.add_member(acting_user=emmy, slug=SLUG, uid=GUEST)
    return Run.objects.filter(kind="member", subject=GUEST).latest("id")


def _remove(emmy: User, _admin: User) -> Run:
    members.remove_member(acting_user=emmy, slug=SLUG, uid=GUEST)
    return Run.objects.filter(kind="member", subject=GUEST).latest("id")


def _hand_over(emmy: User, _admin: User) -> Run:
    ownership.hand_over(acting_user=emmy, slug=SLUG, uid=GUEST)
    return Run.objects.filter(kind="member", subject=GUEST).latest("id")


def _step_down(emmy: User, _admin: User) -> Run:
    ownership.step_down(acting_user=emmy, slug=SLUG, uid=emmy.username)
    return Run.objects.filter(kind="member", subject=emmy.username).latest("id")


def _repair(_emmy: User, admin: User) -> Run:
    """Everything but the volumes has gone behind the portal's back."""
    platform = Platform.objects.get(slug=SLUG)
    plan, host = platform.plan, hypervisor_of(platform.host)
    host.remove_domain(plan.machine("www").uuid)
    host.remove_network(plan.network.name)
    wiring.directory().remove_platform(SLUG, plan.uuid)
    wiring.edge().remove_site(SLUG, plan.uuid)
    reconcile.reconcile()
    return drift.repair_drift(acting_user=admin, drift_id=Drift.objects.get(what="domain").pk)


NEWER = {"www": "placo-www-000000000001"}


def _rebuild(emmy: User, _admin: User) -> Run:
    """Its image was built anew meanwhile."""
    images = wiring.images()
    assert isinstance(images, FakeImages)
    images.versions["www"] = 1
    return rebuilds.rebuild_platform(acting_user=emmy, slug=SLUG)


MENDING = saga.Mending(
    PlatformState.READY, machines=("www",), restart=frozenset({"www"}), accounts=("www",), members=("emmy",)
)


def _power_saga(kind: RunKind, *before: str) -> Saga:
    return Saga(kind, saga.power_steps(kind, IMAGES), _power(kind.value), before)


SAGAS = {
    "create": Saga(RunKind.CREATE, saga.create_steps(IMAGES), _create),
    "create-warm": Saga(RunKind.CREATE, saga.create_steps(IMAGES), _create, warm=True),
    "retire": Saga(RunKind.RETIRE, saga.retire_steps(IMAGES), _retire, ("create",)),
    "retire-lost": Saga(RunKind.RETIRE, saga.retire_steps(IMAGES), _retire_lost, ("create",)),
    "stop": _power_saga(RunKind.STOP, "create"),
    "start": _power_saga(RunKind.START, "create", "stop"),
    "restart": _power_saga(RunKind.RESTART, "create"),
    "suspend": _power_saga(RunKind.SUSPEND, "create"),
    "resume": _power_saga(RunKind.RESUME, "create", "suspend"),
    "more-services": _change_saga({"services": ["web", "svn"]}, added=SVN, routes=True),
    "more-services-warm": _change_saga({"services": ["web", "svn"]}, added=SVN, routes=True, warm=True),
    "fewer-services": _change_saga({"services": ["web"]}, "web", "svn", removed=["svn"], routes=True),
    "mail-added": _change_saga({"services": ["web", "webmail"]}, added=MAIL, routes=True),
    "mail-retired": Saga(
        RunKind.RETIRE, saga.retire_steps(MAIL), _retire, ("create",), services=("webmail",)
    ),
    "more-memory": _change_saga({"sizes": {"www": {"memory_mib": 1024, "vcpus": 2}}}, resized=["www"]),
    "more-disk": _change_saga({"sizes": {"www": {"data_volume_gib": 20}}}, grown=["www"]),
    "other-settings": _change_saga({"options": {"webmail": {"quota_mib": 20}}}, "webmail", told=["mail"]),
    "longer": _change_saga({"expires_on": timezone.localdate() + timedelta(days=200)}, end=True),
    "repair": Saga(RunKind.REPAIR, saga.repair_steps(MENDING), _repair, ("create",)),
    "rebuild": Saga(RunKind.REBUILD, saga.rebuild_steps(NEWER), _rebuild, ("create",)),
    "rebuild-warm": Saga(RunKind.REBUILD, saga.rebuild_steps(NEWER), _rebuild, ("create",), warm=True),
    "add": Saga(RunKind.MEMBER, saga.member_steps(GUEST), _add, ("create",)),
    "remove": Saga(RunKind.MEMBER, saga.member_steps(GUEST), _remove, ("create", "add")),
    "hand-over": Saga(RunKind.MEMBER, saga.member_steps(GUEST), _hand_over, ("create", "add")),
    "step-down": Saga(RunKind.MEMBER, saga.member_steps("emmy"), _step_down, ("create", "add", "hand-over")),
}
