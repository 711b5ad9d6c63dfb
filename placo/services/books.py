"""The check of the books: the quota ledger, the journal and the plans have to say the same about every living platform.

    for wrong in books.check(): ...

Everything is read in one transaction that sees one moment, so a run that moves on meanwhile is never a discrepancy; it
takes no locks and a few queries, each linear in what is alive. The world outside is compared elsewhere (services/audit.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import Q
from django.utils.translation import gettext as _
from pydantic import ValidationError

from placo.domain import saga
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
from placo.domain.plan import Plan, identities
from placo.domain.quota import Cost
from placo.platforms.models import LedgerEntry, Platform, Request, Run, Step
from placo.services import runs

CODES = ("plan", "ledger", "life-cycle", "run-state", "doorbell", "steps", "subnet", "shared")
"""What can be wrong; the metric `placo_ledger_discrepancies` has one series for each."""


@dataclass(frozen=True, order=True)
class Discrepancy:
    """One thing that the books say in two ways: its code, what it is about, what is wrong, what to do."""

    code: str
    subject: str
    wrong: str
    remedy: str


@dataclass(frozen=True)
class _Entry:
    """A row of the ledger, as it is or as it should be."""

    project: int
    committed: bool
    cost: Cost

    def __str__(self) -> str:
        amounts = ", ".join(f"{name} {amount}" for name, amount in vars(self.cost).items())
        return f"{_('committed') if self.committed else _('reserved')} ({amounts})"


def check() -> list[Discrepancy]:
    """Every discrepancy, sorted; empty when the books are right."""
    with _one_moment():
        return sorted(_check())


@contextmanager
def _one_moment() -> Iterator[None]:
    """A transaction in which every query sees the same moment. In a test's own transaction there is only one writer."""
    with transaction.atomic(durable=True):
        if len(connection.atomic_blocks) == 1:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _check() -> Iterator[Discrepancy]:
    ended = [state.value for state in ENDED]
    rows = list(Platform.objects.filter(~Q(state__in=ended) | Q(left_on__isnull=False)).order_by("pk"))
    living, left = [row for row in rows if row.alive], [row for row in rows if not row.alive]
    plans: dict[int, Plan] = {}
    for platform in rows:
        try:
            plans[platform.pk] = platform.plan
        except ValidationError as error:
            yield Discrepancy(
                "plan",
                platform.slug,
                _("The frozen plan cannot be read (%(count)d errors).") % {"count": error.error_count()},
                _("Restore the plan from the portal's backup; until then leave the platform alone."),
            )
    yield from _ledger(living, plans)
    active = list(
        Run.objects.filter(state__in=[s.value for s in ACTIVE_RUNS]).select_related("platform").order_by("pk")
    )
    yield from _life_cycle(living, active)
    yield from _runs(active)
    yield from _steps_of_ended_runs()
    yield from _subnets(living)
    yield from _shared([*living, *left], plans)


# --- ledger = plans --------------------------------------------------------------------------------------------------

_NOT_MADE_YET = frozenset({PlatformState.REQUESTED, PlatformState.CREATING})


def _wanted_entries(platform: Platform, plan: Plan, changes: Iterable[Request]) -> Counter[_Entry]:
    """The rows that the ledger has to have for a living platform: one with the cost of its plan, one for a change under way."""
    made = PlatformState(platform.state) not in _NOT_MADE_YET
    more = [_Entry(platform.project_id, False, request.plan.cost - plan.cost) for request in changes]
    return Counter([_Entry(platform.project_id, made, plan.cost), *more])


def _changes() -> dict[int, list[Request]]:
    """Platform -> changes that are waited for, or under way."""
    open_ = Q(state=RequestState.SUBMITTED.value) | Q(runs__state__in=[s.value for s in ACTIVE_RUNS])
    found: defaultdict[int, list[Request]] = defaultdict(list)
    for request in Request.objects.filter(open_, kind=Request.CHANGE).distinct():
        found[request.platform_id].append(request)
    return found


def _ledger(living: Iterable[Platform], plans: dict[int, Plan]) -> Iterator[Discrepancy]:
    found: defaultdict[int, Counter[_Entry]] = defaultdict(Counter)
    names = {platform.pk: platform.slug for platform in living}
    for row in LedgerEntry.objects.select_related("platform").order_by("pk"):
        names.setdefault(row.platform_id, row.platform.slug)
        found[row.platform_id][_Entry(row.project_id, row.committed, row.cost)] += 1
    changes = _changes()
    wanted = {p.pk: _wanted_entries(p, plans[p.pk], changes.get(p.pk, ())) for p in living if p.pk in plans}
    unreadable = {p.pk for p in living} - set(plans)
    for pk in sorted({*wanted, *found} - unreadable):
        has, should = found.get(pk, Counter()), wanted.get(pk, Counter())
        if has != should:
            yield Discrepancy(
                "ledger",
                names[pk],
                _("The quota ledger has %(has)s; it should have %(should)s.")
                % {"has": _said(has), "should": _said(should)},
                _(
                    "Correct the rows of table platforms_ledgerentry by hand, and keep the portal's log: this is a fault of PLACO."
                ),
            )


