"""The same for what comes later in a platform's life: its end and renewals, rebuilds, drift and repairs, lost hosts, other owners."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.utils import translation
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from placo.drivers.ports import DriverError
from placo.platforms.models import Drift, Host, Machine, Membership, Platform, Run
from placo.services import (
    agreement,
    books,
    decisions,
    drift,
    expiry,
    lost,
    members,
    ownership,
    rebuilds,
    reconcile,
    renewal,
)
from placo.services import clock as portal_clock
from placo.services.errors import ServiceError
from tests.factories import approve
from tests.integration.conftest import Clock
from tests.integration.test_life_properties import SLUGS, Life

HOSTS = st.sampled_from(["h1", "h2"])
ROUNDS = 20


class LaterLife(Life):
    """Everything of before, and what time, hosts and other people do."""

    @initialize()
    def begin(self) -> None:
        """Two platforms are there already, one of them with a member: what is to be seen here comes after that."""
        super().begin()
        self.clock = Clock()
        self._patch.setattr(portal_clock, "source", lambda: self.clock.time)
        for slug, services in (("alpha", ["web", "svn"]), ("beta", ["web"])):
            assert self.world.finish(approve(self.emmy, self.admin, slug=slug, services=services).pk).ended_at
        members.add_member(acting_user=self.emmy, slug="alpha", uid="alan")
        self._work_off()

    # --- workers, who are there most of the time ---

    @rule()
    def workers_do_all_that_they_can(self) -> None:
        self._work_off()

    @rule()
    def workers_do_all_and_the_world_is_compared(self) -> None:
        self._work_off()
        reconcile.reconcile()

    # --- time ---

    @rule(days=st.sampled_from([1, 25, 31, 120]))
    def time_passes(self, days: int) -> None:
        self.clock.forward(days)
        expiry.attend()

    @rule(slug=SLUGS, owner=st.booleans(), seen=st.booleans())
    def renew(self, slug: str, owner: bool, seen: bool) -> None:
        """Some days before the end, or some days after it."""
        ends = Platform.objects.filter(slug=slug).order_by("pk").values_list("expires_on", flat=True).last()
        if ends is not None and self.clock.today < ends:
            self.clock.forward((ends - self.clock.today).days + (-5 if seen else 5))
            expiry.attend()
            self._work_off()
        shown = ends if seen else None
        self._try(lambda: renewal.renew_platform(acting_user=self._who(owner), slug=slug, seen=shown))

    @rule(slug=SLUGS, owner=st.booleans(), days=st.sampled_from([-1, 1, 300, 9999]))
    def set_end(self, slug: str, owner: bool, days: int) -> None:
        ends = self.clock.today.fromordinal(self.clock.today.toordinal() + days)
        self._try(lambda: renewal.set_end(acting_user=self._who(owner), slug=slug, expires_on=ends))

    # --- images ---

    def build(self, kind: str) -> None:
        self.world.images.versions[kind] = self.world.images.versions.get(kind, 0) + 1

    @rule(slug=SLUGS, machines=st.none() | st.sampled_from([["www"], ["svn"], ["nobody"]]))
    def rebuild(self, slug: str, machines: list[str] | None) -> None:
        for kind in machines or ["www", "svn"]:
            self.build(kind)
        self._try(lambda: rebuilds.rebuild_platform(acting_user=self.emmy, slug=slug, machines=machines))

    # --- the world by itself, and what is done about it ---

    @rule(what=st.sampled_from(["kill_domain", "suspend_domain", "remove_domain"]), data=st.data())
    def meddle(self, what: str, data: st.DataObject) -> None:
        """Somebody does something to a machine past the portal."""
        there: list[tuple[Any, str]] = []
        with suppress(DriverError):  # of hosts that fail just now nobody sees the machines
            there = [(host, d.uuid) for host in self._answering() for d in host.inventory().domains]
        if there:
            host, uuid = data.draw(st.sampled_from(there))
            with suppress(DriverError):
                getattr(host, what)(uuid)
            if data.draw(st.booleans()):
                reconcile.reconcile()

    @rule()
    def compare(self) -> None:
        reconcile.reconcile()

    @rule(accept=st.booleans(), data=st.data())
    def settle_drift(self, accept: bool, data: st.DataObject) -> None:
        rows = list(Drift.objects.order_by("where", "what", "name"))
        if rows:
            row = data.draw(st.sampled_from(rows))
            command = drift.accept_drift if accept else self._repair
            self._try(lambda: command(acting_user=self.admin, drift_id=row.pk))

    def _repair(self, *, acting_user: Any, drift_id: int) -> object:
        row = Drift.objects.get(pk=drift_id)
        slug = row.platform.slug if row.platform else ""
        return drift.repair_drift(acting_user=acting_user, drift_id=drift_id, confirm=slug)

    # --- hosts ---

    @rule(name=HOSTS, away=st.booleans())
    def connect(self, name: str, away: bool) -> None:
        self.cut_off(name, away)

    def cut_off(self, name: str, away: bool) -> None:
        self.world.hosts[name].faults.unreachable = away
        reconcile.reconcile()

    @rule(name=HOSTS, away=st.booleans())
    def declare_lost(self, name: str, away: bool) -> None:
        if away:
            self.cut_off(name, True)
        self._try(lambda: lost.declare_lost(acting_user=self.admin, host_name=name, confirm=name))

    @rule(name=HOSTS, back=st.booleans())
    def take_back(self, name: str, back: bool) -> None:
        if back:
            self.cut_off(name, False)
        self._try(lambda: lost.take_back(acting_user=self.admin, host_name=name))

    def _answering(self) -> list[Any]:
        return [host for host in self.world.hosts.values() if not host.faults.unreachable]

    # --- owners ---

    @rule(slug=SLUGS, uid=st.sampled_from(["alan", "emmy", "nobody"]))
    def hand_over(self, slug: str, uid: str) -> None:
        self._try(lambda: ownership.hand_over(acting_user=self.emmy, slug=slug, uid=uid))

    @rule(slug=SLUGS, uid=st.sampled_from(["alan", "emmy"]))
    def step_down(self, slug: str, uid: str) -> None:
        self._try(lambda: ownership.step_down(acting_user=self.admin, slug=slug, uid=uid))

    # --- the end ---

    def _comes_to_an_end(self) -> None:
        """Hosts come back and are taken back; then everything that can be mended is, and ledger, journal and world agree."""
        self.mend()
        self._work_off()
        for pk in self._active():
            self._decide_at_last(pk)  # a host on which something stands is not taken back
        reconcile.reconcile()
        self._mend_all(lambda row: not (row.platform and row.platform.alive))
        for host in Host.objects.exclude(lost_at=None):
            lost.take_back(acting_user=self.admin, host_name=host.name)
        super()._comes_to_an_end()
        reconcile.reconcile()
        self._mend_all(lambda row: True)
        # A machine that was removed past the portal may leave nothing to mend it with: that is told, and accepted.
        for row in Drift.objects.filter(accepted_at=None):
            assert not row.remedy.repairs, row
            drift.accept_drift(acting_user=self.admin, drift_id=row.pk)
        assert sorted(books._check()) == []
        assert list(agreement._world()) == []
        self._owners_are_in_the_directory()

    def _decide_at_last(self, pk: int) -> Run:
        """A run may stand for good where a machine was removed past the portal: then it is undone, without what the machine would
        be needed for, and the machine repaired."""
        run = super()._decide_at_last(pk)
        if run.ended_at is None and decisions.undoable(run):
            decisions.undo_run(acting_user=self.admin, run_id=pk)
            run = self.world.finish(pk)
        if run.ended_at is None:
            decisions.skip_run(acting_user=self.admin, run_id=pk)
            run = self.world.finish(pk)
        return run

    def _work_off(self) -> None:
        for pk in self._active():
            self.world.lose_leases(pk)
            self.world.finish(pk)

    def _mend_all(self, which: Callable[[Drift], bool]) -> None:
        for _round in range(ROUNDS):
            rows = [r for r in Drift.objects.filter(accepted_at=None) if which(r) and r.remedy.repairs]
            if not rows:
                return
            try:
                self._repair(acting_user=self.admin, drift_id=rows[0].pk)
            except ServiceError as refused:
                raise AssertionError(f"{rows[0]} can be repaired, and is not: {refused}") from refused
            self._work_off()
            reconcile.reconcile()
        raise AssertionError(f"never mended: {list(Drift.objects.all())}")

    def _owners_are_in_the_directory(self) -> None:
        """Whoever is wanted as a member or owner of a living platform is one in the directory, and nobody else."""
        for platform in Platform.objects.all():
            if platform.alive and platform.state != "requested":
                wanted = Membership.objects.filter(platform=platform, wanted=True, settled=True)
                there = self.world.directory.members(platform.slug)
                for row in wanted:
                    assert there.get(row.uid) == row.owner, (platform.slug, row.uid, there)
                gone = Machine.objects.filter(platform=platform, state="gone")
                assert platform.state == "stopped" or platform.drift.exists() or not gone.exists()


@pytest.mark.django_db
def test_any_later_life() -> None:
    with translation.override("en"):
        run_state_machine_as_test(
            LaterLife,
            settings=settings(
                max_examples=40,
                stateful_step_count=30,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
                deadline=None,
            ),
        )
