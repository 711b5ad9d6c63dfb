"""Pages of lists: `limit` and `offset`, and how many there are in a header."""

from __future__ import annotations

from typing import Annotated, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpResponse
from ninja import Query, Schema
from pydantic import Field

M = TypeVar("M", bound=Model)


class Page(Schema):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=200, description="How many at most.")] = 50
    offset: Annotated[
        int, Field(ge=0, le=1_000_000, description="How many to leave out at the beginning.")
    ] = 0


PageQuery = Annotated[Page, Query()]


def page_of(rows: QuerySet[M], page: Page, response: HttpResponse) -> list[M]:
    """The part asked for; the total goes into the header X-Total-Count."""
    response["X-Total-Count"] = str(rows.count())
    return list(rows[page.offset : page.offset + page.limit])
