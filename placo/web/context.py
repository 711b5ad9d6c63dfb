"""What every page knows."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from placo.platforms.models import User
from placo.services import access, notices, selectors
from placo.services import drift as drift_service


def portal(request: HttpRequest) -> dict[str, Any]:
    """Site name, the section that the page belongs to, what waits for the person, whether requests concern them."""
    user = getattr(request, "user", None)

    def waiting() -> int:
        administrator = (
            user is not None and user.is_authenticated and getattr(user, "is_administrator", False)
        )
        return selectors.waiting_requests() if administrator else 0

    def drift() -> int:
        return drift_service.waiting() if user is not None and getattr(user, "is_administrator", False) else 0

    def may_ask() -> bool:
        if not isinstance(user, User) or not user.is_authenticated:
            return False
        return access.owned_projects(user).exists() or access.visible_requests(user).exists()

    def unread() -> int:
        known = user is not None and user.is_authenticated
        return notices.unread(user).count() if known and isinstance(user, User) else 0

    match = getattr(request, "resolver_match", None)
    name = (match.url_name or "") if match else ""
    return {
        "portal_name": settings.SITE.site.name,
        "section": name.split("-")[0],
        "waiting_requests": SimpleLazyObject(waiting),
        "waiting_drift": SimpleLazyObject(drift),
        "asks_for_platforms": SimpleLazyObject(may_ask),
        "unread_notices": SimpleLazyObject(unread),
    }
