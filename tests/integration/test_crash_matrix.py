"""Every step of every saga, disturbed in every way: afterwards the platform is complete or nothing of it is left.

The list of steps is the sagas' own, so that a new step is disturbed too. What "complete" is, an undisturbed run of the same
saga says: the same things in the world, the same power, the same books. What is there before a saga is made once and put back for each disturbance.
"""

from __future__ import annotations

import io
import os
import signal
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_django
from django.db import connection, connections, transaction
from django.utils import timezone

from placo import wiring
from placo.domain import saga
from placo.domain.lifecycle import PlatformState, RunKind
from placo.domain.saga import StepSpec, Verb
from placo.drivers.fake_hypervisor import FakeHypervisor
from placo.drivers.fake_images import FakeImages
from placo.drivers.ports import DriverError, Power, Rejected
from placo.platforms.models import (
    Drift,
    JournalEntry,
    LedgerEntry,
    Platform,
    Request,
    Run,
    Step,
    User,
)
from placo.services import (
    audit,
    changes,
    decisions,
    drift,
    engine,
    lost,
    members,
    ownership,
    platforms,
    rebuilds,
    reconcile,
    requests,
    seeds,
    steps,
)
from placo.services.work import Answer, Done, Guard, hypervisor_of
from tests.factories import approve, make_hosts, make_project, make_user, ready_platform
from tests.fakes import World, make_world
from tests.integration.kept import Kept, keep, put_back

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
PLACES = [
    pytest.param(name, step.id, id=f"{name}-{step.id}") for name, way in SAGAS.items() for step in way.steps
]


def test_every_kind_of_run_is_disturbed() -> None:
    assert {way.kind for way in SAGAS.values()} == set(RunKind)


# --- what is there, and what should be -------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """Everything that may be left behind, without what differs between two platforms of the same making."""

    platform: str
    world: tuple[str, ...]
    powers: tuple[str, ...]
    sizes: tuple[str, ...]
    told: tuple[str, ...]
    end: str
    members: tuple[str, ...]
    ledger: tuple[tuple[bool, int, int, int], ...]
    orphans: tuple[str, ...]


def _state(world: World) -> State:
    platform = Platform.objects.get(slug=SLUG)
    rows = LedgerEntry.objects.order_by("id").values_list("committed", "machines", "memory_mib", "disk_gib")
    host = world.host_of(platform)
    found = () if host.faults.unreachable else host.inventory().domains
    domains = sorted(found, key=lambda domain: domain.name)
    sizes = [
        f"{spec['name']} {spec['memory_mib']} {spec['vcpus']} {host.file_system(spec['uuid'])}"
        for spec in (host.definition(domain.uuid) for domain in domains)
    ]
    return State(
        platform=platform.state,
        world=tuple(f"{f.kind} {f.name.replace(platform.uuid.hex[:8], '*')}" for f in world.audit(SLUG)),
        powers=tuple(f"{d.name} {d.power} {d.autostart}" for d in domains),
        sizes=tuple(sizes),
        told=tuple(_told(host, platform)),
        end=str(platform.expires_on),
        members=tuple(f"{uid} {owner}" for uid, owner in world.directory.members(SLUG).items()),
        ledger=tuple(rows),
        orphans=tuple(map(str, audit.orphans())),
    )


def _told(host: FakeHypervisor, platform: Platform) -> Iterator[str]:
    """How much room the settings that a mail machine had last leave for mail; those it came to life with are its first plan's."""
    first = platform.requests.get(kind=Request.CREATE).plan
    for machine in first.machines:
        if machine.name != "mail" or host.faults.unreachable or host.power(machine.uuid) is Power.MISSING:
            continue
        archive = host.told(machine.uuid) or seeds.archive(first, machine)
        with tarfile.open(fileobj=io.BytesIO(archive)) as settings:
            file = settings.extractfile("root/etc/dovecot/dovecot.conf")
            assert file is not None
            yield from (line for line in file.read().decode().splitlines() if "quota_rule" in line)


def _sound_books(run: Run) -> None:
    """The journal has an intention before every outcome, every step has ended as the run has, and nobody holds a lease."""
    assert set(run.steps.values_list("state", flat=True)) <= {run.state, "skipped"}
    assert not run.steps.exclude(lease_until=None).exists()
    for step in run.steps.all():
        intended = set()
        for entry in JournalEntry.objects.filter(step=step).order_by("id"):
            if entry.event == "intended":
                intended.add(entry.fence)
            else:
                assert entry.fence in intended, (step.name, entry.event)
    assert run.due_at is None


def _until(world: World, way: Saga, emmy: User, admin: User) -> None:
    for name in way.before:
        if name == "create":
            ready_platform(world, emmy, admin, services=list(way.services))
        else:
            assert world.finish(SAGAS[name].start(emmy, admin).pk).state == "done"


