"""A run: the page that lives, and the choices when it is stuck."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from placo.services import decisions, progress
from placo.web.http import screen, user_of

CHOICES = {"retry": decisions.retry_run, "skip": decisions.skip_run, "undo": decisions.undo_run}


@screen()
def detail(request: HttpRequest, run_id: int) -> HttpResponse:
    """The run as it stands; the browser then listens to `live.events`."""
    view = progress.progress(acting_user=user_of(request), run_id=run_id)
    context = {
        "view": view,
        "run": view.run,
        "platform": view.run.platform,
        "usual": progress.usual_seconds(view.run, view.pace),
        "journal": progress.journal(view.run),
    }
    return render(request, "web/run.html", context)


@screen("POST")
def decide(request: HttpRequest, run_id: int, choice: str) -> HttpResponse:
    """Retry, skip or undo."""
    if choice not in CHOICES:
        raise Http404
    CHOICES[choice](acting_user=user_of(request), run_id=run_id)
    return redirect("web:run", run_id)
