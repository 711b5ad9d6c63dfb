"""Pages that say what went wrong: what happened, why, what to do, and a reference that is in the log."""

from __future__ import annotations

import logging
import secrets

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from placo.web.http import wants_fragment

log = logging.getLogger("placo.web")


def reference() -> str:
    """A short random name for one incident, easy to read aloud."""
    return secrets.token_hex(4)


def error_page(
    request: HttpRequest, *, status: int, title: object, message: object, remedy: object = "", ref: str = ""
) -> HttpResponse:
    """A whole page, or only an alert where htmx asked for a fragment."""
    ref = ref or reference()
    user = getattr(request, "user", None)
    log.log(
        logging.ERROR if status >= 500 else logging.INFO,
        "reference=%s status=%s user=%s %s %s: %s",
        ref,
        status,
        user.pk if user is not None and user.is_authenticated else "-",
        request.method,
        request.path,
        message,
    )
    context = {"status": status, "title": title, "message": message, "remedy": remedy, "reference": ref}
    if wants_fragment(request):
        response = render(request, "web/_error_alert.html", context, status=status)
        response["HX-Retarget"] = "#alerts"
        response["HX-Reswap"] = "innerHTML"
        return response
    return render(request, "web/error.html", context, status=status)
