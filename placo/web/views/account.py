"""One's own account: name and password where the portal keeps them, ssh keys for everybody."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.password_validation import password_validators_help_texts
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from placo.platforms.models import User
from placo.services import access, accounts, guests, keys, passwords
from placo.services.errors import InvalidInput, ServiceError
from placo.web.http import flat_errors, screen, user_of


def _page(request: HttpRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    user = user_of(request)
    context = {
        "projects": [] if user.is_administrator else list(access.owned_projects(user)),
        "keys": list(keys.of(user)),
        "most_keys": keys.MOST,
        "hints": password_validators_help_texts() if user.is_guest else [],
        "help": accounts.password_help(),
        "errors": {},
        "typed": request.POST,
        **more,
    }
    return render(request, "web/account.html", context, status=status)


def _refused(request: HttpRequest, error: ServiceError, part: str) -> HttpResponse:
    """The page again, with what is wrong beside the form that was sent."""
    errors = flat_errors(error.errors) if isinstance(error, InvalidInput) else {}
    return _page(request, status=error.status, part=part, errors=errors, trouble=None if errors else error)


@screen()
def account(request: HttpRequest) -> HttpResponse:
    """Who am I, and how do I like the pages."""
    return _page(request)


@screen("POST")
def rename(request: HttpRequest) -> HttpResponse:
    """Another name to be shown (guests)."""
    try:
        guests.rename(acting_user=user_of(request), shown=request.POST.get("shown", ""))
    except ServiceError as error:
        return _refused(request, error, "name")
    messages.success(request, _("Your name has been changed."))
    return redirect("web:account")


@screen("POST")
def password(request: HttpRequest) -> HttpResponse:
    """Another password (guests)."""
    user, sent = user_of(request), request.POST
    try:
        passwords.change(
            acting_user=user,
            old=sent.get("old", ""),
            new=sent.get("new", ""),
            again=sent.get("new_again", ""),
        )
    except ServiceError as error:
        return _refused(request, error, "password")
    update_session_auth_hash(request, User.objects.get(pk=user.pk))
    messages.success(request, _("Your password has been changed. Sessions elsewhere and tokens have ended."))
    return redirect("web:account")


@screen("POST")
def add_key(request: HttpRequest) -> HttpResponse:
    """One more ssh key."""
    sent = request.POST
    try:
        keys.add(acting_user=user_of(request), key=sent.get("key", ""), title=sent.get("title", ""))
    except ServiceError as error:
        return _refused(request, error, "keys")
    messages.success(request, _("The key has been added."))
    return redirect("web:account")


@screen("POST")
def remove_key(request: HttpRequest, key_id: int) -> HttpResponse:
    """One ssh key less."""
    keys.remove(acting_user=user_of(request), key_id=key_id)
    messages.success(request, _("The key has been removed: it opens nothing any more."))
    return redirect("web:account")
