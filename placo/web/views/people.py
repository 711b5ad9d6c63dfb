"""Who may use a platform."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from placo.services import members, pictures
from placo.services.errors import Conflict, DirectoryDown, InvalidInput, NotFound, ServiceError
from placo.web.http import screen, user_of, wants_fragment


def _found(request: HttpRequest, slug: str, text: str) -> dict[str, object]:
    """The people found, or why nobody could be looked for: the page works without the directory."""
    try:
        return {
            "text": text,
            "people": members.search_people(acting_user=user_of(request), slug=slug, text=text),
        }
    except DirectoryDown as error:
        return {"text": text, "people": [], "trouble": error}


def _page(
    request: HttpRequest, slug: str, *, status: int = 200, refused: ServiceError | None = None, uid: str = ""
) -> HttpResponse:
    platform, rows = pictures.members(acting_user=user_of(request), slug=slug)
    text = request.GET.get("q", "") or uid
    context = {
        "platform": platform,
        "managed": True,
        "rows": rows,
        "waiting": any(not row.membership.settled for row in rows),
        "open": platform.state in members.OPEN,
        "refused": refused,
        "uid": uid,
        **(_found(request, slug, text) if text and not refused else {"text": text}),
    }
    template = "web/_people_rows.html" if wants_fragment(request) else "web/people.html"
    return render(request, template, context, status=status)


@screen()
def people(request: HttpRequest, slug: str) -> HttpResponse:
    """Members, and who could become one."""
    return _page(request, slug)


@screen()
def rows(request: HttpRequest, slug: str) -> HttpResponse:
    """The members alone: asked for again and again until the directory has followed."""
    return _page(request, slug)


@screen()
def search(request: HttpRequest, slug: str) -> HttpResponse:
    """People of the directory who could be added."""
    context = _found(request, slug, request.GET.get("q", ""))
    platform, _rows = pictures.members(acting_user=user_of(request), slug=slug)
    context |= {"platform": platform, "open": platform.state in members.OPEN}
    return render(request, "web/_people_found.html", context)


@screen("POST")
def add(request: HttpRequest, slug: str) -> HttpResponse:
    """Add one person."""
    uid = request.POST.get("uid", "")
    try:
        row = members.add_member(acting_user=user_of(request), slug=slug, uid=uid)
    except (InvalidInput, DirectoryDown, Conflict) as error:
        if wants_fragment(request):
            raise
        return _page(request, slug, status=error.status, refused=error, uid=uid)
    if wants_fragment(request):
        return _page(request, slug)
    messages.success(request, _("%(name)s is being added.") % {"name": row.name})
    return redirect("web:platform-people", slug)


@screen("POST")
def remove(request: HttpRequest, slug: str) -> HttpResponse:
    """Remove one person."""
    uid = request.POST.get("uid", "")
    try:
        row = members.remove_member(acting_user=user_of(request), slug=slug, uid=uid)
    except (Conflict, NotFound) as error:
        if wants_fragment(request):
            raise
        return _page(request, slug, status=error.status, refused=error)
    if wants_fragment(request):
        return _page(request, slug)
    messages.success(request, _("%(name)s is being removed.") % {"name": row.name})
    return redirect("web:platform-people", slug)
