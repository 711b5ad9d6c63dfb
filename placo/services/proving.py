"""Making a proof: stand-ins come, knock at every door of a platform, and go; what happened is told to services/proofs.py.

A proof holds its worker for a bounded time (`LONGEST_S`): doors are tried at the same time, each try is bounded, and a door that says
nothing at first is not asked again. Nothing that it makes outlives it: it takes its stand-ins away at the end, and when it died,
the next look of beat does. Their passwords are random and nowhere but in this process.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from uuid import NAMESPACE_OID, uuid5

from django.db import transaction

from placo import wiring
from placo.domain import proofs as rules
from placo.domain import protocols, stand_ins
from placo.domain.doors import KEY, Access
from placo.domain.proofs import BOUND_S, Case, Trial
from placo.domain.stand_ins import Role
from placo.drivers.doors import Answer, Door, Outcome
from placo.drivers.ports import DriverError, Person
from placo.drivers.ssh import new_key
from placo.platforms.models import Platform, Proof, ProofCase
from placo.services import clock, proofs, seeds

T = TypeVar("T")
log = logging.getLogger("placo.proofs")

AT_ONCE = 4
"""Doors at which somebody knocks at the same time, before a member is removed: machines share processors."""
TRY_S = 25.0
"""How long one try may take."""
ADMITTED_S = 40.0
"""How long a new member is tried until a door knows of them."""
SILENT_S = 3.0
"""How long a door that has answered before is asked again when it says nothing: a server that reads its settings anew may."""
MEASURED_S = 15.0
"""How long it is measured whether a removed member is refused."""
LONGEST_S = 200.0
"""How long all tries may take; less than the lease of a proof."""
PAUSE_S = 0.2
INSIDE = (Role.MEMBER, Role.OWNER, Role.EXPIRED, Role.CARELESS)
"""Those who are members of the platform that is proven."""


class SupersededError(Exception):
    """The proof is over by now: this worker took too long."""


@dataclass(frozen=True)
class Place:
    """A door of a platform, with its name in the catalogue."""

    service: str
    endpoint: str
    access: Access
    door: Door


def places(platform: Platform) -> list[Place]:
    """Every address of the platform that the catalogue says how to try."""
    plan, catalogue, edge = platform.plan, wiring.catalogue(), wiring.site().edge
    planned = {(e.service, e.url): e for e in plan.endpoints}
    own_ports = {(e.service, e.host): e.edge_port for e in plan.endpoints}
    found = []
    for name in plan.services:
        service = catalogue.services.get(name)
        options = plan.options.get(name, {})
        for endpoint in service.endpoints if service else ():
            host = f"{endpoint.label(plan.slug)}.{edge.domain}"
            own = own_ports.get((name, host)) if endpoint.protocol == protocols.SSH else edge.port
            path = endpoint.path_for(plan.slug, options)
            url = protocols.address(endpoint.protocol, host, path, own, endpoint.user)
            there = planned.get((name, url))
            if there is not None:  # what came into the catalogue later is not there yet
                path = endpoint.login_path_for(plan.slug, options)
                key = seeds.host_key_line(plan.machine(there.machine)) if there.edge_port else ""
                door = Door(
                    host, endpoint.protocol, path, endpoint.login, there.edge_port, key, endpoint.user
                )
                found.append(Place(name, endpoint.name, endpoint.access_for(options), door))
    return found


def make(proof_id: int) -> None:
    """Make a proof that was asked for; nothing if somebody else does, or did."""
    proof = _claim(proof_id)
    if proof is None:
        return
    state, reason, cases = Proof.BROKEN, "", []
    making = _Making(proof)
    try:
        cases = making.all()
        state = Proof.PASSED if all(case.passed for case in cases) else Proof.FAILED
        if proofs.disturbed(proof.platform, proof.began_at or proof.asked_at):
            state, reason, cases = Proof.BROKEN, Proof.CHANGED, []
    except SupersededError:
        log.warning("proof=%s took too long: it was ended by others", proof.pk)
        return
    except DriverError as error:
        reason = Proof.DIRECTORY
        log.warning("proof=%s of %s: %s", proof.pk, proof.platform.slug, error)
    except Exception:
        reason = Proof.ERROR
        log.exception("proof=%s of %s broke", proof.pk, proof.platform.slug)
    finally:
        making.take_away()
    proofs.end(proof.pk, state, reason=reason, cases=cases)


def _claim(proof_id: int) -> Proof | None:
    with transaction.atomic():
        rows = Proof.objects.select_for_update(of=("self",), skip_locked=True).select_related(
            "platform__host"
        )
        proof = rows.filter(pk=proof_id, state=Proof.ASKED).first()
        if proof is None:
            return None
        if not proofs.provable(proof.platform):
            proofs.end(proof.pk, Proof.BROKEN, reason=Proof.CHANGED)
            return None
        proof.state, proof.began_at = Proof.GOING, clock.now()
        proof.save(update_fields=["state", "began_at"])
    return proof


@dataclass
class _Making:
    """One proof under way."""

    proof: Proof
    passwords: dict[Role, str] = field(default_factory=dict, repr=False)
    keys: dict[Role, str] = field(default_factory=dict, repr=False)
    """Private keys of ssh, where a door takes one."""
    until: float = 0.0

    def all(self) -> list[ProofCase]:
        """Every case at every door, in the order of the doors."""
        self.until = time.monotonic() + LONGEST_S
        doors = places(self.proof.platform)
        self._bring(doors)
        if not doors:
            return []
        with ThreadPoolExecutor(max_workers=AT_ONCE) as threads:
            first = _side_by_side(threads, self._before, doors)
        with ThreadPoolExecutor(max_workers=len(doors)) as threads:
            open_ = [place for place, cases in zip(doors, first, strict=True) if _let_in(cases)]
            removed_at = time.monotonic()
            self._remove()
            last = _side_by_side(threads, lambda place: self._after(place, removed_at), open_)
        measured = {case.service + case.endpoint: case for case in last}
        return [
            case
            for place, cases in zip(doors, first, strict=True)
            for case in (*cases, measured.get(place.service + place.endpoint))
            if case is not None
        ]

    # --- stand-ins ---

    def _uid(self, role: Role) -> str:
        return stand_ins.uid_of(self.proof.platform_id, role)

    def _bring(self, doors: Iterable[Place]) -> None:
        """Make the stand-ins, as far as these doors need them."""
        directory, platform = wiring.directory(), self.proof.platform
        owners = any(place.access is Access.OWNERS for place in doors)
        keys = any(KEY in place.door.login.ways for place in doors)
        elsewhere = stand_ins.slug_of(platform.pk)
        self._still()
        directory.ensure_platform(elsewhere, _uuid_of(platform), ())
        for role in Role:
            if role is Role.OWNER and not owners:
                continue
            uid, password = self._uid(role), secrets.token_urlsafe(24)
            # One who was left by a proof that died is made anew: nothing of it holds any more.
            self._still()
            proofs.take_away(directory, uid)
            over = clock.now() - timedelta(days=1) if role is Role.EXPIRED else None
            mail = f"{uid}@{stand_ins.MAIL_DOMAIN}"
            directory.ensure_guest(Person(uid, f"Stand-in ({role})", mail, guest=True, ends_at=over))
            directory.set_guest_password(uid, password)
            self.passwords[role] = password
            if keys:
                self.keys[role], public = new_key()
                directory.set_ssh_keys(uid, [public])
            if role in INSIDE:
                directory.ensure_member(platform.slug, uid, owner=owners and role is not Role.MEMBER)
            elif role is Role.STRANGER:
                directory.ensure_member(elsewhere, uid)

    def _remove(self) -> None:
        self._still()
        for role in (Role.OWNER, Role.MEMBER):
            if role in self.passwords:
                wiring.directory().remove_member(self.proof.platform.slug, self._uid(role))

    def take_away(self) -> None:
        """None of them is there afterwards; what cannot be taken away now is taken away by the next look (proofs.sweep)."""
        directory, platform = wiring.directory(), self.proof.platform
        try:
            self._still()
            for role in Role:
                proofs.take_away(directory, self._uid(role))
            directory.remove_platform(stand_ins.slug_of(platform.pk), _uuid_of(platform))
        except (DriverError, SupersededError) as error:
            log.warning("stand-ins of %s are taken away later: %s", platform.slug, error)

    def _still(self) -> None:
        """SupersededError if the proof is not this worker's any more: the stand-ins belong to another one, or to none."""
        if not Proof.objects.filter(pk=self.proof.pk, state=Proof.GOING).exists():
            raise SupersededError

    # --- doors; in threads of their own, without the database ---

    def _before(self, place: Place) -> list[ProofCase]:
        """All cases but that of who is removed. Where the first gets no answer, the others are not tried."""
        login = place.door.login.by
        found: list[ProofCase] = []
        for trial in rules.trials(place.access, login, place.door.protocol):
            if found and found[0].answer == Answer.SILENT:
                found.append(self._case(place, trial.case, Outcome(Answer.SILENT, "not tried"), passed=False))
                continue
            began = time.monotonic()
            outcome = self._patiently(place, trial)
            right = Answer.ADMITTED if trial.admitted else Answer.REFUSED
            took = time.monotonic() - began
            found.append(self._case(place, trial.case, outcome, passed=outcome.answer is right, seconds=took))
        return found

    def _patiently(self, place: Place, trial: Trial) -> Outcome:
        """Who is to be let in is tried for a while: a machine may have to hear of them first. Who is not, until there is an answer."""
        give_up = time.monotonic() + (ADMITTED_S if trial.admitted else SILENT_S)
        final = (Answer.ADMITTED,) if trial.admitted else (Answer.ADMITTED, Answer.REFUSED)
        while True:
            outcome = self._try(place, trial.role, right=trial.right)
            if outcome.answer in final or time.monotonic() + PAUSE_S >= give_up:
                return outcome
            time.sleep(PAUSE_S)

    def _after(self, place: Place, removed_at: float) -> ProofCase:
        """How long the door lets a removed member in: until the first try begins that is refused. How long a machine takes to say no
        (programs wait on purpose before they do) is no time in which somebody is in."""
        role = rules.insider(place.access)
        while True:
            began = time.monotonic() - removed_at
            outcome = self._try(place, role, right=True)
            if outcome.answer is Answer.REFUSED or began > MEASURED_S:
                break
            time.sleep(PAUSE_S)
        passed = outcome.answer is Answer.REFUSED and began <= BOUND_S
        return self._case(place, Case.REMOVED, outcome, passed=passed, seconds=began)

    def _try(self, place: Place, role: Role | None, *, right: bool) -> Outcome:
        left = min(TRY_S, self.until - time.monotonic())
        if left <= 0:
            return Outcome(Answer.SILENT, "no time was left")
        if role is None:
            return wiring.doorman().try_door(place.door, None, "", left)
        password = self.passwords[role] if right else secrets.token_urlsafe(24)
        key = ""
        if KEY in place.door.login.ways:
            key = self.keys[role] if right else new_key()[0]
        return wiring.doorman().try_door(place.door, self._uid(role), password, left, key=key)

    def _case(
        self, place: Place, case: Case, outcome: Outcome, *, passed: bool, seconds: float | None = None
    ) -> ProofCase:
        return ProofCase(
            proof=self.proof,
            service=place.service,
            endpoint=place.endpoint,
            access=place.access.value,
            case=case.value,
            answer=outcome.answer.value,
            passed=passed,
            seconds=seconds,
            said=outcome.said[:200],
        )


def _let_in(cases: Sequence[ProofCase]) -> bool:
    """Whether it can be measured when the member is refused: they were let in."""
    return any(case.case == Case.INSIDER and case.answer == Answer.ADMITTED for case in cases)


def _side_by_side(threads: ThreadPoolExecutor, work: Callable[[Place], T], doors: Sequence[Place]) -> list[T]:
    """`work` at each door at the same time; log lines say what they are about there, too."""
    return [f.result() for f in [threads.submit(copy_context().run, work, place) for place in doors]]


def _uuid_of(platform: Platform) -> str:
    """The stand-in platform's UUID."""
    return str(uuid5(NAMESPACE_OID, f"stand-in of {platform.uuid}"))
