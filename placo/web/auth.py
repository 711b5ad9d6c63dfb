"""Logging in: the local break-glass administrator, everybody else by the directory, and the lockout's answer."""

from __future__ import annotations

import unicodedata
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django_auth_ldap.backend import LDAPBackend, ldap_error

from placo.platforms.models import User
from placo.services import accounts
from placo.services.errors import DirectoryDown
from placo.web.pages import error_page


def client_address(request: HttpRequest) -> str:
    """The address that failures are counted for. Forwarded-for headers are the server's business, not read here."""
    return request.META.get("REMOTE_ADDR") or "127.0.0.1"


def counted_name(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str | None:
    """The account that failures are counted for: what the directory takes for the same name is the same name here."""
    typed = (credentials or {}).get("username") or request.POST.get("username")
    return canonical(typed) if isinstance(typed, str) else None


def canonical(name: str) -> str:
    """A name as the directory compares it (RFC 4518: compatibility forms, case, soft hyphens, outer spaces)."""
    return unicodedata.normalize("NFKC", name).replace("\u00ad", "").strip().casefold()


class BreakGlassBackend(ModelBackend):
    """Local passwords, for break-glass accounts alone."""

    def user_can_authenticate(self, user: Any) -> bool:
        return bool(user is not None and user.is_break_glass and super().user_can_authenticate(user))


class DirectoryBackend(LDAPBackend):  # type: ignore[misc]
    """The directory's password; roles are copied from the directory's groups at each login."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        if (
            not username
            or User.objects.filter(username__iexact=canonical(username), is_break_glass=True).exists()
        ):
            return None  # a name that is local never comes from the directory
        user: User | None = super().authenticate(request, username=username, password=password, **kwargs)
        return user

    def authenticate_ldap_user(self, ldap_user: Any, password: str) -> User | None:
        user: User | None = super().authenticate_ldap_user(ldap_user, password)
        if user is not None:
            groups = (ldap_user.attrs or {}).get("memberOf", [])
            accounts.copy_roles(user, groups, guest=accounts.is_guest(ldap_user.dn))
        return user

    def get_user(self, user_id: Any) -> Any:
        """Nobody who has left the directory, whatever their session says."""
        user = super().get_user(user_id)
        return user if user is not None and user.is_active else None

    def get_or_build_user(self, username: str, ldap_user: Any) -> tuple[User, bool]:
        """By the uid that the directory holds: it ignores case and outer spaces in what was typed, accounts do not."""
        found = (ldap_user.attrs or {}).get("uid") or [username]
        if User.objects.filter(username__iexact=found[0], is_break_glass=True).exists():
            raise PermissionDenied
        user, built = super().get_or_build_user(found[0], ldap_user)
        return user, built


def listen() -> None:
    """Turn the directory's silence into an error of its own: django-auth-ldap would call it a wrong password."""
    ldap_error.connect(_on_directory_error, dispatch_uid="placo.web.auth")


def _on_directory_error(*, exception: BaseException, **kwargs: Any) -> None:
    if accounts.directory_is_down(exception):
        raise DirectoryDown from exception


def locked_out(request: HttpRequest, *rest: Any) -> HttpResponse:
    """The answer of django-axes to too many failures in a row."""
    return error_page(
        request,
        status=429,
        title=_("Too many failed attempts"),
        message=_("Logging in to this account from your address is blocked for a quarter of an hour."),
        remedy=_(
            "Wait, then try again; if you have forgotten your password, ask your laboratory's administrator."
        ),
    )
