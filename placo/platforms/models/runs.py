"""Runs, steps and the journal."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from placo.domain.lifecycle import ACTIVE_RUNS, RunKind, RunState, StepState
from placo.domain.plan import Plan, from_json
from placo.domain.saga import StepSpec, Verb
from placo.platforms.models.people import User
from placo.platforms.models.platforms import Platform, Request

RUN_LABELS = {
    RunState.RUNNING: _("under way"),
    RunState.DONE: _("done"),
    RunState.STUCK: _("stuck"),
    RunState.UNWINDING: _("being undone"),
    RunState.UNDONE: _("undone"),
}
STEP_LABELS = {
    StepState.PENDING: _("to do"),
    StepState.RUNNING: _("being done"),
    StepState.WAITING: _("waiting"),
    StepState.DONE: _("done"),
    StepState.FAILED: _("failed"),
    StepState.SKIPPED: _("skipped"),
    StepState.UNDOING: _("being undone"),
    StepState.UNDONE: _("undone"),
}
KIND_LABELS = {
    RunKind.CREATE: _("Creation"),
    RunKind.RETIRE: _("Retirement"),
    RunKind.CHANGE: _("Change"),
    RunKind.START: _("Start"),
    RunKind.STOP: _("Stop"),
    RunKind.RESTART: _("Restart"),
    RunKind.SUSPEND: _("Suspension"),
    RunKind.RESUME: _("Resumption"),
    RunKind.MEMBER: _("Membership"),
    RunKind.REPAIR: _("Repair"),
    RunKind.REBUILD: _("Rebuild"),
}


class Run(models.Model):
    """One execution of a plan. `fence` is the last fencing number given to a worker; it only grows.

    `version` grows with every change of the run or one of its steps: what a live page watches. `due_at` is when a worker
    has something to do for it, None when nothing will happen without a decision: what the sweep looks for. `web_request` is the
    X-Request-ID of the call that it came of: the field `request` of the log's lines. `plan_data` is what a rebuild makes of
    the platform; where there is a request, its plan says that.
    """

    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="runs")
    kind = models.CharField(max_length=16, choices=[(k.value, label) for k, label in KIND_LABELS.items()])
    state = models.CharField(
        max_length=16,
        choices=[(s.value, label) for s, label in RUN_LABELS.items()],
        default=RunState.RUNNING.value,
    )
    subject = models.CharField(max_length=128, blank=True)
    request = models.ForeignKey(Request, on_delete=models.PROTECT, null=True, related_name="runs")
    started_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="runs")
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)
    fence = models.PositiveBigIntegerField(default=0)
    version = models.PositiveBigIntegerField(default=1)
    due_at = models.DateTimeField(null=True)
    web_request = models.CharField(max_length=64, blank=True)
    plan_data = models.JSONField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["platform"],
                condition=Q(state__in=[s.value for s in sorted(ACTIVE_RUNS)]) & ~Q(kind=RunKind.MEMBER.value),
                name="one_life_cycle_run_at_a_time",
            ),
            models.UniqueConstraint(
                fields=["platform", "subject"],
                condition=Q(state__in=[s.value for s in sorted(ACTIVE_RUNS)]) & Q(kind=RunKind.MEMBER.value),
                name="one_run_per_membership",
            ),
        ]
        # None on what each step changes: PostgreSQL then leaves the row's indexes alone (a HOT update). Few runs are under way.
        indexes = [models.Index(fields=["state"])]

    @property
    def new_plan(self) -> Plan | None:
        """What the platform will have when the run is done; None where that stays as it is."""
        if self.request is not None:
            return self.request.plan
        return from_json(self.plan_data) if self.plan_data else None


class Step(models.Model):
    """One step of a run: its specification, where it stands, and who holds its lease.

    `waits_for` names the place (a host, directory, edge) that does not answer it, `away_since` when it found that out; `unheard` is how
    often that place had answered others meanwhile.
    """

    # Without an index of its own: that of the names serves.
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps", db_index=False)
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=128)
    action = models.CharField(max_length=32)
    verb = models.CharField(max_length=8)
    target = models.CharField(max_length=128, blank=True)
    needs = models.JSONField(default=list)
    final = models.BooleanField(default=False)
    state = models.CharField(
        max_length=16,
        choices=[(s.value, label) for s, label in STEP_LABELS.items()],
        default=StepState.PENDING.value,
    )
    attempts = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    message = models.CharField(max_length=300, blank=True)
    not_before = models.DateTimeField(null=True)
    fence = models.PositiveBigIntegerField(null=True)
    lease_until = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    waits_for = models.CharField(max_length=50, blank=True)
    away_since = models.DateTimeField(null=True)
    unheard = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["run", "name"], name="one_step_per_name")]
        indexes = [
            models.Index(
                fields=["waits_for"], condition=~Q(waits_for=""), name="steps_that_wait_for_a_place"
            ),
        ]

    @property
    def spec(self) -> StepSpec:
        """The step as the saga knows it."""
        return StepSpec(self.name, self.action, Verb(self.verb), self.target, tuple(self.needs), self.final)

    def forget_outage(self) -> None:
        """It waits for no place any more."""
        self.waits_for, self.away_since, self.unheard = "", None, 0


class JournalEntry(models.Model):
    """The history of a run, written before (`intended`) and after each effect. Rows are only ever added, under the run's lock.

    So the run and the step are there, and the database does not look for them again at each commit.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="journal", db_constraint=False)
    step = models.ForeignKey(
        Step, on_delete=models.CASCADE, null=True, related_name="journal", db_constraint=False, db_index=False
    )
    at = models.DateTimeField(auto_now_add=True)
    event = models.CharField(max_length=16)
    fence = models.PositiveBigIntegerField(null=True)
    message = models.TextField(blank=True)

    class Meta:
        ordering = ["id"]
