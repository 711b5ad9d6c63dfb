"""The portal as the command sees it: HTTP with a bearer token that is kept in the person's own configuration."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

LOCAL = {"localhost", "127.0.0.1", "::1"}
TIMEOUT_S = 30.0


class CommandError(Exception):
    """What the person is told instead of a result: what was wrong, which fields, what to do.

    `document` is the portal's problem document, where there is one.
    """

    def __init__(
        self,
        message: str,
        remedy: str = "",
        errors: list[dict[str, str]] | None = None,
        status: int = 0,
        document: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.errors = errors or []
        self.status = status
        self.document = document or {}


@dataclass(frozen=True)
class Login:
    """Where one is logged in, as kept in token.json (mode 0600)."""

    portal: str
    uid: str
    token: str = field(repr=False)


def login_file() -> Path:
    """~/.config/placo/token.json, or below $XDG_CONFIG_HOME."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "placo" / "token.json"


def read_login() -> Login | None:
    """The login kept on this machine; CommandError if its file cannot be used."""
    path = login_file()
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Login(str(data["portal"]), str(data["uid"]), str(data["token"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{path} cannot be used: {error}", "Delete it, then run `placo login`.") from error


def keep_login(login: Login) -> Path:
    """Keep a login, readable by its owner alone; an older one is replaced whole."""
    path = login_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".token-")  # made with mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(login), file)
    Path(draft).replace(path)
    return path


def forget_login() -> bool:
    """Delete the login kept here; whether there was one."""
    path = login_file()
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def _client(portal: str) -> httpx.Client:
    parts = urlsplit(portal)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CommandError(
            f"{portal!r} is not the address of a portal.", "Give one like https://placo.example.org."
        )
    if parts.scheme == "http" and parts.hostname not in LOCAL:
        raise CommandError(
            f"{portal} is not encrypted: your password or token could be read on the way.",
            "Use its https address.",
        )
    return httpx.Client(
        base_url=f"{portal.rstrip('/')}/api/v1", timeout=TIMEOUT_S, trust_env=parts.hostname not in LOCAL
    )


def _problem(answer: httpx.Response) -> CommandError:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "detail" not in body:
        return CommandError(
            f"the portal answered {answer.status_code} {answer.reason_phrase}.",
            "Check its address with --portal.",
            status=answer.status_code,
        )
    remedy = str(body.get("remedy") or "")
    if body.get("reference"):
        remedy = f"{remedy} Reference: {body['reference']}".strip()
    if answer.status_code == 401 and not answer.request.headers.get("Authorization", "").startswith("Basic"):
        remedy = "Run `placo login`."
    return CommandError(str(body["detail"]), remedy, body.get("errors"), answer.status_code, body)


def _send(client: httpx.Client, method: str, path: str, **options: Any) -> Any:
    try:
        answer = client.request(method, path, **options)
    except httpx.HTTPError as error:
        raise CommandError(
            f"the portal at {client.base_url.host} does not answer: {error}",
            "Check the address with --portal, or tell your administrator.",
        ) from error
    if answer.is_error:
        raise _problem(answer)
    if answer.status_code == httpx.codes.NO_CONTENT:
        return None
    if not answer.headers.get("content-type", "").startswith("application/json"):
        raise CommandError(f"{client.base_url} is not a portal of PLACO.", "Check the address with --portal.")
    return answer.json()


class Portal:
    """The API with a token."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self._http = _client(login.portal)
        self._http.headers["Authorization"] = f"Bearer {login.token}"

    def __call__(self, method: str, *path: object, query: dict[str, Any] | None = None, **body: Any) -> Any:
        """The JSON of the answer. Each part of the path is escaped; raises CommandError for a problem document."""
        where = "/" + "/".join(quote(str(part), safe="") for part in path)
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return _send(self._http, method, where, params=given, json=body or None)


def ask_token(portal: str, uid: str, password: str) -> Login:
    """Log in with account and password; raises CommandError when that is refused."""
    with _client(portal) as client:
        auth = httpx.BasicAuth(uid.encode(), password.encode())
        answer = _send(client, "POST", "/tokens", auth=auth)
    return Login(portal.rstrip("/"), answer["uid"], answer["token"])
