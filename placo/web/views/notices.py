"""What somebody was told about their platforms."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from placo.platforms.models import Notice
from placo.services import notice_words, notices
from placo.web.http import screen, user_of
from placo.web.tables import Filter, Table


@screen()
def index(request: HttpRequest) -> HttpResponse:
    """Everything, the newest first."""
    user = user_of(request)
    kinds = [
        (Notice.EXPIRING, _("ends soon")),
        (Notice.STOPPED, _("stopped")),
        (Notice.RETIRED, _("retired")),
    ]
    table = Table(
        request,
        notices.of(user),
        search=("platform__slug", "platform__title"),
        sorts={"when": "id"},
        default="-when",
        filters=(Filter("kind", _("Kind"), kinds),),
    )
    told = [
        (n, notice_words.explanation(n), notice_words.what_to_do(n, user)) for n in table.page.object_list
    ]
    return render(request, "web/notices.html", {"table": table, "told": told})


@screen("POST")
def read(request: HttpRequest, notice_id: int) -> HttpResponse:
    """One has been read."""
    notices.mark_read(acting_user=user_of(request), notice_id=notice_id)
    return redirect("web:notices")


@screen("POST")
def read_all(request: HttpRequest) -> HttpResponse:
    """All have been read."""
    notices.mark_all_read(acting_user=user_of(request))
    return redirect("web:notices")
