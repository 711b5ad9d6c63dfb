"""What has to be true when all is over: looked up in the world and in the books, not remembered by those who took part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from placo import wiring
from placo.domain.drift import SETTLED
from placo.domain.lifecycle import ACTIVE_RUNS, ENDED, PlatformState, RequestState, RunKind, RunState
from placo.platforms.models import Drift, Host, JournalEntry, LedgerEntry, Membership, Platform, Request, Run
from placo.services import audit, books, reconcile
from placo.services.work import hypervisor_of


@dataclass(frozen=True)
class Finding:
    """What was promised, and everything that speaks against it."""

    promise: str
    wrong: list[str]


def judge(accepted: set[int]) -> list[Finding]:
    """All promises. Nobody works any more."""
    questions: list[tuple[str, Callable[[], Iterator[str]]]] = [
        ("every run has ended, complete or clean", _runs),
        ("no request is lost: each has its platform, or ended for a stated reason", lambda: _lost(accepted)),
        ("one machine in the world for each platform and kind", _machines),
        ("nothing is left after two reconciliations, nor missing", _drift),
        ("nothing is there of a platform that has ended", _remains),
        ("the ledger is exact", _ledger),
        ("members are those who are to be members", _members),
    ]
    return [Finding(promise, list(ask())) for promise, ask in questions]


def _living() -> list[Platform]:
    ended = [state.value for state in ENDED]
    return list(Platform.objects.exclude(state__in=ended).select_related("host").order_by("pk"))


def _runs() -> Iterator[str]:
    for run in Run.objects.filter(state__in=[s.value for s in ACTIVE_RUNS]).select_related("platform"):
        steps = [f"{s.name} {s.state} {s.error}" for s in run.steps.exclude(state__in=("done", "undone"))]
        yield f"run {run.pk} ({run.kind} of {run.platform.slug}) is {run.state}: {steps[:3]}"
    for run in Run.objects.filter(ended_at=None, state__in=(RunState.DONE.value, RunState.UNDONE.value)):
        yield f"run {run.pk} is {run.state} and has no end"


def _lost(accepted: set[int]) -> Iterator[str]:
    rows = {row.pk: row for row in Request.objects.select_related("platform")}
    for pk in sorted(accepted - rows.keys()):
        yield f"request {pk} was taken and is not in the database"
    for row in rows.values():
        problem = _unanswered(row)
        if problem:
            yield f"request {row.pk} ({row.kind} of {row.platform.slug}, {row.state}): {problem}"


def _unanswered(request: Request) -> str:
    """Why a request is not what it should be; empty when it is."""
    state = PlatformState(request.platform.state)
    if request.state != RequestState.APPROVED.value:
        over = request.kind == Request.CHANGE or state is PlatformState.DECLINED
        return "" if request.state != RequestState.SUBMITTED.value and over else "nobody decided"
    made = list(request.runs.all())
    if len(made) != 1:
        return f"it has {len(made)} runs"
    run = made[0]
    if run.state == RunState.UNDONE.value:
        reasons = JournalEntry.objects.filter(run=run, event="unwinding").exclude(message="")
        if not reasons.exists():
            return "it was undone and nobody said why"
        failed = request.kind == Request.CHANGE or state is PlatformState.FAILED
        return "" if failed else f"it was undone, but its platform is {state}"
    if run.state != RunState.DONE.value:
        return f"its run is {run.state}"
    if state in SETTLED or state is PlatformState.RETIRED:
        return ""
    return f"its platform is {state}"


def _machines() -> Iterator[str]:
    found: Counter[tuple[str, str]] = Counter()
    for host in Host.objects.all():
        for domain in hypervisor_of(host).inventory().domains:
            if domain.platform_uuid:
                found[(domain.platform_uuid, domain.name)] += 1
    wanted = {(str(p.uuid), m.domain) for p in _living() for m in p.plan.machines}
    for (uuid, name), number in found.items():
        if number != 1 or (uuid, name) not in wanted:
            yield f"{name} of platform {uuid}: {number} in the world, {int((uuid, name) in wanted)} wanted"
    for _uuid, name in wanted - found.keys():
        yield f"{name} is nowhere"


def _drift() -> Iterator[str]:
    for _time in range(2):
        reconcile.reconcile()
    for row in Drift.objects.select_related("platform"):
        whose = f" of {row.platform.slug}, {row.platform.state}" if row.platform else ""
        yield f"{row.kind} {row.what} {row.name} at {row.where}{whose}: {row.detail}"
    for finding in audit.orphans():
        yield f"orphan: {finding.kind} {finding.name} at {finding.where}"


def _remains() -> Iterator[str]:
    taken = {platform.slug for platform in _living()}
    ended = Platform.objects.filter(state__in=[state.value for state in ENDED]).exclude(slug__in=taken)
    for platform in ended:
        for finding in audit.audit_platform(platform):
            yield f"{finding.kind} {finding.name} at {finding.where} of {platform.slug} ({platform.state})"


def _ledger() -> Iterator[str]:
    for discrepancy in books.check():
        yield f"{discrepancy.code}: {discrepancy.subject}: {discrepancy.wrong}"
    wanted = Counter((p.pk, tuple(sorted(vars(p.plan.cost).items()))) for p in _living())
    found = Counter(
        (row.platform_id, tuple((name, getattr(row, name)) for name, _amount in sorted(_amounts(row))))
        for row in LedgerEntry.objects.select_related("platform")
    )
    for (platform, amounts), number in ((found - wanted) + (wanted - found)).items():
        yield f"platform {platform}: {number} rows too many or too few of {dict(amounts)}"


def _amounts(row: LedgerEntry) -> list[tuple[str, int]]:
    return list(vars(row.platform.plan.cost).items())


def _members() -> Iterator[str]:
    for platform in _living():
        if PlatformState(platform.state) not in SETTLED:
            continue
        rows = Membership.objects.filter(platform=platform)
        wanted = {row.uid: row.owner for row in rows if row.wanted}
        found = dict(wiring.directory().members(platform.slug))
        if wanted != found or any(not row.settled for row in rows):
            yield f"{platform.slug}: {wanted} are wanted, {found} are in the directory"


def outcomes() -> dict[str, int]:
    """What became of the requests, for the summary."""
    counted: Counter[str] = Counter()
    for row in Request.objects.select_related("platform").prefetch_related("runs"):
        if row.state != RequestState.APPROVED.value:
            counted[f"{row.kind}: {row.state}"] += 1
            continue
        run = next(iter(row.runs.all()), None)
        undone = run is not None and run.state == RunState.UNDONE.value
        counted[f"{row.kind}: {'undone, nothing is left of it' if undone else 'done'}"] += 1
    retired = Platform.objects.filter(state=PlatformState.RETIRED.value).count()
    counted["platforms retired afterwards"] = retired
    counted["runs of all kinds"] = Run.objects.count()
    counted["runs of members"] = Run.objects.filter(kind=RunKind.MEMBER.value).count()
    return dict(counted)
