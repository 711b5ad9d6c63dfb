"""Logging in: the local break-glass administrator, everybody else by the directory, and the lockout's answer."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django_auth_ldap.backend import LDAPBackend, ldap_error

from placo.platforms.models import User
from placo.services import accounts
from placo.services.errors import DirectoryDown
from placo.web.pages import error_page


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
            or User.objects.filter(username__iexact=username.strip(), is_break_glass=True).exists()
        ):
            return None  # a name that is local never comes from the directory
        user: User | None = super().authenticate(request, username=username, password=password, **kwargs)
        return user

    def authenticate_ldap_user(self, ldap_user: Any, password: str) -> User | None:
        user: User | None = super().authenticate_ldap_user(ldap_user, password)
        if user is not None:
            accounts.copy_roles(user, (ldap_user.attrs or {}).get("memberOf", []))
        return user

    def get_or_build_user(self, username: str, ldap_user: Any) -> tuple[User, bool]:
        """By the uid that the directory holds: it ignores case and outer spaces in what was typed, accounts do not."""
        found = (ldap_user.attrs or {}).get("uid") or [username]
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
