"""Who may use a platform."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from placo.platforms.models import Invitation
from placo.services import guests, invitations, members, ownership, pictures
from placo.services.errors import Conflict, DirectoryDown, InvalidInput, NotFound, ServiceError, TooMany
from placo.web.http import flat_errors, screen, user_of, wants_fragment


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
    request: HttpRequest,
    slug: str,
    *,
    status: int = 200,
    refused: ServiceError | None = None,
    uid: str = "",
    **more: object,
) -> HttpResponse:
    user = user_of(request)
    platform, rows = pictures.members(acting_user=user, slug=slug)
    text = request.GET.get("q", "") or uid
    context = {
        "platform": platform,
        "managed": True,
        "rows": rows,
        "waiting": any(not row.membership.settled for row in rows),
        "open": platform.state in members.OPEN,
        "removable": platform.state in members.LEAVING,
        "refused": refused,
        "uid": uid,
        "owners": [row.membership.uid for row in rows if row.membership.owner],
        "guests": guests.among(row.membership.uid for row in rows),
        "invitations": invitations.listed(acting_user=user, slug=slug),
        "languages": Invitation._meta.get_field("language").choices,
        "errors": {},
        "typed": request.POST,
        **more,
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


@screen("POST")
def invite(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask somebody outside, by mail."""
    sent = request.POST
    try:
        row = invitations.invite(
            acting_user=user_of(request),
            slug=slug,
            mail=sent.get("mail", ""),
            language=sent.get("language", ""),
            until=sent.get("until", ""),
        )
    except InvalidInput as error:
        return _page(request, slug, status=error.status, errors=flat_errors(error.errors))
    except (DirectoryDown, Conflict, TooMany) as error:
        return _page(request, slug, status=error.status, refused=error)
    messages.success(request, _("The invitation to %(mail)s is on its way.") % {"mail": row.mail})
    return redirect("web:platform-people", slug)


@screen("POST")
def invitation(request: HttpRequest, slug: str, invitation_id: int, choice: str) -> HttpResponse:
    """Send an invitation once more, or take it back."""
    deeds = {"resend": invitations.resend, "revoke": invitations.revoke}
    if choice not in deeds:
        raise Http404
    try:
        row = deeds[choice](acting_user=user_of(request), invitation_id=invitation_id)
    except (Conflict, TooMany) as error:
        return _page(request, slug, status=error.status, refused=error)
    said = {
        "resend": _("The invitation to %(mail)s is on its way again, with a new link."),
        "revoke": _("The invitation to %(mail)s has been taken back."),
    }
    messages.success(request, said[choice] % {"mail": row.mail})
    return redirect("web:platform-people", slug)


@screen("POST")
def owner(request: HttpRequest, slug: str, choice: str) -> HttpResponse:
    """Make a member an owner, or step down."""
    uid, user = request.POST.get("uid", ""), user_of(request)
    deeds = {"hand-over": ownership.hand_over, "step-down": ownership.step_down}
    if choice not in deeds:
        raise Http404
    try:
        deeds[choice](acting_user=user, slug=slug, uid=uid)
    except (Conflict, NotFound) as error:
        return _page(request, slug, status=error.status, refused=error)
    if choice == "hand-over":
        messages.success(request, _("%(uid)s is an owner of this platform from now on.") % {"uid": uid})
        return redirect("web:platform-people", slug)
    messages.success(request, _("%(uid)s is no owner of this platform any more.") % {"uid": uid})
    return redirect("web:platform" if uid == user.username else "web:platform-people", slug)


@screen("POST")
def until(request: HttpRequest, slug: str) -> HttpResponse:
    """The day from which on somebody is refused."""
    uid = request.POST.get("uid", "")
    try:
        members.set_until(
            acting_user=user_of(request), slug=slug, uid=uid, until=request.POST.get("until", "")
        )
    except (InvalidInput, Conflict, NotFound) as error:
        return _page(request, slug, status=error.status, refused=error)
    messages.success(request, _("The end has been noted."))
    return redirect("web:platform-people", slug)
