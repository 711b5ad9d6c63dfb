"""Asking for a change of a living platform; decided about like any request."""

from __future__ import annotations

from ninja import Router, Status

from placo.services import changes
from placo.web.api.auth import Caller
from placo.web.api.schemas import Problem
from placo.web.api.schemas_changes import ChangeIn
from placo.web.api.schemas_flow import RequestOut, request_out

router = Router()
ERRORS = {401: Problem, 403: Problem, 404: Problem, 409: Problem, 422: Problem}


@router.post("/platforms/{slug}/changes", response={201: RequestOut, **ERRORS}, summary="Ask for a change")
def submit_change(request: Caller, slug: str, body: ChangeIn) -> Status[RequestOut]:
    """Other services, other sizes, a later end, for a platform that is ready.

    Freezes the new plan and reserves what it takes. An administrator decides, as about every request.
    """
    made = changes.submit_change(
        acting_user=request.auth,
        slug=slug,
        justification=body.justification,
        services=body.services,
        options=body.options,
        sizes={name: size.model_dump(exclude_none=True) for name, size in body.sizes.items()},
        expires_on=body.expires_on,
        confirm=body.confirm,
    )
    return Status(201, request_out(made))
