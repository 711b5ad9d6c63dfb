"""The first page, the account, the help."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from placo.services import expiry, renewal, selectors
from placo.web.http import screen, user_of


@screen()
def home(request: HttpRequest) -> HttpResponse:
    """What needs you, then your platforms."""
    view = selectors.home(acting_user=user_of(request))
    text = request.GET.get("q", "").strip().lower()
    shown = [c for c in view.platforms if text in f"{c.platform.slug} {c.platform.title}".lower()]
    context = {"view": view, "platforms": shown, "q": request.GET.get("q", "")}
    if not view.platforms and not view.open_requests:
        context["offers"] = selectors.service_cards()
    return render(request, "web/home.html", context)


@screen()
def help_page(request: HttpRequest) -> HttpResponse:
    """What things are called and how they work, and each service's own help."""
    rules = expiry.rules()
    context = {
        "cards": selectors.service_cards(),
        "rules": rules,
        "reminders": ", ".join(str(days) for days in sorted(rules.reminders, reverse=True)),
        "by_oneself": renewal.by_oneself(None),
    }
    return render(request, "web/help.html", context)
