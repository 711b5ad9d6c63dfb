"""Errors as pages that help, and the content security policy."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from placo import logs, metrics
from placo.services.errors import ServiceError
from placo.web.api import problems
from placo.web.http import user_name
from placo.web.pages import error_page, reference

log = logs.get_logger("placo.web")
API_PREFIX = "/api/"

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
"""No inline script or style, nothing from anywhere else; Tabler draws its check marks with data: images."""

Answer = HttpResponseBase | Awaitable[HttpResponseBase]


class _Middleware:
    """Runs in both worlds, so that an async view keeps no thread busy."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Answer]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Answer:
        response = self.get_response(request)
        if isinstance(response, HttpResponseBase):
            return self.finish(request, response)
        return self._later(request, response)

    async def _later(self, request: HttpRequest, response: Awaitable[HttpResponseBase]) -> HttpResponseBase:
        return self.finish(request, await response)

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Change the response on its way out."""
        return response


REQUEST_ID = "X-Request-ID"
_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
_QUIET = "/static/"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestLog(_Middleware):
    """A name for each request, in every line of the log that it causes and in its answer; one line when it is answered.

    The name that a client or proxy gave it is kept if it is well-formed. Only the path is logged: queries may hold anything.
    """

    def __call__(self, request: HttpRequest) -> Answer:
        given = request.headers.get(REQUEST_ID, "")
        name = given if _WELL_FORMED.fullmatch(given) else secrets.token_hex(6)
        logs.forget()
        logs.note(request=name)
        request.META["placo.request"] = name, time.monotonic()
        return super().__call__(request)

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        name, began = request.META["placo.request"]
        response.headers[REQUEST_ID] = name
        seconds = time.monotonic() - began
        if not request.path.startswith(_QUIET):
            match = request.resolver_match
            view = match.view_name if match is not None and match.view_name else "none"
            status = f"{response.status_code // 100}xx"
            metrics.request_seconds.labels(
                view, request.method if request.method in _METHODS else "other", status
            ).observe(seconds)
            who = {"user": logs.known().get("user") or user_name(request)}
            log.info(
                "answered",
                method=request.method,
                path=request.path,
                status=response.status_code,
                seconds=round(seconds, 4),
                **{field: value for field, value in who.items() if value},
            )
        return response


class ServiceErrors(_Middleware):
    """Turns what a screen raises into a page. The API answers for itself, but for what never reached it."""

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        refused = request.path.startswith(API_PREFIX) and response.status_code >= 400
        if refused and response.headers.get("Content-Type") != problems.CONTENT_TYPE:
            return problems.bare(response)
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if request.path.startswith(API_PREFIX):
            return None
        if isinstance(error, ServiceError):
            return error_page(
                request, status=error.status, title=error.title, message=error.message, remedy=error.remedy
            )
        if isinstance(error, Http404):
            return error_page(
                request,
                status=404,
                title=_("Not found"),
                message=_("There is nothing here that you may see."),
                remedy=_("Check the address, or go back to your platforms."),
            )
        if isinstance(error, PermissionDenied):
            return None  # django-axes answers by itself
        if isinstance(error, OperationalError | InterfaceError):
            return None  # no page of the portal can be made without the database: templates/500.html needs nothing
        ref = reference()
        log.error("a page broke", reference=ref, method=request.method, path=request.path, exc_info=error)
        return error_page(
            request,
            status=500,
            title=_("Something broke"),
            message=_("This is our fault, not yours. Nothing that you entered was half done."),
            remedy=_("Try again; if it lasts, give the reference to your administrator."),
            ref=ref,
        )


class ContentSecurityPolicy(_Middleware):
    """The policy on every answer that has none of its own, and no shared caching of anybody's pages."""

    def finish(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        if not request.path.startswith("/static/"):
            response.headers.setdefault("Cache-Control", "private, no-cache")
        return response
