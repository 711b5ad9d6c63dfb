"""Notices: what somebody was told about platforms."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from django.http import HttpResponse
from ninja import Query, Router
from pydantic import Field

from placo.platforms.models import Notice
from placo.services import notice_words, notices
from placo.web.api.auth import Caller
from placo.web.api.pages import Page, page_of
from placo.web.api.schemas import Out, Problem

router = Router()
ERRORS = {401: Problem, 422: Problem}


class NoticeOut(Out):
    """Something that you were told about a platform."""

    id: int
    kind: str = Field(description="expiring, stopped, retired, ownerless or unproven", examples=["expiring"])
    platform: str = Field(examples=["alpha"])
    title: str
    text: str
    link: str = Field(description="Where to go in the portal.")
    ends_on: date = Field(description="The end date that it is about.")
    removed_on: date = Field(description="When everything of the platform is removed for good.")
    at: datetime
    read_at: datetime | None
    mailed_at: datetime | None = Field(description="When its mail left, if it has.")


def notice_out(notice: Notice, caller: Caller) -> NoticeOut:
    advice = notice_words.what_to_do(notice, caller.auth)
    return NoticeOut(
        id=notice.pk,
        kind=notice.kind,
        platform=notice.platform.slug,
        title=notice_words.headline(notice),
        text=" ".join([*notice_words.explanation(notice), advice]).strip(),
        link=notice_words.link(notice),
        ends_on=notice.ends_on,
        removed_on=notice.removed_on,
        at=notice.at,
        read_at=notice.read_at,
        mailed_at=notice.mailed_at,
    )


class NoticeFilter(Page):
    """Which notices to list."""

    unread: Annotated[bool, Field(description="Only those that you have not read.")] = False


@router.get("/notices", response={200: list[NoticeOut], **ERRORS}, summary="Notices, the newest first")
def list_notices(
    request: Caller, response: HttpResponse, filters: Annotated[NoticeFilter, Query()]
) -> list[NoticeOut]:
    """What you were told about the platforms of your projects: that one ends soon, was stopped, was removed."""
    rows = notices.unread(request.auth) if filters.unread else notices.of(request.auth)
    return [notice_out(row, request) for row in page_of(rows, filters, response)]


@router.post(
    "/notices/{int:notice_id}/read",
    response={200: NoticeOut, 403: Problem, 404: Problem, **ERRORS},
    summary="You have read it",
)
def read_notice(request: Caller, notice_id: int) -> NoticeOut:
    """Takes it off the list of what you have not read; twice is harmless."""
    return notice_out(notices.mark_read(acting_user=request.auth, notice_id=notice_id), request)
