"""Asking for a change of a living platform."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from placo.domain.lifecycle import PlatformState
from placo.platforms.models import Platform
from placo.services import access, change_views, changes
from placo.services.errors import Conflict, InvalidInput
from placo.web.change_form import ChangeForm, machine_fields, service_fields
from placo.web.change_rows import change_rows, field_label
from placo.web.http import flat_errors, screen, user_of


@screen("GET", "HEAD", "POST")
def change(request: HttpRequest, slug: str) -> HttpResponse:
    """The platform as it is, to be changed: services, sizes, the end."""
    platform = access.get_managed_platform(user_of(request), slug)
    if request.method != "POST":
        return _show(request, platform, ChangeForm.of(platform))
    form = ChangeForm.sent(platform, request.POST)
    try:
        asked = changes.submit_change(
            acting_user=user_of(request),
            slug=slug,
            justification=form.justification,
            confirm=form.confirm,
            **form.wish(),
        )
    except InvalidInput as error:
        return _show(request, platform, form, errors=flat_errors(error.errors), status=error.status)
    except Conflict as error:
        platform.refresh_from_db()
        return _show(request, platform, form, trouble=error, status=error.status)
    messages.success(request, _("Your request has been sent. An administrator will decide about it."))
    return redirect("web:requests-detail", asked.pk)


@screen()
def preview(request: HttpRequest, slug: str) -> HttpResponse:
    """What a choice would change, beside the quota: asked for while it is made."""
    platform = access.get_managed_platform(user_of(request), slug)
    form = ChangeForm.sent(platform, request.GET)
    return render(request, "web/change/preview.html", _preview(request, platform, form))


def _preview(request: HttpRequest, platform: Platform, form: ChangeForm) -> dict[str, Any]:
    context: dict[str, Any] = {"platform": platform, "form": form, "going": form.going(platform)}
    try:
        found = change_views.preview(acting_user=user_of(request), slug=platform.slug, **form.wish())
    except InvalidInput as error:
        flat = flat_errors(error.errors)
        context["problems"] = [(field_label(name), message) for name, message in flat.items()]
        return context
    return context | {"preview": found, "rows": change_rows(found.view)}


def _show(
    request: HttpRequest,
    platform: Platform,
    form: ChangeForm,
    *,
    errors: dict[str, str] | None = None,
    trouble: object = None,
    status: int = 200,
) -> HttpResponse:
    found = errors or {}
    context = {
        "managed": True,
        "errors": found,
        "trouble": trouble,
        "ready": platform.state == PlatformState.READY.value,
        "waiting": change_views.waiting_change(platform),
        "services": service_fields(platform, form, found),
        "machines": machine_fields(platform, form, found),
        **_preview(request, platform, form),
    }
    return render(request, "web/change.html", context, status=status)
