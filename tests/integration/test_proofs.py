"""Proofs of platforms, on the fakes: what is tried, what fails them, what they leave, and what is left when they die."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import Any

import pytest

from placo import wiring
from placo.domain import stand_ins
from placo.domain.lifecycle import PlatformState
from placo.domain.proofs import Case
from placo.drivers.doors import Answer, Door, Outcome
from placo.drivers.ports import StandIns
from placo.platforms.models import (
    AuditEvent,
    Drift,
    Membership,
    Notice,
    Platform,
    Project,
    Proof,
    ProofCase,
    Run,
    User,
)
from placo.services import books, members, notices, proofs, proving, reconcile
from placo.services.errors import Conflict, Forbidden, NotFound, TooMany
from tests import factories
from tests.fakes import World
from tests.integration.conftest import Clock

NOTHING = StandIns((), {})
DOORS = ("repository", "repositories")
"""The addresses of Subversion, at one host."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doors of the fakes answer at once: nobody waits long for another answer."""
    monkeypatch.setattr(proving, "ADMITTED_S", 0.2)
    monkeypatch.setattr(proving, "SILENT_S", 0.2)
    monkeypatch.setattr(proving, "MEASURED_S", 0.5)
    monkeypatch.setattr(proving, "PAUSE_S", 0.02)


@pytest.fixture
def alpha(world: World, optics: Project, emmy: User, admin: User) -> Platform:
    made = factories.ready_platform(
        world, emmy, admin, services=["web", "svn", "wiki", "chat"], options={"wiki": {"public": True}}
    )
    world.doorman.public.add(host(made, "wiki"))
    return made


@pytest.fixture
def committed(django_capture_on_commit_callbacks: Any) -> Any:
    """`with committed(execute=True)`: what is told after a commit is told."""
    return django_capture_on_commit_callbacks


def prove(platform: Platform, user: User) -> Proof:
    """Ask for a proof, and make it as a worker does."""
    proof = proofs.ask(acting_user=user, slug=platform.slug)
    proving.make(proof.pk)
    proof.refresh_from_db()
    return proof


def failed(proof: Proof) -> set[tuple[str, str, str]]:
    return set(proof.cases.filter(passed=False).values_list("service", "endpoint", "case"))


def host(platform: Platform, service: str) -> str:
    return next(e.host for e in platform.plan.endpoints if e.service == service)


# --- what is tried -------------------------------------------------------------------------------------------------------


def test_every_case_is_tried_at_every_door(alpha: Platform, emmy: User, world: World) -> None:
    proof = prove(alpha, emmy)
    assert proof.state == Proof.PASSED, failed(proof)
    found: dict[tuple[str, str], set[str]] = {}
    for case in proof.cases.all():
        found.setdefault((case.service, case.endpoint), set()).add(case.case)
    inside = {c.value for c in Case} - {Case.MEMBER}
    assert found == {
        ("web", "site"): {Case.ANYBODY},
        ("web", "members"): inside,
        ("web", "files"): inside,
        ("svn", "repository"): inside,
        ("svn", "repositories"): inside,
        ("wiki", "wiki"): inside,
        ("chat", "server"): inside - {Case.ANYBODY},
    }
    answers = dict(proof.cases.filter(service="svn").values_list("case", "answer"))
    assert answers.pop("insider") == Answer.ADMITTED
    assert set(answers.values()) == {Answer.REFUSED}
    removed = proof.cases.filter(case=Case.REMOVED)
    assert all(case.seconds is not None and 0 <= case.seconds < 5 for case in removed)
    assert world.directory.stand_ins() == NOTHING


