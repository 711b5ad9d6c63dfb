"""Doors on the web: HTTP basic authentication, and forms that give a session."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import TracebackType
from urllib.parse import urljoin, urlsplit

import httpx

from placo.domain.doors import LoginKind
from placo.drivers.door_streams import ConversationError
from placo.drivers.doors import Answer, Door, Outcome

_AGENT = "placo-doorman"
_REDIRECTS = 5
_PAGE_MAX = 2 << 20
"""As much of a page as is looked at, in bytes."""


@dataclass(frozen=True)
class Page:
    """An answer of the web: where it came from in the end, its status, and its beginning."""

    path: str
    status: int
    text: str = field(repr=False)


class Pages:
    """A browser of its own, with cookies, at one public name; all that it does takes `timeout_s` seconds at most."""

    def __init__(
        self, edge: Path | str, port: int, host: str, trusted: ssl.SSLContext, timeout_s: float
    ) -> None:
        uds = str(edge) if isinstance(edge, Path) else None
        self._host, self._target, self._port = host, host if uds else str(edge), port
        self._until = time.monotonic() + timeout_s
        transport = httpx.HTTPTransport(verify=trusted, uds=uds, trust_env=False)
        self._client = httpx.Client(transport=transport, trust_env=False, headers={"User-Agent": _AGENT})

    def __enter__(self) -> Pages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(
        self,
        path: str,
        *,
        credentials: tuple[str, str] | None = None,
        form: dict[str, str] | None = None,
        follow: bool = False,
    ) -> Page:
        """GET, or POST of a form's fields. Redirects are followed only where asked for, and only at this name."""
        for _turn in range(_REDIRECTS + 1):
            page, location = self._once(path, credentials, form)
            if not follow or not location:
                return page
            target = urlsplit(urljoin(f"https://{self._host}{path}", location))
            if target.scheme != "https" or target.hostname != self._host:
                raise ConversationError("it leads elsewhere")
            path, form = target._replace(scheme="", netloc="", fragment="").geturl() or "/", None
        raise ConversationError("it leads round and round")

    def _once(
        self, path: str, credentials: tuple[str, str] | None, form: dict[str, str] | None
    ) -> tuple[Page, str]:
        authority = self._host if self._port == 443 else f"{self._host}:{self._port}"
        headers = {"Host": authority}
        if form is not None:
            headers["Referer"], headers["Origin"] = f"https://{authority}/", f"https://{authority}"
        try:
            url = httpx.URL(scheme="https", host=self._target, port=self._port, raw_path=path.encode("ascii"))
            with self._client.stream(
                "GET" if form is None else "POST",
                url,
                data=form,
                auth=httpx.BasicAuth(*credentials) if credentials else None,
                headers=headers,
                timeout=self._left(),
                extensions={"sni_hostname": self._host},
            ) as answer:
                content = b""
                for piece in answer.iter_bytes():
                    content += piece
                    self._left()
                    if len(content) > _PAGE_MAX:
                        break
                text = content.decode(answer.encoding or "utf-8", "replace")
                location = answer.headers.get("Location", "") if answer.is_redirect else ""
                return Page(path, answer.status_code, text), location
        except httpx.TimeoutException:
            raise TimeoutError from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _plain(error) from None

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _plain(error: BaseException) -> Exception:
    """The error of the network behind one of the library's, which may hold what was sent."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return ConnectionError()
    return ConversationError(f"no usable answer ({type(error).__name__})")


def try_basic(pages: Pages, door: Door, uid: str | None, password: str) -> Outcome:
    """A name and a password with the question, or the question alone."""
    status = pages.ask(door.path, credentials=None if uid is None else (uid, password)).status
    if status in door.login.refused and door.login.by is not LoginKind.NONE:
        return Outcome(Answer.REFUSED, f"answers {status}")
    if status < 400:
        return Outcome(Answer.ADMITTED, f"answers {status}")
    return Outcome(Answer.SILENT, f"answers {status}")


def try_form(pages: Pages, door: Door, uid: str | None, password: str) -> Outcome:
    """The page with the form, its fields with what is hidden among them, and what comes of that."""
    page = pages.ask(door.path, follow=True)
    if door.login.inside in page.text:
        return Outcome(Answer.ADMITTED, "shows the inside to everybody")
    form = find_form(page.text, door.login.password)
    if form is not None and uid is not None:
        target = urlsplit(urljoin(f"https://{door.host}{page.path}", form.action))
        if target.hostname != door.host:
            return Outcome(Answer.SILENT, "its form leads elsewhere")
        where = target._replace(scheme="", netloc="", fragment="").geturl() or "/"
        fields = {**form.hidden, door.login.user: uid, door.login.password: password}
        page = pages.ask(where, form=fields, follow=True)
        if door.login.inside in page.text:
            return Outcome(Answer.ADMITTED, "shows the inside")
        form = find_form(page.text, door.login.password)
    if form is None:
        return Outcome(Answer.SILENT, f"answers {page.status}, with neither the inside nor the form")
    return Outcome(Answer.REFUSED, f"answers {page.status} with the form")


@dataclass
class Form:
    """A form of a page: where it goes (relative to the page), and the fields that it hides."""

    action: str = ""
    hidden: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(values.get("action", "")))
            self._open = True
        elif tag == "input" and self._open and values.get("name"):
            self.found[-1].names.add(values["name"])
            if values.get("type", "").lower() == "hidden":
                self.found[-1].hidden[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = False


def find_form(page: str, password: str) -> Form | None:
    """The form of a page that has a field of this name."""
    parser = _Forms()
    parser.feed(page)
    return next((form for form in parser.found if password in form.names), None)
