"""What the views share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods

from placo import logs
from placo.platforms.models import User

View = Callable[..., HttpResponse]


def screen(*methods: str) -> Callable[[View], View]:
    """A view for people who logged in, for these methods only (GET and HEAD when none is given)."""
    allowed = list(methods) or ["GET", "HEAD"]

    def decorate(view: View) -> View:
        return login_required(require_http_methods(allowed)(view))

    return decorate


def user_of(request: HttpRequest) -> User:
    """Who asks; only in views that need a login."""
    user = cast(User, request.user)
    logs.note(user=user.username)
    return user


def user_name(request: HttpRequest) -> str | None:
    """The uid of whoever asks, as far as it is known already: nothing is looked up for it."""
    user = getattr(request, "auth", None) or getattr(request, "_cached_user", None)
    return user.username if isinstance(user, User) and user.is_authenticated else None


def wants_fragment(request: HttpRequest) -> bool:
    """Whether htmx asked, for a part of a page."""
    return bool(getattr(request, "htmx", False))


def flat_errors(errors: Any) -> dict[str, str]:
    """InvalidInput.errors with the messages of each field joined."""
    return {field: " ".join(str(message) for message in messages) for field, messages in errors.items()}
