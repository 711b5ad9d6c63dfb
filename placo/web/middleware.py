"""Errors as pages that help, and the content security policy."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from placo.services.errors import ServiceError
from placo.web.pages import error_page, reference

log = logging.getLogger("placo.web")
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


class ServiceErrors(_Middleware):
    """Turns what a screen raises into a page. The API answers for itself."""

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
        ref = reference()
        log.error("reference=%s %s %s broke", ref, request.method, request.path, exc_info=error)
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
