"""One host: what is on it, what waits for it, and what to do when it is gone."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from placo.services import host_views, lost
from placo.services.errors import Conflict, InvalidInput
from placo.web.http import flat_errors, screen, user_of


def _page(request: HttpRequest, name: str, *, status: int = 200, **extra: object) -> HttpResponse:
    view = host_views.host_view(acting_user=user_of(request), name=name)
    context = {"view": view, "host": view.host, **extra}
    return render(request, "web/operations_host.html", context, status=status)


@screen()
def host(request: HttpRequest, name: str) -> HttpResponse:
    """What the portal knows of a host."""
    return _page(request, name)


@screen("POST")
def declare_lost(request: HttpRequest, name: str) -> HttpResponse:
    """Asks for the host's name: what waits for it ends."""
    typed = request.POST.get("confirm", "").strip()
    try:
        lost.declare_lost(acting_user=user_of(request), host_name=name, confirm=typed)
    except InvalidInput as error:
        return _page(request, name, status=error.status, errors=flat_errors(error.errors), typed=typed)
    except Conflict as error:
        return _page(request, name, status=error.status, trouble=error)
    messages.success(request, _("%(host)s is lost. What waited for it comes to an end now.") % {"host": name})
    return redirect("web:operations-host", name)


@screen("POST")
def take_back(request: HttpRequest, name: str) -> HttpResponse:
    """Says what is in the way, if something is."""
    try:
        lost.take_back(acting_user=user_of(request), host_name=name)
    except Conflict as error:
        return _page(request, name, status=error.status, trouble=error)
    messages.success(request, _("%(host)s is used again.") % {"host": name})
    return redirect("web:operations-host", name)
