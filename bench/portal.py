"""The part of people at a rehearsed site: an owner who asks, an administrator who approves, and the moment of the commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.lab import site as lab_site
from deploy.rehearsal.process import wait_for

if TYPE_CHECKING:
    from placo.platforms.models import Request, Run, User

PATIENCE_S = 120.0


@dataclass(frozen=True)
class Begun:
    """A run, and when it was committed: by the clock that every process of the machine shares."""

    run: Run
    at: float


class Portal:
    """For a process that is a rehearsal's portal."""

    def __init__(self) -> None:
        from placo.platforms.models import Project, ProjectOwner, User

        uids = {person.role: person.uid for person in lab_site.people()}
        project = next(p for p in lab_site.projects() if uids["owner"] in p.owners)
        self.project = project.slug
        self.admin: User = User.objects.create(username=uids["admin"], is_administrator=True)
        self.owner: User = User.objects.create(username=uids["owner"])
        owned = Project.objects.get(slug=self.project)
        ProjectOwner.objects.create(project=owned, uid=self.owner.username)

    def ask(self, slug: str, services: Sequence[str]) -> Request:
        """A request for a platform, as the owner."""
        from placo.services import requests

        return requests.submit_request(
            acting_user=self.owner,
            project_slug=self.project,
            slug=slug,
            services=services,
            days=90,
            justification="To measure.",
        )

    def approve(self, request: Request) -> Begun:
        """Approved: the run has begun."""
        return begun(lambda: self.approved(request))

    def approved(self, request: Request) -> Run:
        """The same in a transaction of the caller's."""
        from placo.services import requests

        return requests.approve_request(acting_user=self.admin, request_id=request.pk)


def begun(start: Callable[[], Run]) -> Begun:
    """Start a run; the moment is that between the commit and the doorbell."""
    from django.db import transaction

    moments: list[float] = []
    with transaction.atomic():
        transaction.on_commit(lambda: moments.append(time.monotonic()))
        run = start()
    return Begun(run, moments[0])


def finished(runs: Sequence[int], patience_s: float = PATIENCE_S) -> None:
    """Wait until all of these runs are done; RuntimeError for one that ends otherwise, or is stuck."""
    from placo.platforms.models import Run

    def done() -> bool:
        states = dict(Run.objects.filter(pk__in=runs).values_list("pk", "state"))
        wrong = {pk: state for pk, state in states.items() if state not in ("running", "done")}
        if wrong:
            raise RuntimeError(f"runs that are not done but {wrong}")
        return set(states.values()) == {"done"}

    wait_for(done, "the end of all runs", patience_s)
