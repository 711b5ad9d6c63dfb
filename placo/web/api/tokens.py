"""Tokens: POST /tokens, and their end."""

from __future__ import annotations

from django.contrib.auth import authenticate
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from ninja import Router, Status

from placo.platforms.models import User
from placo.services import accounts
from placo.services.errors import ServiceError
from placo.web.api.auth import Basic, Bearer, Caller, token_of
from placo.web.api.schemas import Problem, TokenOut

router = Router()


class WrongAccount(ServiceError):
    """No such account, or not its password: which of the two is nobody's business."""

    status = 401
    title = gettext_lazy("Login refused")


class LockedOut(ServiceError):
    """Too many failures in a row."""

    status = 429
    title = gettext_lazy("Too many failed logins")


@router.post(
    "/tokens",
    auth=Basic(),
    response={201: TokenOut, 401: Problem, 429: Problem, 503: Problem},
    summary="Log in and get a bearer token",
)
def create_token(request: HttpRequest) -> Status[TokenOut]:
    """HTTP basic with the account and password of the directory. Repeated failures lock the account out for a while."""
    uid, password = request.auth  # type: ignore[attr-defined]  # set by django-ninja from `Basic`
    user = authenticate(request=request, username=uid, password=password)
    if isinstance(user, User):
        token = accounts.issue_token(acting_user=user)
        return Status(201, TokenOut(token=token, uid=user.username, days=accounts.TOKEN_DAYS))
    if getattr(request, "axes_locked_out", False):
        request.axes_locked_out = False  # type: ignore[attr-defined]  # else its middleware answers with a page
        raise LockedOut(
            _("This account is locked after repeated failures."),
            _("Wait a quarter of an hour, then try again."),
        )
    raise WrongAccount(
        _("The account or the password is wrong."),
        _("Use the account of your laboratory, as in the browser."),
    )


@router.delete(
    "/tokens/current", auth=Bearer(), response={204: None, 401: Problem, 503: Problem}, summary="Log out"
)
def end_token(request: Caller) -> Status[None]:
    """Ends the bearer token with which this is called; the others of the account go on."""
    accounts.end_token(acting_user=request.auth, token=token_of(request))
    return Status(204, None)