def _said(entries: Counter[_Entry]) -> str:
    return "; ".join(sorted(map(str, entries.elements()))) or _("nothing")


# --- states = journal ------------------------------------------------------------------------------------------------

_DURING = {transition.during: kind for kind, transition in TRANSITIONS.items()}


def _life_cycle(living: Iterable[Platform], active: Iterable[Run]) -> Iterator[Discrepancy]:
    """What a platform shows to be under way is under way, and nothing else is."""
    going: defaultdict[int, list[str]] = defaultdict(list)
    platforms = {platform.pk: platform for platform in living}
    for run in active:
        if RunKind(run.kind) in TRANSITIONS:
            platforms.setdefault(run.platform_id, run.platform)
            going[run.platform_id].append(run.kind)
    for pk, platform in sorted(platforms.items()):
        kind = _DURING.get(PlatformState(platform.state))
        should = [kind.value] if kind else []
        if sorted(going[pk]) != should:
            yield Discrepancy(
                "life-cycle",
                platform.slug,
                _("The platform is %(state)s, which goes with these runs: %(should)s. Under way: %(going)s.")
                % {
                    "state": platform.state,
                    "should": ", ".join(should) or _("none"),
                    "going": ", ".join(sorted(going[pk])) or _("none"),
                },
                _(
                    "Read the platform's runs and their journal; correct its state by hand once you know what exists (manage.py audit_platform)."
                ),
            )


def _runs(active: list[Run]) -> Iterator[Discrepancy]:
    """An active run is where its steps stand, and has a date when a worker has something to do for it."""
    steps: defaultdict[int, list[Step]] = defaultdict(list)
    fields = ("run_id", "position", "name", "action", "verb", "target", "needs", "final", "state")
    rows = Step.objects.filter(run__state__in=[s.value for s in ACTIVE_RUNS]).order_by("run_id", "position")
    for step in rows.only(*fields):
        steps[step.run_id].append(step)
    for run in active:
        own = steps[run.pk]
        outcome = saga.outcome(RunState(run.state), runs.states_of(own))
        if outcome.value != run.state:
            yield Discrepancy(
                "run-state",
                _subject(run),
                _("The run is %(state)s; its steps say %(outcome)s.")
                % {"state": run.state, "outcome": outcome.value},
                _("Retry or undo the run; if it stays so, keep the portal's log: this is a fault of PLACO."),
            )
        elif bool(runs.due_steps(run, own)) != (run.due_at is not None):
            yield Discrepancy(
                "doorbell",
                _subject(run),
                _("No worker will ever come to this run, though steps are due.")
                if run.due_at is None
                else _("Workers are called to this run again and again, though no step is due."),
                _("Retry or undo the run; if it stays so, keep the portal's log: this is a fault of PLACO."),
            )


def _steps_of_ended_runs() -> Iterator[Discrepancy]:
    """When a run has ended nobody is at any of its steps."""
    held = Q(state=StepState.RUNNING.value) | Q(lease_until__isnull=False)
    rows = Step.objects.filter(held, run__ended_at__isnull=False).select_related("run__platform")
    for step in rows.order_by("run_id", "position"):
        yield Discrepancy(
            "steps",
            f"{_subject(step.run)} {step.name}",
            _("The run has ended, but this step is still held by a worker (%(state)s).")
            % {"state": step.state},
            _("Look at the world with manage.py audit_platform; remove what the step may have left there."),
        )


def _subject(run: Run) -> str:
    return f"{run.platform.slug} run {run.pk}"


# --- what only one may have ------------------------------------------------------------------------------------------


def _subnets(living: Iterable[Platform]) -> Iterator[Discrepancy]:
    without = [(platform.slug, False) for platform in living if platform.subnet_index is None]
    over = Platform.objects.filter(state__in=[state.value for state in ENDED])
    reserved = Q(left_on__lost_at__isnull=False, subnet_index__isnull=False)
    wrong = Q(subnet_index__isnull=False) | Q(left_on__isnull=False)
    kept = over.filter(wrong & ~reserved).values_list("slug", flat=True)
    for slug, ended in [*without, *((slug, True) for slug in kept)]:
        yield Discrepancy(
            "subnet",
            slug,
            _("The platform has ended but its addresses are still taken.")
            if ended
            else _("The platform lives but its addresses are free for others."),
            _(
                "Correct subnet_index in table platforms_platform by hand: that of its plan while it lives, none afterwards."
            ),
        )


def _shared(living: Iterable[Platform], plans: dict[int, Plan]) -> Iterator[Discrepancy]:
    """No two living platforms have planned the same address, MAC, UUID, subnet or bridge."""
    holders: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for platform in living:
        if platform.pk in plans:
            for thing in identities(plans[platform.pk]):
                holders[thing].append(platform.slug)
    for (kind, value), slugs in holders.items():
        if len(slugs) > 1:
            yield Discrepancy(
                "shared",
                " ".join(sorted(slugs)),
                _("More than one machine or network has %(kind)s %(value)s.")
                % {"kind": kind, "value": value},
                _("Retire one of these platforms and request it again: each must have its own."),
            )
