"""Pages that say what went wrong: what happened, why, what to do, and a reference that is in the log."""

from __future__ import annotations

import secrets

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from placo import logs
from placo.web.http import wants_fragment

log = logs.get_logger("placo.web")


def reference() -> str:
    """What to ask for in the log: the request's own name; a random one outside of any request."""
    return str(logs.known().get("request") or secrets.token_hex(6))


def error_page(
    request: HttpRequest, *, status: int, title: object, message: object, remedy: object = "", ref: str = ""
) -> HttpResponse:
    """A whole page, or only an alert where htmx asked for a fragment."""
    ref = ref or reference()
    say = log.error if status >= 500 else log.info
    say("refused", reference=ref, status=status, method=request.method, path=request.path, why=str(message))
    context = {"status": status, "title": title, "message": message, "remedy": remedy, "reference": ref}
    if wants_fragment(request):
        response = render(request, "web/_error_alert.html", context, status=status)
        response["HX-Retarget"] = "#alerts"
        response["HX-Reswap"] = "innerHTML"
        return response
    return render(request, "web/error.html", context, status=status)
