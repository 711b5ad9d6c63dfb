"""Whatever people do in whatever order, and whatever goes wrong meanwhile: no state outside the table, no wrong books.

Hypothesis makes up sequences of commands, valid and invalid ones, and faults of the world; after each one the invariants are checked,
and at the end everything that is under way comes to an end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import translation
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from placo.domain.lifecycle import (
    ACTIVE_RUNS,
    ENDED,
    TRANSITIONS,
    PlatformState,
    RequestState,
    RunKind,
    RunState,
    StepState,
)
from placo.domain.quota import Cost
from placo.drivers.ports import DriverError, Rejected, Unavailable
from placo.platforms.models import LedgerEntry, Platform, Request, Run, User
from placo.services import audit, changes, decisions, engine, members, platforms, quota, requests
from placo.services.errors import ServiceError
from tests.factories import make_hosts, make_project, make_user, submit
from tests.fakes import World, make_world

SLUGS = st.sampled_from(["alpha", "beta"])
SERVICES = st.sampled_from([["web"], ["web", "svn"], ["svn"], ["webmail"], ["web", "webmail"]])
FAULTS = st.sampled_from([DriverError("no"), Rejected("never"), Unavailable("out")])
HOST_OPERATIONS = st.sampled_from(
    ["ensure_network", "ensure_overlay", "ensure_domain", "start_domain", "shutdown_domain", "suspend_domain",
     "tell_settings", "remove_domain", "remove_volume", "remove_network", "inventory", "power"]
)  # fmt: skip
DURING = {transition.during for transition in TRANSITIONS.values()}


class Life(RuleBasedStateMachine):
    """The portal, with people at it and workers behind it."""

    @initialize()
    def begin(self) -> None:
        self._patch = pytest.MonkeyPatch()
        self._folder = tempfile.TemporaryDirectory()
        self._database = transaction.atomic()
        self._database.__enter__()
        self.world: World = make_world(self._patch, Path(self._folder.name))
        self.emmy, self.admin = make_user("emmy"), make_user("ada", administrator=True)
        make_hosts()
        self.project = make_project("optics", self.emmy, quota_platforms=2, quota_machines=3)

    def teardown(self) -> None:
        if not hasattr(self, "_database"):
            return
        try:
            self._comes_to_an_end()
        finally:
            transaction.set_rollback(True)
            self._database.__exit__(None, None, None)
            self._patch.undo()
            self._folder.cleanup()

    def _try(self, command: Callable[[], Any]) -> None:
        """A command that is carried out whole, or refused in words and changes nothing."""
        before = self._everything()
        try:
            with transaction.atomic():
                command()
        except ServiceError:
            assert self._everything() == before

    def _everything(self) -> list[object]:
        return [
            list(model.objects.order_by("pk").values()) for model in (Platform, Request, LedgerEntry, Run)
        ]

    def _who(self, owner: bool) -> User:
        return self.emmy if owner else self.admin

    # --- what people do ---

    @rule(slug=SLUGS, services=SERVICES)
    def ask(self, slug: str, services: list[str]) -> None:
        self._try(lambda: submit(self.emmy, slug=slug, services=services))

    @rule(
        what=st.sampled_from(["approve", "approve", "approve", "reject", "withdraw", "replan"]),
        data=st.data(),
    )
    def decide(self, what: str, data: st.DataObject) -> None:
        ids = list(Request.objects.order_by("pk").values_list("pk", flat=True))
        if not ids:
            return
        pk = data.draw(st.sampled_from(ids))
        commands: dict[str, Callable[[], Any]] = {
            "approve": lambda: requests.approve_request(acting_user=self.admin, request_id=pk),
            "reject": lambda: requests.reject_request(acting_user=self.admin, request_id=pk, comment="no"),
            "withdraw": lambda: requests.withdraw_request(acting_user=self.emmy, request_id=pk),
            "replan": lambda: requests.replan_request(acting_user=self.admin, request_id=pk),
        }
        self._try(commands[what])

    @rule(
        slug=SLUGS,
        services=st.none() | SERVICES,
        options=st.sampled_from([{}, {}, *({"webmail": {"quota_mib": room}} for room in (20, 30, 1000))]),
        sizes=st.sampled_from([{}, {"www": {"memory_mib": 512}}, {"svn": {"data_volume_gib": 12}}]),
        sure=st.booleans(),
    )
    def change(
        self,
        slug: str,
        services: list[str] | None,
        options: dict[str, Any],
        sizes: dict[str, Any],
        sure: bool,
    ) -> None:
        self._try(
            lambda: changes.submit_change(
                acting_user=self.emmy,
                slug=slug,
                justification="more",
                services=services,
                options=options,
                sizes=sizes,
                confirm=slug if sure else "",
            )
        )

    @rule(slug=SLUGS, action=st.sampled_from(sorted(platforms.POWER_ACTIONS)), owner=st.booleans())
    def power(self, slug: str, action: str, owner: bool) -> None:
        self._try(lambda: platforms.power_platform(acting_user=self._who(owner), slug=slug, action=action))

    @rule(slug=SLUGS)
    def retire(self, slug: str) -> None:
        self._try(lambda: platforms.retire_platform(acting_user=self.emmy, slug=slug, confirm=slug))

    @rule(slug=SLUGS, add=st.booleans())
    def member(self, slug: str, add: bool) -> None:
        change = members.add_member if add else members.remove_member
        self._try(lambda: change(acting_user=self.emmy, slug=slug, uid="alan"))

    @rule(choice=st.sampled_from(["retry_run", "skip_run", "undo_run"]), data=st.data())
    def choose(self, choice: str, data: st.DataObject) -> None:
        ids = list(Run.objects.order_by("pk").values_list("pk", flat=True))
        if ids:
            pk = data.draw(st.sampled_from(ids))
            self._try(lambda: getattr(decisions, choice)(acting_user=self.admin, run_id=pk))

    # --- what the world does ---

    @rule(operation=HOST_OPERATIONS, fault=FAULTS, times=st.sampled_from([1, 7]))
    def break_host(self, operation: str, fault: Exception, times: int) -> None:
        for host in self.world.hosts.values():
            host.faults.fail_next(operation, fault, times)

    @rule()
    def mend(self) -> None:
        for host in self.world.hosts.values():
            host.faults.clear()

    @precondition(lambda self: self._active())
    @rule(data=st.data(), whole=st.booleans())
    def work(self, data: st.DataObject, whole: bool) -> None:
        pk = data.draw(st.sampled_from(self._active()))
        if whole:
            self.world.lose_leases(pk)  # of workers that died
            self.world.finish(pk)
        elif (claim := engine._claim(pk)) is not None and data.draw(st.booleans()):
            engine._perform(claim)  # else its worker has died
        self.world.let_time_pass(pk)

    @precondition(lambda self: self._active())
    @rule()
    def leases_end(self) -> None:
        for pk in self._active():
            self.world.lose_leases(pk)

    def _active(self) -> list[int]:
        if not hasattr(self, "_database"):
            return []
        return list(Run.objects.filter(ended_at=None).order_by("pk").values_list("pk", flat=True))

    # --- what has to be true at any time ---

    @invariant()
    def states_are_in_the_table(self) -> None:
        if not hasattr(self, "_database"):
            return
        for platform in Platform.objects.all():
            state = PlatformState(platform.state)
            # Neither of these moves the platform into another state.
            beside = [RunKind.MEMBER.value, RunKind.REPAIR.value]
            active = list(platform.runs.filter(ended_at=None).exclude(kind__in=beside))
            if state in DURING:
                (run,) = active
                assert TRANSITIONS[RunKind(run.kind)].during is state
            else:
                assert active == []
        for run in Run.objects.all():
            assert (RunState(run.state) in ACTIVE_RUNS) == (run.ended_at is None)

    @invariant()
    def the_books_are_right(self) -> None:
        if not hasattr(self, "_database"):
            return
        living = list(Platform.objects.exclude(state__in=[s.value for s in ENDED]))
        wanted = [p.plan.cost for p in living]
        for request in Request.objects.filter(kind=Request.CHANGE):
            if request.state == RequestState.SUBMITTED.value or request.runs.filter(ended_at=None).exists():
                more = vars(request.plan.cost - request.platform.plan.cost)
                wanted.append(Cost(**{name: max(amount, 0) for name, amount in more.items()}))
        assert quota.used(self.project) == sum(wanted, Cost())
        assert LedgerEntry.objects.count() == len(wanted)
        assert not self.project.quota.shortages(quota.used(self.project))
        indexes = [p.subnet_index for p in living]
        assert None not in indexes
        assert len(set(indexes)) == len(indexes)

    def _decide_at_last(self, pk: int) -> Run:
        """What is stuck now that the world is mended: tried again."""
        decisions.retry_run(acting_user=self.admin, run_id=pk)
        return self.world.finish(pk)

    def _comes_to_an_end(self) -> None:
        """With the world mended, every run ends, by itself or after one choice; then nothing is there that nobody owns."""
        self.mend()
        for pk in self._active():
            self.world.lose_leases(pk)
            run = self.world.finish(pk)
            if run.ended_at is None:
                run = self._decide_at_last(pk)
            assert run.ended_at, [(s.name, s.state, s.error) for s in run.steps.all()]
            assert not run.steps.filter(state=StepState.RUNNING.value).exists()
        for platform in Platform.objects.all():
            assert PlatformState(platform.state) not in DURING
            if not platform.alive:
                assert [f for f in audit.audit_platform(platform) if f.kind != "membership"] == [] or any(
                    p.slug == platform.slug and p.alive for p in Platform.objects.all()
                )
        assert audit.orphans() == []


@pytest.mark.django_db
def test_any_life() -> None:
    with translation.override("en"):
        run_state_machine_as_test(
            Life,
            settings=settings(
                max_examples=40,
                stateful_step_count=25,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
