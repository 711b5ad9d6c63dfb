"""Owners and an administrator, who do all day what people do with the portal: through the use cases, on the real database.

What somebody was about to do when the database, the directory or Redis went away they try again, as people do; whether it had
been done all the same they see in the portal.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import InterfaceError, OperationalError, connections
from django.db.models import Q

from deploy.rehearsal import stage
from placo.domain.lifecycle import ACTIVE_RUNS, ENDED, RequestState, RunKind, RunState
from placo.platforms.models import Membership, Platform, Request, Run, Step, User
from placo.services import accounts, changes, decisions, members, platforms, rebuilds, requests
from placo.services.errors import Conflict, DirectoryDown, InvalidInput, NotFound, PlanOutdated
from tests.chaos.careers import ADMINISTRATOR, GUESTS, OWNERS, Career

AT_ONCE = 24
"""So many careers are under way at the same time."""
LOOK_EVERY_S = 0.25
MORE = ("web", "svn", "webmail", "git")
"""What a platform with one service may get beside it."""
_ACTIVE = [state.value for state in ACTIVE_RUNS]
_HISTORY = {state.value for state in ENDED}


@dataclass
class Progress:
    """How far a career has come."""

    career: Career
    platform: int | None = None
    approved_at: float = 0.0
    decided: bool = False
    act: int = 0
    begun: bool = False
    over: bool = False


@dataclass(frozen=True)
class _Seen:
    """What the portal shows of a platform."""

    state: str
    run: Run | None
    waiting: Request | None


class People:
    """All of them. `turn` is one look at the portal and what each does about it; `over` when nobody wants anything more."""

    def __init__(self, careers: list[Career]) -> None:
        self.done: Counter[str] = Counter()
        """What was done how often; what was met on the way too."""
        self.accepted: set[int] = set()
        """Requests that the portal has taken."""
        self._coming = [Progress(career) for career in careers]
        self._under_way: list[Progress] = []
        self._ended: set[int] = set()
        self._seen_stuck: dict[int, float] = {}
        self.admin = _user(ADMINISTRATOR, administrator=True)
        self.owners = {project: _user(uid) for project, uid in OWNERS.items()}
        accounts.refresh_roles()

    @property
    def over(self) -> bool:
        return not self._coming and not self._under_way

    @property
    def left(self) -> int:
        """Careers that are not over."""
        return len(self._coming) + len(self._under_way)

    def turn(self) -> None:
        try:
            self._turn()
        except (OperationalError, InterfaceError):
            self.done["the database was away"] += 1
            connections.close_all()
            time.sleep(LOOK_EVERY_S)

    def quiet(self) -> bool:
        """Whether no run is under way, and no wish about a membership is open."""
        try:
            return not (
                Run.objects.filter(state__in=_ACTIVE).exists()
                or Membership.objects.filter(settled=False).exists()
            )
        except (OperationalError, InterfaceError):
            connections.close_all()
            return False

    def _turn(self) -> None:
        self._administer()
        for progress in list(self._coming):
            if len(self._under_way) >= AT_ONCE:
                break
            before = progress.career.predecessor
            if before is None or id(before) in self._ended:
                self._coming.remove(progress)
                self._under_way.append(progress)
        seen = self._look()
        for progress in self._under_way:
            try:
                self._go_on(progress, seen.get(progress.platform or 0))
            except DirectoryDown:
                self.done["the directory was away"] += 1
        for progress in [p for p in self._under_way if p.over]:
            self._under_way.remove(progress)
            self._ended.add(id(progress.career))

    def _look(self) -> dict[int, _Seen]:
        mine = [p.platform for p in self._under_way if p.platform is not None]
        active = Run.objects.filter(platform__in=mine, state__in=_ACTIVE).exclude(kind=RunKind.MEMBER.value)
        run_of = {run.platform_id: run for run in active}
        open_ = Request.objects.filter(platform__in=mine, state=RequestState.SUBMITTED.value)
        request_of = {request.platform_id: request for request in open_}
        rows = Platform.objects.filter(pk__in=mine).values_list("pk", "state")
        return {pk: _Seen(state, run_of.get(pk), request_of.get(pk)) for pk, state in rows}

    # --- what owners do ---

    def _go_on(self, progress: Progress, seen: _Seen | None) -> None:
        career, owner = progress.career, self.owners[progress.career.project]
        if progress.platform is None or seen is None:
            self._submit(progress, owner)
        elif not progress.decided:
            self._decide(progress, seen, owner)
        elif seen.state in _HISTORY:
            progress.over = True  # refused, called off or retired
        elif seen.waiting is not None:
            self._decide_change(seen.waiting)
        elif seen.run is not None:
            self._watch(progress, seen.run, owner)
        elif progress.begun:
            progress.act, progress.begun = progress.act + 1, False
        elif progress.act == len(career.acts):
            progress.over = True
        else:
            self._act(progress, owner)

    def _submit(self, progress: Progress, owner: User) -> None:
        career = progress.career
        try:
            request = requests.submit_request(
                acting_user=owner,
                project_slug=career.project,
                slug=career.slug,
                services=career.services,
                days=90,
                justification="a soak",
            )
        except InvalidInput as refusal:
            if set(refusal.errors) != {"slug"}:
                raise
            # The answer to the first try was lost: it is there.
            living = Platform.objects.exclude(state__in=_HISTORY)
            request = living.get(slug=career.slug).requests.get(kind=Request.CREATE)
            self.done["request found to have been taken"] += 1
        self.accepted.add(request.pk)
        progress.platform = request.platform_id

    def _decide(self, progress: Progress, seen: _Seen, owner: User) -> None:
        if seen.waiting is not None:
            pk, what = seen.waiting.pk, progress.career.decision
            if what == "approve":
                self._approve(seen.waiting)
            elif what == "reject":
                requests.reject_request(acting_user=self.admin, request_id=pk, comment="no")
            else:
                requests.withdraw_request(acting_user=owner, request_id=pk)
            self.done[f"request: {what}"] += 1
        progress.decided, progress.approved_at = True, time.monotonic()

    def _decide_change(self, request: Request) -> None:
        self.accepted.add(request.pk)
        self._approve(request)
        self.done["request: approve"] += 1

    def _approve(self, request: Request) -> None:
        """What was asked for; where an image was built anew meanwhile, the plan that is offered instead."""
        approve = partial(requests.approve_request, acting_user=self.admin, request_id=request.pk)
        try:
            approve(plan_hash=request.plan_hash)
        except PlanOutdated as outdated:
            if outdated.plan_hash is None:
                raise
            approve(plan_hash=outdated.plan_hash)
            self.done["request: another plan was approved"] += 1

    def _watch(self, progress: Progress, run: Run, owner: User) -> None:
        """Something is under way. Who changes their mind calls it off."""
        patience = progress.career.patience_s
        if patience is None or run.kind != RunKind.CREATE.value or run.state == RunState.UNWINDING.value:
            return
        if time.monotonic() - progress.approved_at > patience:
            self._retire(progress, owner, "creation called off")

    def _retire(self, progress: Progress, owner: User, what: str) -> None:
        slug = progress.career.slug
        try:
            platforms.retire_platform(acting_user=owner, slug=slug, confirm=slug)
            self.done[what] += 1
        except Conflict:
            self.done["not possible at that moment"] += 1

    def _act(self, progress: Progress, owner: User) -> None:
        career = progress.career
        act = career.acts[progress.act]
        progress.begun = True
        try:
            if act == "members":
                self._change_members(progress, owner)
            elif act == "change":
                self._ask_for_change(progress, owner)
            elif act == "rebuild":
                self._rebuild(progress, owner)
            elif act == "retire":
                progress.begun = False  # until it is so: nobody leaves a platform behind that they want gone
                self._retire(progress, owner, act)
                return
            else:
                platforms.power_platform(acting_user=owner, slug=career.slug, action=act)
        except Conflict:
            self.done["not possible at that moment"] += 1  # it had been done, and the answer was lost
        except (OperationalError, InterfaceError, DirectoryDown):
            progress.begun = False
            raise
        else:
            self.done[act] += 1

    def _change_members(self, progress: Progress, owner: User) -> None:
        """People come, and some of them go at once."""
        career = progress.career
        for uid in career.dice.sample(GUESTS, 3):
            members.add_member(acting_user=owner, slug=career.slug, uid=uid)
            if career.dice.random() < 0.5:
                with suppress(NotFound):
                    members.remove_member(acting_user=owner, slug=career.slug, uid=uid)

    def _ask_for_change(self, progress: Progress, owner: User) -> None:
        career = progress.career
        plan = Platform.objects.get(pk=progress.platform or 0).plan
        one = career.dice.choice(plan.machines)
        more = {"memory_mib": one.memory_mib + 64}
        if career.dice.random() < 0.5:
            more = {"data_volume_gib": one.data_volume_gib + 1}
        wish: dict[str, Any] = {"sizes": {one.name: more}}
        if career.dice.random() < 0.5:
            alone = len(plan.services) == 1
            other = (
                [*plan.services, career.dice.choice([s for s in MORE if s not in plan.services])]
                if alone
                else [career.dice.choice(plan.services)]
            )
            wish = {"services": other}
        request = changes.submit_change(
            acting_user=owner, slug=career.slug, justification="a soak", confirm=career.slug, **wish
        )
        self.accepted.add(request.pk)

    def _rebuild(self, progress: Progress, owner: User) -> None:
        """An image of the platform was built anew: it gets it."""
        plan = Platform.objects.get(pk=progress.platform or 0).plan
        stage.build_anew(progress.career.dice.choice(plan.machines).name)
        rebuilds.rebuild_platform(acting_user=owner, slug=progress.career.slug)

    # --- what the administrator does ---

    def _administer(self) -> None:
        """Stuck runs are tried again after a moment; now and then one is given up."""
        failed = Step.objects.filter(state="failed", run__state__in=_ACTIVE).values("run")
        now = time.monotonic()
        for run in Run.objects.filter(Q(pk__in=failed) | Q(state=RunState.STUCK.value), state__in=_ACTIVE):
            since = self._seen_stuck.setdefault(run.pk, now)
            if now - since < 1.5:
                continue
            self._seen_stuck.pop(run.pk)
            again = Run.objects.filter(platform=run.platform_id, state=RunState.UNDONE.value).count()
            give_up = (
                run.state == RunState.STUCK.value and decisions.undoable(run) and (run.pk + again) % 5 == 0
            )
            try:
                if give_up:
                    decisions.undo_run(acting_user=self.admin, run_id=run.pk)
                else:
                    decisions.retry_run(acting_user=self.admin, run_id=run.pk)
                self.done["stuck run: undone" if give_up else "stuck run: retried"] += 1
            except (Conflict, NotFound):
                self.done["not possible at that moment"] += 1


def _user(uid: str, *, administrator: bool = False) -> User:
    user, _made = User.objects.get_or_create(username=uid, defaults={"is_administrator": administrator})
    return user
