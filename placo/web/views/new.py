"""The request in four short steps: what for, options, name and duration, review."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from placo.platforms.models import Project
from placo.services import access, requests, selectors, validation
from placo.services.errors import Conflict, InvalidInput, NotFound
from placo.web.draft import KEY, STEPS, Draft, field_name, step_of
from placo.web.http import flat_errors, screen, user_of


def _number(text: str | None) -> int:
    return int(text) if text in {str(step) for step in STEPS} and text else 1


def _at(step: int) -> str:
    return f"{reverse('web:new')}?step={step}"


@screen("GET", "HEAD", "POST")
def wizard(request: HttpRequest) -> HttpResponse:
    """One step of the request. Every step is an address of its own, so going back is just going back."""
    projects = list(access.owned_projects(user_of(request)))
    if not projects:
        return render(request, "web/new_without_project.html")
    draft = Draft.load(request.session, projects)
    if request.method != "POST":
        step = min(_number(request.GET.get("step")), draft.reached)
        return _show(request, draft, projects, step)
    if request.POST.get("go") == "forget":
        request.session.pop(KEY, None)
        return redirect("web:new")
    return _go(request, draft, projects, _number(request.POST.get("step")))


def _go(request: HttpRequest, draft: Draft, projects: list[Project], step: int) -> HttpResponse:
    draft.take(step, request.POST)
    project = next((p for p in projects if p.slug == draft.project), None)
    if project is None:
        raise NotFound
    draft.save(request.session)
    go = request.POST.get("go", "next")
    if go in {str(s) for s in STEPS} and int(go) <= draft.reached:
        return redirect(_at(int(go)))
    if step == 4:
        return _submit(request, draft, projects)
    errors = draft.errors(step, user=user_of(request), project=project)
    if errors:
        return _show(request, draft, projects, step, errors=errors)
    draft.reached = max(draft.reached, step + 1)
    draft.save(request.session)
    return redirect(_at(step + 1))


def _submit(request: HttpRequest, draft: Draft, projects: list[Project]) -> HttpResponse:
    try:
        asked = requests.submit_request(
            acting_user=user_of(request),
            project_slug=draft.project,
            slug=draft.slug,
            title=draft.title,
            services=draft.services,
            options=draft.chosen_options(),
            days=draft.days,
            justification=draft.justification,
        )
    except InvalidInput as error:
        return _show(request, draft, projects, step_of(error.errors), errors=error.errors)
    except Conflict as error:
        return _show(request, draft, projects, 4, trouble=error, status=error.status)
    request.session.pop(KEY, None)
    messages.success(request, _("Your request has been sent. An administrator will decide about it."))
    return redirect("web:requests-detail", asked.pk)


def _show(
    request: HttpRequest,
    draft: Draft,
    projects: list[Project],
    step: int,
    *,
    errors: Any = None,
    trouble: object = None,
    status: int = 200,
) -> HttpResponse:
    project = next(p for p in projects if p.slug == draft.project)
    found = flat_errors(errors or {})
    services = draft.all_services()
    context: dict[str, Any] = {
        "draft": draft,
        "projects": projects,
        "project": project,
        "step": step,
        "steps": [
            (1, _("What for")),
            (2, _("Options")),
            (3, _("Name and duration")),
            (4, _("Review")),
        ],
        "errors": found,
        "trouble": trouble,
        "preview": requests.preview(
            acting_user=user_of(request),
            project_slug=project.slug,
            services=services,
            options=draft.chosen_options(),
        ),
    }
    if step == 1:
        context["cards"] = selectors.service_cards()
    elif step == 2:
        context["groups"] = _options(draft, services, found)
    elif step == 3:
        context["presets"] = [days for days in (30, 90, 180, 365, 730) if days <= project.max_days]
    else:
        days = int(draft.days) if draft.days.isdecimal() and len(draft.days) < 6 else 0
        context["outlook"] = selectors.outlook(
            services=services, options=draft.chosen_options(), slug=draft.slug
        )
        context["services"] = selectors.services_named(services)
        context["groups"] = _options(draft, services, found)
        context["until"] = timezone.localdate() + timedelta(days=days)
    return render(request, "web/new.html", context, status=422 if found else status)


def _options(draft: Draft, services: tuple[str, ...], errors: dict[str, str]) -> list[dict[str, Any]]:
    """The options of each service with what was chosen, for the form and the review."""
    groups = []
    for service in selectors.services_named(services):
        given = draft.options.get(service.id, {})
        fields = [
            {
                "option": option,
                "name": field_name(service, option),
                "value": given.get(option.name, option.default),
                "words": option.words(given.get(option.name, option.default)),
                "error": errors.get(field_name(service, option), ""),
            }
            for option in service.options
        ]
        groups.append({"service": service, "fields": fields})
    return groups


@screen()
def cost(request: HttpRequest) -> HttpResponse:
    """What the picked services take, beside what is left: asked for as cards are picked."""
    context: dict[str, Any] = {}
    try:
        context["preview"] = requests.preview(
            acting_user=user_of(request),
            project_slug=request.GET.get("project", ""),
            services=request.GET.getlist("services"),
        )
    except InvalidInput as error:
        context["problem"] = flat_errors(error.errors).get("services", str(error))
    return render(request, "web/new/cost.html", context)


@screen()
def check_name(request: HttpRequest) -> HttpResponse:
    """Whether a slug is free, while it is being typed."""
    slug = request.GET.get("slug", "").strip()
    problem = ""
    if slug:
        try:
            validation.check_slug(slug)
        except InvalidInput as error:
            problem = flat_errors(error.errors)["slug"]
    return render(request, "web/new/name.html", {"slug": slug, "problem": problem})
