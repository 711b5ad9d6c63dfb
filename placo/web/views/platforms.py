"""A platform's own screens."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import formats
from django.utils.translation import gettext as _

from placo.domain.lifecycle import TRANSITIONS, PlatformState, RunKind
from placo.platforms.models import Platform
from placo.services import (
    access,
    change_views,
    pictures,
    platforms,
    proofs,
    rebuilds,
    renewal,
    selectors,
    waiting,
)
from placo.services.errors import Conflict, InvalidInput
from placo.web.http import flat_errors, screen, user_of
from placo.web.tables import Table

NOT_AFTER_THE_END = {kind.value for kind in renewal.RUNNING_ON}


def _possible(platform: Platform) -> set[str]:
    """The kinds of run that the platform's state allows."""
    state = PlatformState(platform.state)
    possible = {kind.value for kind, transition in TRANSITIONS.items() if state in transition.sources}
    return possible & {RunKind.RETIRE.value} if platform.lost else possible


def _picture(request: HttpRequest, slug: str, *, status: int = 200, **extra: object) -> HttpResponse:
    view = pictures.picture(acting_user=user_of(request), slug=slug)
    if view.platform.state == PlatformState.REQUESTED.value:
        return redirect("web:requests-detail", view.platform.request.pk)
    end = renewal.end_of(view.platform, user_of(request), managed=view.managed)
    context = {
        "view": view,
        "platform": view.platform,
        "managed": view.managed,
        "end": end,
        "possible": _possible(view.platform) - (NOT_AFTER_THE_END if end and end.over else set()),
        "proof": proofs.shown(view.platform) if view.managed else None,
        "outdated": [box for box in view.machines if box.outdated],
        "waiting": change_views.waiting_change(view.platform) if view.managed else None,
        **extra,
    }
    return render(request, "web/platform.html", context, status=status)


@screen()
def picture(request: HttpRequest, slug: str) -> HttpResponse:
    """Services -> machines -> software, with health and addresses."""
    return _picture(request, slug)


@screen("POST")
def power(request: HttpRequest, slug: str, action: str) -> HttpResponse:
    """Start, stop, restart: goes to the live page."""
    run = platforms.power_platform(acting_user=user_of(request), slug=slug, action=action)
    return redirect("web:run", run.pk)


@screen("POST")
def rebuild(request: HttpRequest, slug: str) -> HttpResponse:
    """The chosen machines on their newest image, confirmed: goes to the live page."""
    access.get_managed_platform(user_of(request), slug)
    if request.POST.get("confirm") != "yes":
        return redirect("web:platform", slug)
    chosen = request.POST.getlist("machines")
    try:
        run = rebuilds.rebuild_platform(acting_user=user_of(request), slug=slug, machines=chosen)
    except InvalidInput as error:
        wrong = flat_errors(error.errors)["machines"]
        return _picture(request, slug, status=error.status, wrong=wrong)
    except Conflict as error:
        return _picture(request, slug, status=error.status, trouble=error)
    return redirect("web:run", run.pk)


@screen()
def machine(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One machine."""
    view = pictures.machine_view(acting_user=user_of(request), slug=slug, name=name)
    return render(
        request, "web/machine.html", {"view": view, "platform": view.platform, "managed": view.managed}
    )


@screen()
def activity(request: HttpRequest, slug: str) -> HttpResponse:
    """What happened: runs, and who did what."""
    platform = access.get_managed_platform(user_of(request), slug)
    audit = Table(request, pictures.audit_of(platform), search=("actor", "verb"))
    listed = list(pictures.runs_of(platform)[:20])
    waits = waiting.waits_of_runs(run.pk for run in listed)
    context = {
        "platform": platform,
        "managed": True,
        "runs": [(run, waits.get(run.pk, ())) for run in listed],
        "table": audit,
    }
    return render(request, "web/activity.html", context)


def _settings(
    request: HttpRequest, platform: Platform, *, status: int = 200, **extra: object
) -> HttpResponse:
    context = {
        "platform": platform,
        "managed": True,
        "plan": platform.plan,
        "services": [selectors.title_of(service) for service in platform.plan.services],
        "members": platform.memberships.filter(wanted=True).count(),
        "end": renewal.end_of(platform, user_of(request), managed=True),
        "can_retire": RunKind.RETIRE.value in _possible(platform),
        **extra,
    }
    return render(request, "web/settings.html", context, status=status)


@screen()
def settings(request: HttpRequest, slug: str) -> HttpResponse:
    """What was chosen, and the end of the platform."""
    return _settings(request, access.get_managed_platform(user_of(request), slug))


def _said(request: HttpRequest, platform: Platform) -> HttpResponse:
    """Back to the platform, with its new end date in words."""
    values = {"slug": platform.slug, "date": formats.date_format(platform.expires_on or "")}
    messages.success(request, _("%(slug)s now ends on %(date)s.") % values)
    return redirect("web:platform", platform.slug)


@screen("POST")
def renew(request: HttpRequest, slug: str) -> HttpResponse:
    """More time with one click; a second one, which saw the same end date, does nothing."""
    seen = request.POST.get("expires_on") or None
    return _said(request, renewal.renew_platform(acting_user=user_of(request), slug=slug, seen=seen))


@screen("POST")
def end(request: HttpRequest, slug: str) -> HttpResponse:
    """Any end date, for administrators."""
    user, typed = user_of(request), request.POST.get("expires_on", "")
    try:
        platform = renewal.set_end(acting_user=user, slug=slug, expires_on=typed)
    except InvalidInput as error:
        platform = access.get_managed_platform(user, slug)
        return _settings(
            request, platform, status=error.status, errors=flat_errors(error.errors), typed_end=typed
        )
    return _said(request, platform)


@screen("POST")
def retire(request: HttpRequest, slug: str) -> HttpResponse:
    """The end, confirmed by typing the slug; goes to the live page."""
    user, typed = user_of(request), request.POST.get("confirm", "")
    try:
        run = platforms.retire_platform(acting_user=user, slug=slug, confirm=typed.strip())
    except InvalidInput as error:
        platform = access.get_managed_platform(user, slug)
        return _settings(
            request, platform, status=error.status, errors=flat_errors(error.errors), typed=typed
        )
    except Conflict as error:
        return _settings(request, access.get_managed_platform(user, slug), status=error.status, trouble=error)
    return redirect("web:run", run.pk)