@dataclass(frozen=True)
class Undisturbed:
    """What there was before a saga, if anything, and after it. From `beginning` on it can be done again."""

    beginning: Kept
    before: State | None
    after: State


@pytest.fixture(scope="module")
def undisturbed(
    django_db_setup: None,
    django_db_blocker: pytest_django.DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Undisturbed]:
    """Every saga once, in worlds of their own that are forgotten afterwards. For tests that have a database."""
    assert str(connection.settings_dict["NAME"]).startswith("test_")
    found = {}
    for name, way in SAGAS.items():
        with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock(), transaction.atomic():
            folder = tmp_path_factory.mktemp(name)
            world = make_world(patch, folder)
            emmy, admin = make_user("emmy"), make_user("ada", administrator=True)
            make_hosts()
            make_project("optics", emmy)
            if way.warm:
                world.warm()
            _until(world, way, emmy, admin)
            beginning = keep(world, folder, tmp_path_factory.mktemp(f"{name}-kept"))
            before = _state(world) if way.before else None
            run = world.finish(way.start(emmy, admin).pk)
            assert run.state == "done"
            assert {step.name for step in run.steps.all()} == {step.id for step in way.steps}, name
            _sound_books(run)
            found[name] = Undisturbed(beginning, before, _state(world))
            transaction.set_rollback(True)
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("name", SAGAS)
def test_undisturbed(name: str, undisturbed: dict[str, Undisturbed]) -> None:
    """That complete means complete, and gone means gone."""
    state = undisturbed[name].after
    kept = {"addresses"} if name == "retire-lost" else set()  # of what may still be on the lost host
    everything = {"domain", "volume", "network", "directory", "edge", "certificate", "addresses", "quota",
                  "membership", "machine"}  # fmt: skip
    everything |= {"names"}
    everything |= {"mail"} if name in ("mail-added", "other-settings") else set()
    assert {item.split()[0] for item in state.world} == (everything if state.platform != "retired" else kept)
    assert state.orphans == ()
    assert len(state.ledger) == (1 if state.platform != "retired" else 0)


# --- the disturbances ------------------------------------------------------------------------------------------------

Perform = Callable[[Step, Verb, Guard], Answer]


class Disturbed:
    """Stands in for `steps.perform` and disturbs the first `times` executions of one step."""

    def __init__(
        self, real: Perform, place: str, how: Callable[[Perform, Step, Verb, Guard], Answer]
    ) -> None:
        self._real, self._place, self._how = real, place, how
        self.disturbed = 0
        self.times = 1
        self.done: list[str] = []

    def __call__(self, step: Step, verb: Verb, guard: Guard) -> Answer:
        if step.name == self._place and self.disturbed < self.times:
            self.disturbed += 1
            return self._how(self._real, step, verb, guard)
        answer = self._real(step, verb, guard)
        if isinstance(answer, Done):
            self.done.append(step.name)
        return answer


