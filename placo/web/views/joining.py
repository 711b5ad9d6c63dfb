"""What people do with a link from a mail: accept an invitation, choose a new password.

The link itself only puts its token into the session and goes on to an address without it, so that no browser tells it to anybody,
and opening it uses nothing up: mail scanners do.
"""

from __future__ import annotations

from typing import Any

from axes.utils import reset as forget_failures
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.password_validation import password_validators_help_texts
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from placo.domain import guests as rules
from placo.platforms.models import User
from placo.services import accounts, joining, passwords
from placo.services.errors import Conflict, DirectoryDown, InvalidInput, ServiceError, TooMany
from placo.services.selectors import services_named
from placo.web.auth import client_address
from placo.web.http import flat_errors, user_of

INVITATION, RESET = "invitation-token", "reset-token"
BACKEND = "placo.web.auth.DirectoryBackend"


def _keep(request: HttpRequest, name: str, token: str, view: str) -> HttpResponse:
    request.session[name] = token
    answer = redirect(view)
    answer["Referrer-Policy"], answer["Cache-Control"] = "no-referrer", "no-store"
    return answer


@require_http_methods(["GET", "HEAD"])
def invitation_link(request: HttpRequest, token: str) -> HttpResponse:
    """The link of an invitation."""
    return _keep(request, INVITATION, token, "web:invitation")


@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest) -> HttpResponse:
    """What one is invited to, and how to accept it."""
    token = request.session.get(INVITATION, "")
    if request.method != "POST":
        return _offer(request, token)
    try:
        if isinstance(request.user, User) and request.user.is_authenticated:
            row = joining.accept(acting_user=user_of(request), token=token)
        else:
            names = {"name": "name", "shown": "shown", "password": "password", "again": "password_again"}
            typed = {field: request.POST.get(sent, "") for field, sent in names.items()}
            guest, row = joining.join(token=token, **typed)
            login(request, accounts.user_of_guest(guest), backend=BACKEND)
            accounts.remember_language(acting_user=user_of(request), language=get_language() or "")
            messages.success(
                request, _("Welcome! Your account is %(uid)s: you log in with it.") % {"uid": guest.uid}
            )
    except InvalidInput as error:
        return _offer(request, token, status=error.status, errors=flat_errors(error.errors))
    except (Conflict, DirectoryDown) as error:
        return _offer(request, token, status=error.status, trouble=error)
    request.session.pop(INVITATION, None)
    messages.success(request, _("You are a member of %(title)s from now on.") % {"title": row.platform.title})
    return redirect("web:platform", row.platform.slug)


def _offer(
    request: HttpRequest,
    token: object,
    *,
    status: int = 200,
    errors: dict[str, str] | None = None,
    trouble: ServiceError | None = None,
) -> HttpResponse:
    context: dict[str, Any] = {"errors": errors or {}, "mark": rules.MARK, "trouble": trouble}
    try:
        offer = joining.offer(token)
    except DirectoryDown as error:
        return render(request, "web/invitation.html", context | {"trouble": error}, status=error.status)
    context |= {"offer": offer, "typed": request.POST, "hints": password_validators_help_texts()}
    if offer.trouble:
        message, remedy = joining.why(offer.trouble)
        context |= {"void": message, "remedy": remedy}
        status = 410 if status == 200 else status
    elif offer.invitation is not None:
        platform = offer.invitation.platform
        context |= {
            "invitation": offer.invitation,
            "platform": platform,
            "services": services_named(platform.plan.services),
        }
    return render(request, "web/invitation.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def forgotten(request: HttpRequest) -> HttpResponse:
    """Where guests have a link sent, and others learn where to go."""
    context: dict[str, Any] = {"help": accounts.password_help(), "sent": False}
    status = 200
    if request.method == "POST":
        try:
            passwords.forgotten(
                mail=request.POST.get("mail", ""),
                language=get_language() or "",
                address=client_address(request),
            )
            context["sent"] = True
        except TooMany as error:
            context["trouble"], status = error, error.status
    return render(request, "web/password_forgotten.html", context, status=status)


@require_http_methods(["GET", "HEAD"])
def reset_link(request: HttpRequest, token: str) -> HttpResponse:
    """The link of a reset."""
    return _keep(request, RESET, token, "web:password-reset")


@require_http_methods(["GET", "HEAD", "POST"])
def reset(request: HttpRequest) -> HttpResponse:
    """A new password for who has the link."""
    token = request.session.get(RESET, "")
    context: dict[str, Any] = {"errors": {}, "hints": password_validators_help_texts()}
    status = 200
    if request.method == "POST":
        try:
            sent = request.POST
            guest = passwords.reset(token=token, new=sent.get("new", ""), again=sent.get("new_again", ""))
        except InvalidInput as error:
            context["errors"], status = flat_errors(error.errors), error.status
        except (Conflict, DirectoryDown) as error:
            context["trouble"], status = error, error.status
        else:
            request.session.pop(RESET, None)
            forget_failures(username=guest.uid)
            messages.success(
                request, _("Your password has been changed. Log in as %(uid)s.") % {"uid": guest.uid}
            )
            return redirect("web:login")
    found = passwords.reset_of(token)
    if found is None and "trouble" not in context:
        context["trouble"], status = passwords.link_is_void(), 410
    context["guest"] = found.guest if found else None
    return render(request, "web/password_reset.html", context, status=status)
