"""Problem documents (RFC 9457): what was wrong, which field, what to do.

    {"type": "about:blank", "title": "...", "status": 422, "detail": "...", "remedy": "...",
     "errors": [{"field": "slug", "message": "..."}]}

The refusal of a plan that no longer fits has `differences` (`item`, `old`, `new`) and the `plan_hash` of the plan to approve
instead, null where there is none. `type` is a path below the portal that names the class of the refusal; `errors` is only there for fields; `reference` only
for a fault of the portal, and it is in the portal's log beside the trace.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from placo import logs
from placo.services.errors import DatabaseDown, InvalidInput, NotFound, PlanOutdated, ServiceError
from placo.web.pages import reference

log = logs.get_logger("placo.api")

CONTENT_TYPE = "application/problem+json"


def problem(
    status: int,
    title: object,
    detail: object,
    *,
    kind: str = "about:blank",
    remedy: object = "",
    errors: Iterable[Mapping[str, object]] = (),
    ref: str = "",
    more: Mapping[str, object] | None = None,
) -> HttpResponse:
    """A problem document as a response; texts may be lazy translations, `more` are members of its kind alone."""
    body: dict[str, Any] = {"type": kind, "title": str(title), "status": status, "detail": str(detail)}
    if remedy:
        body["remedy"] = str(remedy)
    found = [{name: str(value) for name, value in error.items()} for error in errors]
    if found:
        body["errors"] = found
    if ref:
        body["reference"] = ref
    body |= more or {}
    text = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")
    response = HttpResponse(text, status=status, content_type=CONTENT_TYPE)
    if status == 401:
        response["WWW-Authenticate"] = 'Bearer realm="PLACO"'
    return response


def of_service_error(error: ServiceError) -> HttpResponse:
    """The document for a refusal of a use case."""
    errors: list[dict[str, object]] = []
    if isinstance(error, InvalidInput):
        errors = [{"field": field, "message": m} for field, found in error.errors.items() for m in found]
    more: dict[str, object] = {}
    if isinstance(error, PlanOutdated):
        found = [item.as_json() for item in error.differences]
        more = {"differences": found, "plan_hash": error.plan_hash}
    kind = f"/problems/{type(error).__name__}"
    return problem(
        error.status, error.title, error.message, kind=kind, remedy=error.remedy, errors=errors, more=more
    )


def bare(response: HttpResponseBase) -> HttpResponse:
    """The document in place of an answer that Django gave by itself: a path that there is not, a method that it does not take."""
    if response.status_code == 404:
        return of_service_error(NotFound())
    detail, remedy = _("The portal refused this call."), ""
    if response.status_code == 405:
        detail = _("There is something at this address, but it does not take this method.")
        remedy = _("Use one of: %(methods)s.") % {"methods": response.headers.get("Allow", "")}
    made = problem(response.status_code, _("This call cannot be understood"), detail, remedy=remedy)
    for name in ("Allow", "Retry-After"):
        if name in response.headers:
            made.headers[name] = response.headers[name]
    return made


def _field(location: Iterable[object]) -> str:
    """("body", "payload", "days") -> "days": the name that the client used."""
    parts = [str(part) for part in location]
    if parts and parts[0] in ("body", "query", "path", "form"):
        parts = parts[2:] if parts[0] == "body" and len(parts) > 2 else parts[1:]
    return ".".join(parts)


def of_validation_error(error: ValidationError) -> HttpResponse:
    """The document for input of the wrong type."""
    errors = [{"field": _field(e.get("loc", ())), "message": e.get("msg", "")} for e in error.errors]
    detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors)
    return problem(422, InvalidInput.title, detail, kind="/problems/InvalidInput", errors=errors)


def unauthenticated() -> HttpResponse:
    """The document for a missing or void token."""
    return problem(
        401,
        _("Log in first"),
        _("No valid token came with this call: it is missing, unknown or has expired."),
        kind="/problems/Unauthenticated",
        remedy=_("Get one with POST /api/v1/tokens (or `placo login`) and send it as Authorization: Bearer."),
    )


def fault(error: Exception) -> HttpResponse:
    """The document for a mistake of the portal itself: a reference, no trace."""
    ref = reference()
    log.error("the API broke", reference=ref, error=type(error).__name__, exc_info=error)
    return problem(
        500,
        _("The portal made a mistake"),
        _("Something unexpected went wrong. Nothing is known to have changed."),
        kind="/problems/Fault",
        remedy=_("Try again; if it lasts, give this reference to your administrator."),
        ref=ref,
    )


def install(api: NinjaAPI) -> None:
    """Make every error of the API a problem document."""

    @api.exception_handler(ServiceError)
    def service_error(request: HttpRequest, error: ServiceError) -> HttpResponse:
        return of_service_error(error)

    @api.exception_handler(OperationalError)
    @api.exception_handler(InterfaceError)
    def without_database(request: HttpRequest, error: Exception) -> HttpResponse:
        log.error("no database", why=str(error).strip())
        return of_service_error(DatabaseDown())

    @api.exception_handler(ValidationError)
    def validation_error(request: HttpRequest, error: ValidationError) -> HttpResponse:
        return of_validation_error(error)

    @api.exception_handler(AuthenticationError)
    def authentication_error(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
        return unauthenticated()

    @api.exception_handler(HttpError)
    def http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
        return problem(error.status_code, _("This call cannot be understood"), error.message)

    @api.exception_handler(Http404)
    def not_found(request: HttpRequest, error: Http404) -> HttpResponse:
        return of_service_error(NotFound())

    @api.exception_handler(Exception)
    def unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
        return fault(error)
