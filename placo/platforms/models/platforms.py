"""Hosts, platforms, their machines and members, requests, and the quota ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from django.db import models
from django.db.models import Q
from django.utils.dateparse import parse_date
from django.utils.translation import gettext_lazy as _

from placo.domain.lifecycle import ENDED, PlatformState, RequestState
from placo.domain.plan import Plan, from_json
from placo.domain.quota import Cost
from placo.platforms.models.people import Project, User

PLATFORM_LABELS = {
    PlatformState.REQUESTED: _("requested"),
    PlatformState.DECLINED: _("declined"),
    PlatformState.CREATING: _("being created"),
    PlatformState.READY: _("ready"),
    PlatformState.STOPPING: _("stopping"),
    PlatformState.STOPPED: _("stopped"),
    PlatformState.STARTING: _("starting"),
    PlatformState.RESTARTING: _("restarting"),
    PlatformState.SUSPENDING: _("being suspended"),
    PlatformState.SUSPENDED: _("suspended"),
    PlatformState.RESUMING: _("resuming"),
    PlatformState.CHANGING: _("being changed"),
    PlatformState.REBUILDING: _("being rebuilt"),
    PlatformState.RETIRING: _("being retired"),
    PlatformState.RETIRED: _("retired"),
    PlatformState.FAILED: _("failed"),
}


class Host(models.Model):
    """A hypervisor. What it has is copied here now and then: no page asks it.

    `warm`: machines are resumed from templates where that is possible; at most `resumes_at_once` at the same time. It does not answer
    since `silent_since`. Since `lost_at` it counts as gone for good with all that is on it, until it is taken back.
    """

    name = models.SlugField(unique=True)
    uri = models.CharField(max_length=300)
    hypervisor = models.CharField(max_length=16)
    storage_pool = models.CharField(max_length=64)
    domain_type = models.CharField(max_length=16)
    enabled = models.BooleanField(default=True)
    reachable = models.BooleanField(default=False)
    checked_at = models.DateTimeField(null=True)
    silent_since = models.DateTimeField(null=True)
    lost_at = models.DateTimeField(null=True)
    lost_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    version = models.CharField(max_length=64, blank=True)
    memory_mib = models.PositiveIntegerField(default=0)
    disk_free_gib = models.PositiveIntegerField(default=0)
    warm = models.BooleanField(default=True)
    resumes_at_once = models.PositiveSmallIntegerField(default=3)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def lost(self) -> bool:
        """An administrator has declared that it will not come back."""
        return self.lost_at is not None

    @property
    def state(self) -> str:
        """How it is, in a word: lost, returned (lost, and it answers again), unknown, reachable, unreachable."""
        if self.lost:
            return "returned" if self.reachable else "lost"
        if self.checked_at is None:
            return "unknown"
        return "reachable" if self.reachable else "unreachable"


class Platform(models.Model):
    """A platform from its request to long after its end. `plan` is the frozen plan it was made from.

    It is granted from `term_from` until `expires_on`. `removed_on` is promised once it stands still beyond that. `start_again`:
    it was renewed while its end had it stopped, or stopping, and is started as soon as that is possible. `renewed`: a renewal
    gave it the end date that it has. `ownerless_since`: nobody looks after it any more, and administrators were told. `left_on` is
    a lost host that may still have something of a platform that has ended: its name and addresses stay its own.
    """

    uuid = models.UUIDField(unique=True)
    slug = models.CharField(max_length=32)
    title = models.CharField(max_length=200)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="platforms")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="platforms")
    state = models.CharField(
        max_length=16, choices=[(s.value, label) for s, label in PLATFORM_LABELS.items()]
    )
    plan_data = models.JSONField()
    subnet_index = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ready_at = models.DateTimeField(null=True)
    term_from = models.DateField(null=True)
    expires_on = models.DateField(null=True)
    removed_on = models.DateField(null=True)
    start_again = models.BooleanField(default=False)
    ownerless_since = models.DateTimeField(null=True)
    renewed = models.BooleanField(default=False)
    left_on = models.ForeignKey(Host, on_delete=models.PROTECT, null=True, related_name="left_behind")

    class Meta:
        ordering = ["slug", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["slug"],
                condition=~Q(state__in=[s.value for s in sorted(ENDED)]) | Q(left_on__isnull=False),
                name="one_living_platform_per_slug",
            ),
            models.UniqueConstraint(fields=["subnet_index"], name="one_platform_per_subnet"),
        ]
        indexes = [
            models.Index(
                fields=["expires_on"],
                condition=~Q(state__in=[s.value for s in sorted(ENDED)]),
                name="living_platforms_by_end",
            ),
            models.Index(fields=["id"], condition=Q(start_again=True), name="platforms_to_start_again"),
        ]

    def __str__(self) -> str:
        return self.slug

    @property
    def plan(self) -> Plan:
        """The plan as a value."""
        return from_json(self.plan_data)

    @property
    def request(self) -> Request:
        """The request that it came from."""
        return self.requests.get(kind=Request.CREATE)

    @property
    def alive(self) -> bool:
        """Not history yet."""
        return PlatformState(self.state) not in ENDED

    @property
    def unknown(self) -> bool:
        """It has something on a host that does not answer: `state` says how it was when the host was last heard of."""
        if not self.alive or self.state == PlatformState.REQUESTED.value:
            return False
        return self.host.checked_at is not None and not self.host.reachable and not self.host.lost

    @property
    def lost(self) -> bool:
        """Its host was declared lost, and it with that."""
        return self.alive and self.state != PlatformState.REQUESTED.value and self.host.lost


class Template(models.Model):
    """A machine of an image that was saved on a host while it ran, to be resumed as clones. The host has the truth.

    `key` changes with everything that the saved memory depends on (placo/drivers/ports.py); `name` is that of its volumes.
    """

    MAKING, READY, BROKEN, FAILED, IMPOSSIBLE = "making", "ready", "broken", "failed", "impossible"
    OFF, MEMORY, FELL_BACK = "off", "memory", "fell-back"

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="templates")
    image = models.CharField(max_length=100)
    key = models.CharField(max_length=16)
    name = models.CharField(max_length=140)
    generation = models.PositiveIntegerField(default=0)
    state = models.CharField(
        max_length=12,
        default=MAKING,
        choices=[
            (MAKING, _("being made")),
            (READY, _("ready")),
            (BROKEN, _("broken")),
            (FAILED, _("failed")),
            (IMPOSSIBLE, _("not possible")),
        ],
    )
    reason = models.CharField(max_length=500, blank=True)
    made_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    seconds = models.FloatField(null=True)
    memory_bytes = models.BigIntegerField(default=0)
    disk_bytes = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["host", "image"]
        constraints = [
            models.UniqueConstraint(fields=["host", "image", "key"], name="one_template_per_key"),
        ]

    def __str__(self) -> str:
        return self.name


class Machine(models.Model):
    """One machine of a platform and its last known state.

    `way` is how it came to life (empty before that is decided); `way_reason`, a code of `Template`, says why it was booted,
    `way_detail` more of that. `took_s`: seconds from its first step to its first answer. `sealed_key`: services/signing.py.
    """

    WARM, COLD = "warm", "cold"

    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="machines")
    name = models.CharField(max_length=32)
    uuid = models.UUIDField(unique=True)
    address = models.GenericIPAddressField(protocol="IPv4")
    state = models.CharField(max_length=16, default="planned")
    answer = models.CharField(max_length=200, blank=True)
    seen_at = models.DateTimeField(null=True)
    way = models.CharField(max_length=4, blank=True)
    template = models.CharField(max_length=140, blank=True)
    way_reason = models.CharField(max_length=12, blank=True)
    way_detail = models.CharField(max_length=300, blank=True)
    took_s = models.FloatField(null=True)
    sealed_key = models.TextField(blank=True)
    public_key = models.TextField(blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["platform", "name"], name="one_machine_per_name")]


class Membership(models.Model):
    """What the portal wants of somebody's membership, and whether the directory says so yet.

    `wanted` False with `settled` False is a removal under way; the row goes when the directory has followed. `version`
    grows with each change of mind, so that a step that is being done for an older wish does not settle a newer one.

    `owner`: the directory is to have them among the owners. `appointed`: by another owner, whatever the project says.
    `until`: the day on which it ends; None for as long as the platform is there.
    """

    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="memberships")
    uid = models.CharField(max_length=128)
    name = models.CharField(max_length=200)
    owner = models.BooleanField(default=False)
    appointed = models.BooleanField(default=False)
    until = models.DateField(null=True)
    wanted = models.BooleanField(default=True)
    settled = models.BooleanField(default=False)
    version = models.PositiveIntegerField(default=1)
    added_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-owner", "name"]
        constraints = [models.UniqueConstraint(fields=["platform", "uid"], name="one_membership_per_person")]


REQUEST_LABELS = {
    RequestState.SUBMITTED: _("waiting for a decision"),
    RequestState.APPROVED: _("approved"),
    RequestState.REJECTED: _("rejected"),
    RequestState.WITHDRAWN: _("withdrawn"),
}


@dataclass(frozen=True)
class FormerPlan:
    """A plan that answered a request until another one did."""

    hash: str
    plan: Plan
    expires_on: date | None


class Request(models.Model):
    """What an owner asked for, the plan that answers it, and the decision.

    `plan_data` is the plan that a change leads to; a platform that is asked for has its plan itself. `expires_on` is the new
    end date where one is asked for. `plan_hash` names both: what is approved. `former_plans` are those that no longer fitted,
    the one that was asked for first.
    """

    CREATE, CHANGE = "create", "change"
    KINDS = ((CREATE, _("a new platform")), (CHANGE, _("a change")))

    platform = models.ForeignKey(Platform, on_delete=models.PROTECT, related_name="requests")
    kind = models.CharField(max_length=8, choices=KINDS, default=CREATE)
    plan_data = models.JSONField(null=True)
    expires_on = models.DateField(null=True)
    requester = models.ForeignKey(User, on_delete=models.PROTECT, related_name="requests")
    state = models.CharField(
        max_length=16,
        choices=[(s.value, label) for s, label in REQUEST_LABELS.items()],
        default=RequestState.SUBMITTED.value,
    )
    justification = models.TextField()
    days = models.PositiveIntegerField()
    plan_hash = models.CharField(max_length=64)
    former_plans = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="decisions")
    comment = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["platform"],
                condition=Q(state=RequestState.SUBMITTED.value),
                name="one_open_request_per_platform",
            )
        ]

    @property
    def plan(self) -> Plan:
        """The plan that this request leads to."""
        return self.platform.plan if self.plan_data is None else from_json(self.plan_data)

    @property
    def former(self) -> list[FormerPlan]:
        """The plans that this one took the place of, in order."""
        return [
            FormerPlan(row["hash"], from_json(row["plan"]), parse_date(row["expires_on"] or ""))
            for row in self.former_plans
        ]

    def supersede(self) -> None:
        """Keep the plan as a former one: another takes its place. Not saved yet."""
        end = self.expires_on.isoformat() if self.expires_on else None
        row = {"hash": self.plan_hash, "plan": self.plan.as_json(), "expires_on": end}
        self.former_plans = [*self.former_plans, row]


class LedgerEntry(models.Model):
    """What a platform takes from its project's quota.

    Reserved (not committed) when it is asked for; committed when its resources are there; deleted when they are gone, or the
    request has ended without any. A change that is asked for has a reserved row of its own with the difference, which may be
    negative: what is given back counts when it is done.
    """

    platform = models.ForeignKey(Platform, on_delete=models.CASCADE, related_name="ledger")
    request = models.OneToOneField(Request, on_delete=models.CASCADE, null=True, related_name="ledger_entry")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="ledger")
    committed = models.BooleanField(default=False)
    platforms = models.IntegerField()
    machines = models.IntegerField()
    vcpus = models.IntegerField()
    memory_mib = models.IntegerField()
    disk_gib = models.IntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["platform"], condition=Q(committed=True), name="one_committed_row_per_platform"
            )
        ]

    @property
    def cost(self) -> Cost:
        """The amounts."""
        return Cost(self.platforms, self.machines, self.vcpus, self.memory_mib, self.disk_gib)
