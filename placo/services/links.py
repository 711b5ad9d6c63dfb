"""Links that are good once and for a while: who has one proves that they read a mailbox.

The token is derived from the site's key and a random number in the row, so that a mail can be sent again without the token being
kept; the row has its digest, by which it is found. It begins with `placo_`: logs hide what does (placo/logs.py).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TypeVar

from placo import wiring
from placo.platforms.models import Invitation, PasswordReset

_TOKEN = re.compile(r"placo_[A-Za-z0-9_-]{43}")
PURPOSES: dict[type[Invitation] | type[PasswordReset], str] = {
    Invitation: "invitation",
    PasswordReset: "password-reset",
}
PATHS = {Invitation: "invitation", PasswordReset: "password/reset"}

Row = TypeVar("Row", Invitation, PasswordReset)


def renew(row: Invitation | PasswordReset) -> None:
    """Give a row a link of its own; one that it had is void. The caller saves it."""
    row.nonce = secrets.token_hex(16)
    row.digest = digest_of(token_of(row))


def token_of(row: Invitation | PasswordReset) -> str:
    """The token of a row's present link."""
    return "placo_" + wiring.machine_secret(row.nonce, PURPOSES[type(row)])


def address_of(row: Invitation | PasswordReset) -> str:
    """The link to send."""
    portal = wiring.site().site.portal_url.rstrip("/")
    return f"{portal}/{PATHS[type(row)]}/{token_of(row)}/"


def find(kind: type[Row], token: object) -> Row | None:
    """The row to which a token belongs; None for one that is altered, unknown or void."""
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return None
    return kind.objects.filter(digest=digest_of(token)).first()


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()
