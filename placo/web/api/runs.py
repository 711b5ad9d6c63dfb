"""Following a run, and deciding about one that is stuck."""

from __future__ import annotations

from ninja import Router

from placo.services import access, decisions
from placo.web.api.auth import Caller
from placo.web.api.schemas import Problem
from placo.web.api.schemas_flow import RunOut, run_out

router = Router()
ERRORS = {401: Problem, 403: Problem, 404: Problem, 409: Problem}


@router.get("/runs/{int:run_id}", response={200: RunOut, **ERRORS}, summary="A run and its steps")
def show_run(request: Caller, run_id: int) -> RunOut:
    """Where a run stands. It has ended when its state is done or undone; a stuck one waits for a decision."""
    run = access.get_run(request.auth, run_id)
    return run_out(run, run.steps.all())


@router.post(
    "/runs/{int:run_id}/retry", response={200: RunOut, **ERRORS}, summary="Try the failed steps again"
)
def retry_run(request: Caller, run_id: int) -> RunOut:
    """For a stuck run."""
    decisions.retry_run(acting_user=request.auth, run_id=run_id)
    return show_run(request, run_id)


@router.post(
    "/runs/{int:run_id}/skip", response={200: RunOut, **ERRORS}, summary="Go on without the failed steps"
)
def skip_run(request: Caller, run_id: int) -> RunOut:
    """For a stuck run; administrators only."""
    decisions.skip_run(acting_user=request.auth, run_id=run_id)
    return show_run(request, run_id)


@router.post("/runs/{int:run_id}/undo", response={200: RunOut, **ERRORS}, summary="Undo all that a run did")
def undo_run(request: Caller, run_id: int) -> RunOut:
    """For a creation or change at any time before something is removed for good, for the others once they are stuck."""
    decisions.undo_run(acting_user=request.auth, run_id=run_id)
    return show_run(request, run_id)