def test_where_only_owners_may_come_in_members_are_refused(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    alpha = factories.ready_platform(
        world, emmy, admin, services=["web"], options={"web": {"owners_only": True}}
    )
    members_may = prove(alpha, emmy)
    assert failed(members_may) == {("web", "files", "member")}, "the fake lets members in"
    of_members = world.doorman.knows

    def of_owners(door: Door, uid: str, password: str) -> bool:
        owners = world.directory.insiders("alpha", owners=True)
        return of_members(door, uid, password) and (door.path != "/dav/" or uid in owners)

    world.doorman.knows = of_owners
    proof = prove(alpha, emmy)
    assert proof.state == Proof.PASSED, failed(proof)
    assert proof.cases.get(endpoint="files", case="member").answer == Answer.REFUSED
    assert proof.cases.get(endpoint="files", case="insider").answer == Answer.ADMITTED


def test_every_service_of_the_catalogue_is_tried(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    """A brick that comes tomorrow is in this test tomorrow."""
    Project.objects.update(
        quota_platforms=99, quota_machines=99, quota_vcpus=99, quota_memory_mib=99_999, quota_disk_gib=9_999
    )
    services = sorted(wiring.catalogue().services)
    alpha = factories.ready_platform(world, emmy, admin, services=services)
    proof = prove(alpha, emmy)
    assert proof.state == Proof.PASSED, failed(proof)
    tried = set(proof.cases.values_list("service", "endpoint"))
    wanted = {
        (service, endpoint.name)
        for service in services
        for endpoint in wiring.catalogue().services[service].endpoints
        if endpoint.protocol != "smtp"
    }
    assert tried == wanted


def test_ssh_is_tried_with_keys_that_nobody_else_sees(
    world: World, optics: Project, emmy: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stand-in has a key of their own in the directory, at a door with the machine's own host key; afterwards none is left."""
    alpha = factories.ready_platform(world, emmy, admin, services=["gateway", "server"])
    seen: list[tuple[Door, str, str]] = []
    real = world.doorman.try_door

    def noted(door: Door, uid: str | None, password: str, timeout_s: float, *, key: str = "") -> Outcome:
        assert world.directory.ssh_keys() == {}, "the portal's own look takes them for nobody's"
        seen.append((door, str(uid), key))
        return real(door, uid, password, timeout_s)

    monkeypatch.setattr(world.doorman, "try_door", noted)
    proof = prove(alpha, emmy)
    tried = {(c.service, c.case) for c in proof.cases.all()}
    inside = {c.value for c in Case} - {Case.ANYBODY, Case.MEMBER}
    assert tried == {(s, c) for s in ("gateway", "server") for c in inside} | {("server", "member")}
    assert {(door.port, door.user) for door, _uid, _key in seen} == {
        (e.edge_port, "root" if e.service == "server" else "") for e in alpha.plan.endpoints
    }
    assert all(door.host_key.startswith("ssh-ed25519 ") and key for door, _uid, key in seen)
    assert len({door.host_key for door, _uid, _key in seen}) == 2
    of_member = {key for _door, uid, key in seen if uid.endswith("-member")}
    assert len(of_member) == 1, "the same one each time"
    assert not {key for _door, uid, key in seen if uid.endswith("-careless")} & of_member
    assert world.directory.stand_ins() == NOTHING
    assert list(world.directory._shelf.all("keys")) == []


# --- what fails them -------------------------------------------------------------------------------------------------------


def test_a_door_that_lets_everybody_in_fails(alpha: Platform, emmy: User, world: World) -> None:
    world.doorman.wide_open.add(host(alpha, "svn"))
    proof = prove(alpha, emmy)
    assert proof.state == Proof.FAILED
    wrong = {"anybody", "outsider", "stranger", "expired", "password", "removed"}
    assert failed(proof) == {("svn", door, case) for door in DOORS for case in wrong}
    assert world.directory.stand_ins() == NOTHING


def test_a_door_that_lets_nobody_in_fails(alpha: Platform, emmy: User, world: World) -> None:
    world.doorman.shut.add(host(alpha, "svn"))
    proof = prove(alpha, emmy)
    assert failed(proof) == {("svn", door, "insider") for door in DOORS}
    assert not proof.cases.filter(service="svn", case="removed").exists(), (
        "nobody was in who could be put out"
    )


def test_a_door_that_is_silent_fails_and_is_not_asked_again(
    alpha: Platform, emmy: User, world: World
) -> None:
    silent = host(alpha, "svn")
    world.doorman.silent.add(silent)
    proof = prove(alpha, emmy)
    assert proof.state == Proof.FAILED
    assert {service for service, _endpoint, _case in failed(proof)} == {"svn"}
    assert {uid for name, uid in world.doorman.tried if name == silent} == {
        stand_ins.uid_of(alpha.pk, stand_ins.Role.MEMBER)
    }


def test_a_door_that_says_nothing_for_a_moment_is_asked_again(
    alpha: Platform, emmy: User, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a web server that takes up new settings."""
    outsider = stand_ins.uid_of(alpha.pk, stand_ins.Role.OUTSIDER)
    answer, once = world.doorman.try_door, {host(alpha, "svn")}

    def moody(door: Door, uid: str | None, password: str, timeout_s: float, *, key: str = "") -> Outcome:
        if uid == outsider and door.host in once:
            once.remove(door.host)
            return Outcome(Answer.SILENT, "the connection is refused or cut off")
        return answer(door, uid, password, timeout_s, key=key)

    monkeypatch.setattr(world.doorman, "try_door", moody)
    assert prove(alpha, emmy).state == Proof.PASSED
    assert not once


def test_a_door_that_remembers_too_long_fails(
    alpha: Platform, emmy: User, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "BOUND_S", 0.15)
    monkeypatch.setattr(proving, "MEASURED_S", 5)
    slow, again = host(alpha, "svn"), threading.Event()
    member = stand_ins.uid_of(alpha.pk, stand_ins.Role.MEMBER)
    known, inside = world.doorman.knows, world.directory.insiders

    def cached(door: Door, uid: str, password: str) -> bool:
        if door.host == slow and uid == member and member not in inside("alpha") and not again.is_set():
            threading.Timer(0.4, again.set).start()
            return True
        return known(door, uid, password)

    world.doorman.knows = cached
    proof = prove(alpha, emmy)
    assert failed(proof) == {("svn", door, "removed") for door in DOORS}
    for case in proof.cases.filter(passed=False):
        assert case.answer == Answer.REFUSED
        assert case.seconds is not None and case.seconds > 0.15


@pytest.mark.parametrize(
    "role, case", [("expired", "expired"), ("careless", "password"), ("stranger", "stranger")]
)
def test_each_case_is_told_apart(alpha: Platform, emmy: User, world: World, role: str, case: str) -> None:
    wrong = stand_ins.uid_of(alpha.pk, stand_ins.Role(role))
    known = world.doorman.knows
    world.doorman.knows = lambda door, uid, password: uid == wrong or known(door, uid, password)
    proof = prove(alpha, emmy)
    assert {found for _service, _endpoint, found in failed(proof)} == {case}


# --- what it leaves, and what nobody sees of it ---------------------------------------------------------------------------


def test_nobody_sees_stand_ins_while_they_are_there(
    alpha: Platform, emmy: User, world: World, client: Any
) -> None:
    client.force_login(emmy, backend="placo.web.auth.DirectoryBackend")
    seen: dict[str, object] = {}

    def look() -> None:
        uids = world.directory.stand_ins().uids
        assert len(uids) == 5
        seen["found"] = members.search_people(acting_user=emmy, slug="alpha", text="g-0-")
        seen["people"] = client.get("/platforms/alpha/people/").content.decode()
        reconcile.reconcile_site()
        seen["books"] = books.check()
        seen["known"] = [world.directory.person(uid) for uid in uids]

    making = proving._Making(_begun(alpha, emmy))
    making._bring(proving.places(alpha))
    look()
    making.take_away()
    assert seen["found"] == []
    assert "g-0-" not in str(seen["people"])
    assert seen["books"] == []
    assert seen["known"] == [None] * 5
    assert not Membership.objects.filter(uid__startswith="g-0-").exists()
    assert not User.objects.filter(username__startswith="g-0-").exists()
    assert not Drift.objects.exists()


def _begun(platform: Platform, user: User) -> Proof:
    proof = proofs.ask(acting_user=user, slug=platform.slug)
    claimed = proving._claim(proof.pk)
    assert claimed is not None
    return claimed


def test_no_password_is_told_to_anybody(
    alpha: Platform, emmy: User, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    given: set[str] = set()
    known = world.doorman.knows

    def noted(door: Door, uid: str, password: str) -> bool:
        given.add(password)
        return known(door, uid, password)

    world.doorman.knows = noted
    proof = prove(alpha, emmy)
    kept = " ".join(str(row) for model in (Proof, ProofCase, AuditEvent) for row in model.objects.values())
    assert len(given) > 5
    assert not any(password in kept + caplog.text for password in given)
    assert "assword" not in repr(proving._Making(proof, {stand_ins.Role.MEMBER: "x"}))


def test_the_audit_trail_says_who_asked_and_what_came_of_it(alpha: Platform, emmy: User) -> None:
    prove(alpha, emmy)
    told = AuditEvent.objects.filter(verb__startswith="proof.").order_by("pk")
    assert list(told.values_list("actor", "verb", "subject")) == [
        ("emmy", "proof.ask", "alpha"),
        ("placo", "proof.passed", "alpha"),
    ]


def test_old_proofs_are_forgotten(alpha: Platform, emmy: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "KEPT", 2)
    made = [prove(alpha, emmy).pk for _each in range(4)]
    assert sorted(Proof.objects.values_list("pk", flat=True)) == made[-2:]
    assert set(ProofCase.objects.values_list("proof", flat=True)) == set(made[-2:])


# --- when it cannot be made ------------------------------------------------------------------------------------------------


def test_while_the_directory_is_silent_nothing_is_said_of_the_platform(
    alpha: Platform, emmy: User, world: World
) -> None:
    world.directory.faults.unreachable = True
    proof = prove(alpha, emmy)
    assert (proof.state, proof.reason) == (Proof.BROKEN, Proof.DIRECTORY)
    assert not proof.cases.exists()
    assert not Notice.objects.exists()


def test_a_platform_that_is_stopped_meanwhile_is_not_blamed(
    alpha: Platform, emmy: User, world: World
) -> None:
    world.doorman.wide_open.add(host(alpha, "svn"))
    proof = proofs.ask(acting_user=emmy, slug="alpha")
    claimed = proving._claim(proof.pk)
    assert claimed is not None
    Platform.objects.update(state=PlatformState.STOPPED.value)
    assert proofs.disturbed(alpha, claimed.began_at or claimed.asked_at)
    proofs.end(proof.pk, Proof.BROKEN, reason=Proof.CHANGED)
    Platform.objects.update(state=PlatformState.READY.value)
    alpha.refresh_from_db()
    Run.objects.filter(platform=alpha).update(created_at=claimed.began_at)
    assert proofs.disturbed(alpha, claimed.began_at or claimed.asked_at), "a run has begun since"


def test_what_is_not_ready_is_not_tried(alpha: Platform, emmy: User) -> None:
    Platform.objects.update(state=PlatformState.STOPPED.value)
    with pytest.raises(Conflict):
        proofs.ask(acting_user=emmy, slug="alpha")
    Platform.objects.update(state=PlatformState.READY.value)
    proof = proofs.ask(acting_user=emmy, slug="alpha")
    Platform.objects.update(state=PlatformState.STOPPED.value)
    proving.make(proof.pk)
    proof.refresh_from_db()
    assert (proof.state, proof.reason) == (Proof.BROKEN, Proof.CHANGED)


def test_one_proof_at_a_time(alpha: Platform, emmy: User, admin: User, world: World) -> None:
    first = proofs.ask(acting_user=emmy, slug="alpha")
    assert proofs.ask(acting_user=admin, slug="alpha") == first
    proving.make(first.pk)
    tried = len(world.doorman.tried)
    proving.make(first.pk)
    assert len(world.doorman.tried) == tried, "a second ring does nothing"
    assert Proof.objects.count() == 1


def test_not_all_day_long(alpha: Platform, emmy: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "MOST_AN_HOUR", 2)
    for _each in range(2):
        prove(alpha, emmy)
    with pytest.raises(TooMany):
        proofs.ask(acting_user=emmy, slug="alpha")


class KilledError(BaseException):
    """The worker is gone, as by SIGKILL: nothing of its own is done after this."""


@pytest.mark.parametrize("at", [1, 2, 5, 12, 20, 21, 22, 25, 28])
def test_killed_at_any_call_of_the_directory_nothing_is_left(
    alpha: Platform, emmy: User, world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Whatever it had made is swept, and the next proof is as good as any."""
    proof = proofs.ask(acting_user=emmy, slug="alpha")
    check, calls = world.directory.faults.check, 0

    def dying(name: str) -> None:
        nonlocal calls
        calls += 1
        check(name)
        if calls >= at:
            raise KilledError

    with monkeypatch.context() as killed:
        killed.setattr(world.directory.faults, "check", dying)
        with pytest.raises(KilledError):
            proving.make(proof.pk)
    proofs.attend()
    proof.refresh_from_db()
    assert proof.state == Proof.GOING, "it may still be alive"
    clock.forward(minutes=5)
    proofs.attend()
    proof.refresh_from_db()
    assert (proof.state, proof.reason) == (Proof.BROKEN, Proof.DIED)
    assert world.directory.stand_ins() == NOTHING
    assert world.directory.insiders("alpha") == {"emmy"}
    again = prove(alpha, emmy)
    assert again.state == Proof.PASSED, failed(again)


def test_who_took_too_long_leaves_the_stand_ins_of_the_next_alone(
    alpha: Platform, emmy: User, world: World
) -> None:
    slow = proving._Making(_begun(alpha, emmy))
    slow._bring(proving.places(alpha))
    proofs.end(slow.proof.pk, Proof.BROKEN, reason=Proof.DIED)
    other = proving._Making(_begun(alpha, emmy))
    other._bring(proving.places(alpha))
    with pytest.raises(proving.SupersededError):
        slow._remove()
    slow.take_away()
    assert len(world.directory.stand_ins().uids) == 5
    assert not proofs.end(slow.proof.pk, Proof.FAILED)
    proofs.sweep()
    assert len(world.directory.stand_ins().uids) == 5, "they belong to a proof under way"
    other.take_away()
    assert world.directory.stand_ins() == NOTHING


# --- the schedule ----------------------------------------------------------------------------------------------------------


def test_each_platform_has_its_turn(
    alpha: Platform, emmy: User, admin: User, world: World, clock: Clock, configured: Any, committed: Any
) -> None:
    configured(proofs={"every_hours": 24})
    beta = factories.ready_platform(world, emmy, admin, slug="beta", services=["web"])
    assert proofs.attend() is None, "they are not an hour old"
    clock.forward(hours=2)
    with committed(execute=True):
        first = proofs.attend()
    assert first is not None and world.proofs[-1] == first
    assert Proof.objects.get(pk=first).platform == alpha
    with committed(execute=True):
        assert proofs.attend() is None, "one at a time"
    assert world.proofs[-2:] == [first, first], "rung for again: the ring may have been lost"
    proving.make(first)
    second = proofs.attend()
    assert second is not None and Proof.objects.get(pk=second).platform == beta
    proving.make(second)
    assert proofs.attend() is None
    clock.forward(hours=23)
    assert proofs.attend() is None
    clock.forward(hours=1, minutes=1)
    third = proofs.attend()
    assert third is not None and Proof.objects.get(pk=third).platform == alpha
    assert Proof.objects.get(pk=third).asked_by is None


def test_never_means_never(alpha: Platform, clock: Clock, configured: Any) -> None:
    configured(proofs={"every_hours": 0})
    clock.forward(days=30)
    assert proofs.attend() is None
    assert not Proof.objects.exists()


def test_only_what_is_ready_is_scheduled(alpha: Platform, clock: Clock) -> None:
    clock.forward(days=2)
    Platform.objects.update(state=PlatformState.STOPPED.value)
    assert proofs.attend() is None


# --- who is told -----------------------------------------------------------------------------------------------------------


def test_administrators_are_told_once_and_until_it_is_right_again(
    alpha: Platform, emmy: User, admin: User, world: World
) -> None:
    prove(alpha, emmy)
    assert not Notice.objects.exists()
    world.doorman.wide_open.add(host(alpha, "svn"))
    for _each in range(2):
        prove(alpha, emmy)
    [notice] = notices.unread(admin)
    assert (notice.kind, notice.uid, notice.platform) == (Notice.UNPROVEN, "ada", alpha)
    assert Notice.objects.count() == 1
    world.doorman.wide_open.clear()
    prove(alpha, emmy)
    assert not notices.unread(admin).exists()


def test_who_may_ask(alpha: Platform, emmy: User, sofia: User, world: World) -> None:
    alan = factories.make_user("alan")
    with pytest.raises(NotFound):
        proofs.ask(acting_user=sofia, slug="alpha")
    run = members.add_member(acting_user=emmy, slug="alpha", uid="alan")
    assert run is not None
    with pytest.raises(Forbidden):
        proofs.ask(acting_user=alan, slug="alpha")
    with pytest.raises(Forbidden):
        proofs.listed(acting_user=alan, slug="alpha")
    assert not Proof.objects.exists()


def test_the_standing_of_the_site(alpha: Platform, emmy: User, world: World, clock: Clock) -> None:
    assert proofs.standing().failed == []
    assert proofs.standing().oldest_slug == "alpha"
    world.doorman.wide_open.add(host(alpha, "svn"))
    prove(alpha, emmy)
    standing = proofs.standing()
    assert standing.failed == ["alpha"]
    assert standing.oldest is not None and clock.time - standing.oldest < timedelta(minutes=1)
    Platform.objects.update(state=PlatformState.STOPPED.value)
    assert proofs.standing() == proofs.Standing([], None, "")


def test_a_door_is_given_up_when_no_time_is_left(alpha: Platform, emmy: User, world: World) -> None:
    making = proving._Making(_begun(alpha, emmy), until=0.0)
    place = proving.places(alpha)[0]
    assert making._try(place, None, right=True) == Outcome(Answer.SILENT, "no time was left")
    assert world.doorman.tried == []