@pytest.fixture
def begin(
    world: World, undisturbed: dict[str, Undisturbed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[Run, Disturbed]]:
    """`begin(saga, step, how)`: a run whose step will be disturbed, and the disturbance."""

    def begun(
        name: str, place: str, how: Callable[[Perform, Step, Verb, Guard], Answer]
    ) -> tuple[Run, Disturbed]:
        put_back(undisturbed[name].beginning, world, tmp_path)
        emmy, admin = (User.objects.get(username=uid) for uid in ("emmy", "ada"))
        disturbed = Disturbed(steps.perform, place, how)
        monkeypatch.setattr(steps, "perform", disturbed)
        return SAGAS[name].start(emmy, admin), disturbed

    return begun


Begin = Callable[..., tuple[Run, Disturbed]]


@pytest.fixture
def complete(undisturbed: dict[str, Undisturbed], world: World) -> Callable[[str, Run, Disturbed], None]:
    """`complete(saga, run, disturbed)`: finish the run and hold it against an undisturbed one."""

    def check(name: str, run: Run, disturbed: Disturbed) -> None:
        run = world.finish(run.pk)
        assert disturbed.disturbed
        assert run.state == "done", [(s.name, s.state, s.error) for s in run.steps.all()]
        _sound_books(run)
        assert _state(world) == undisturbed[name].after

    return check


Complete = Callable[[str, Run, Disturbed], None]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_failing_before_the_effect(name: str, place: str, begin: Begin, complete: Complete) -> None:
    def how(_real: Perform, _step: Step, _verb: Verb, _guard: Guard) -> Answer:
        raise DriverError("before")

    complete(name, *begin(name, place, how))


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_failing_after_the_effect(name: str, place: str, begin: Begin, complete: Complete) -> None:
    def how(real: Perform, step: Step, verb: Verb, guard: Guard) -> Answer:
        real(step, verb, guard)
        raise DriverError("after")

    complete(name, *begin(name, place, how))


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_doing_twice(name: str, place: str, begin: Begin, complete: Complete) -> None:
    def how(real: Perform, step: Step, verb: Verb, guard: Guard) -> Answer:
        real(step, verb, guard)
        step.attempts += 1  # what the engine would have counted
        return real(step, verb, guard)

    complete(name, *begin(name, place, how))


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_two_workers_at_once(name: str, place: str, begin: Begin, complete: Complete) -> None:
    """While one worker is inside the step, another one does whatever else is due: never this step."""
    meanwhile: list[str] = []

    def how(real: Perform, step: Step, verb: Verb, guard: Guard) -> Answer:
        engine.advance(step.run_id)
        meanwhile.extend(disturbed.done)
        return real(step, verb, guard)

    run, disturbed = begin(name, place, how)
    complete(name, run, disturbed)
    assert place not in meanwhile
    assert disturbed.done.count(place) == 0  # once, by the first worker


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_losing_the_lease_in_the_middle(
    name: str, place: str, world: World, begin: Begin, complete: Complete
) -> None:
    """At its first effect the worker's lease is over, and another worker does the step: the first one does nothing more."""
    effects: list[str] = []

    def how(real: Perform, step: Step, verb: Verb, guard: Guard) -> Answer:
        taken_over = False

        def slow() -> None:
            nonlocal taken_over
            if not taken_over:
                taken_over = True
                world.lose_leases(step.run_id)
                engine.advance(step.run_id)
            guard()
            effects.append(step.name)

        return real(step, verb, slow)

    run, disturbed = begin(name, place, how)
    complete(name, run, disturbed)
    assert effects == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("name", "place"), PLACES)
def test_killed_between_effect_and_journal(
    name: str, place: str, world: World, begin: Begin, complete: Complete
) -> None:
    """A worker of its own process gets SIGKILL when the effect is there and nobody has heard of it."""

    def how(real: Perform, step: Step, verb: Verb, guard: Guard) -> Answer:
        real(step, verb, guard)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")

    run, disturbed = begin(name, place, how)
    assert _in_a_process(lambda: world.finish(run.pk)) == -signal.SIGKILL
    disturbed.disturbed = 1
    assert run.steps.get(name=place).lease_until is not None
    world.lose_leases(run.pk)
    complete(name, run, disturbed)
    assert run.steps.get(name=place).attempts >= 2


def _in_a_process(work: Callable[[], Any]) -> int:
    """Do `work` in a child of this process; its exit status, negative for a signal, as subprocess has it."""
    connections.close_all()
    connection.close_pool()  # type: ignore[attr-defined] # of the PostgreSQL backend: its threads do not survive a fork
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    _pid, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


UNDOABLE = [
    pytest.param(name, step.id, id=f"{name}-{step.id}")
    for name, way in SAGAS.items()
    for step in way.steps
    if way.kind not in (RunKind.RETIRE, RunKind.REPAIR)
    and not step.final  # an undone repair has mended all the same
]


@pytest.mark.parametrize(("name", "place"), UNDOABLE)
def test_undoing_everything_twice(
    name: str,
    place: str,
    world: World,
    begin: Begin,
    undisturbed: dict[str, Undisturbed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The step did its effect and is then refused for good; every undo happens twice: nothing is left of the run."""

    def how(real: Perform, step: Step, verb: Verb, guard: Guard) -> Answer:
        real(step, verb, guard)
        raise Rejected("never")

    run, disturbed = begin(name, place, how)
    run = world.finish(run.pk)
    if run.state == "stuck":
        decisions.undo_run(acting_user=User.objects.get(username="emmy"), run_id=run.pk)
    once = steps.perform

    def twice(step: Step, verb: Verb, guard: Guard) -> Answer:
        once(step, verb, guard)
        return once(step, verb, guard)

    monkeypatch.setattr(steps, "perform", twice)
    run = world.finish(run.pk)

    assert disturbed.disturbed
    assert run.state == "undone", [(s.name, s.state, s.error) for s in run.steps.all()]
    _sound_books(run)
    found = _state(world)
    assert found.orphans == ()
    if SAGAS[name].kind is RunKind.CREATE:
        assert (found.platform, found.world, found.powers, found.members, found.ledger) == (
            "failed",
            (),
            (),
            (),
            (),
        )
    elif name not in ("remove", "step-down"):  # who could not be removed is no member afterwards all the same
        assert found == undisturbed[name].before
