"""Who calls: a bearer token, or the browser's session with its CSRF token."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja.security import HttpBasicAuth, HttpBearer
from ninja.security.apikey import APIKeyCookie
from ninja.utils import check_csrf

from placo import logs
from placo.platforms.models import User
from placo.services import accounts
from placo.services.errors import Forbidden


class Caller(HttpRequest):
    """A request whose caller is known (for type hints: django-ninja sets `auth`)."""

    auth: User


class Bearer(HttpBearer):
    """`Authorization: Bearer placo_...`, from POST /tokens."""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        """Whose token it is; None is answered with 401."""
        user = accounts.user_of_token(token)
        if user is not None:
            logs.note(user=user.username)
        return user


def token_of(request: HttpRequest) -> str:
    """The bearer token of a call that came with one."""
    return request.headers["Authorization"].partition(" ")[2].strip()


class Session(APIKeyCookie):
    """The portal's own pages: the session's cookie; calls that change something carry the CSRF token."""

    param_name = "sessionid"

    def __call__(self, request: HttpRequest) -> User | None:
        """The person logged in; only their calls are checked for CSRF, so that others get 401 and not 403."""
        return self.authenticate(request, None)

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        """The person logged in, if any."""
        user = request.user
        if not isinstance(user, User) or not user.is_active:
            return None
        if check_csrf(request):
            raise Forbidden(
                _("The security token of the page is missing or wrong."),
                _("Reload the page, then try again."),
            )
        logs.note(user=user.username)
        return user


class Basic(HttpBasicAuth):
    """Account and password of the directory (RFC 7617), for POST /tokens only; the caller is (uid, password)."""

    def authenticate(self, request: HttpRequest, username: str, password: str) -> tuple[str, str] | None:
        """What was sent, unless it cannot be an account at all."""
        if not 0 < len(username) <= 150 or not password or "\x00" in username + password:
            return None
        return username, password


AUTH = [Bearer(), Session()]
