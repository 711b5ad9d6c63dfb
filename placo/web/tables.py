"""Lists that filter, sort and page, and keep it all in the URL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest

PAGE = 25


@dataclass(frozen=True)
class Filter:
    """A choice among values of one field; `name` is both the field and the parameter."""

    name: str
    label: str
    choices: list[tuple[str, Any]]


@dataclass
class Table:
    """A list as the request's parameters want it: q (text), sort ("-asked"), page, and the filters."""

    request: HttpRequest
    rows: QuerySet[Any]
    search: tuple[str, ...] = ()
    sorts: Mapping[str, str] = field(default_factory=dict)
    default: str = ""
    filters: Iterable[Filter] = ()

    @property
    def q(self) -> str:
        """What is searched for; a NUL can be in no row."""
        return self.request.GET.get("q", "").replace("\x00", "").strip()[:100]

    @property
    def sort(self) -> str:
        """The order asked for, if there is such a one."""
        asked = self.request.GET.get("sort", "")
        return asked if asked.removeprefix("-") in self.sorts else self.default

    @cached_property
    def chosen(self) -> dict[str, str]:
        """Filter -> value asked for, of the known ones."""
        asked = {f.name: self.request.GET.get(f.name, "") for f in self.filters}
        known = {f.name: {value for value, _label in f.choices} for f in self.filters}
        return {name: value for name, value in asked.items() if value in known[name]}

    @cached_property
    def page(self) -> Page[Any]:
        """The page of rows to show."""
        rows = self.rows.filter(**self.chosen)
        if self.q:
            found = Q()
            for name in self.search:
                found |= Q(**{f"{name}__icontains": self.q})
            rows = rows.filter(found)
        if self.sort:
            sign = "-" if self.sort.startswith("-") else ""
            rows = rows.order_by(sign + self.sorts[self.sort.removeprefix("-")], f"{sign}pk")
        return Paginator(rows, PAGE).get_page(self.request.GET.get("page"))

    @property
    def controls(self) -> list[dict[str, Any]]:
        """The filters with what is chosen, for the template."""
        return [
            {"name": f.name, "label": f.label, "choices": f.choices, "chosen": self.chosen.get(f.name, "")}
            for f in self.filters
        ]

    @property
    def narrowed(self) -> bool:
        """Something is filtered or searched for."""
        return bool(self.q or self.chosen)

    def link(self, **changes: object) -> str:
        """This list's address with some parameters changed."""
        query = self.request.GET.copy()
        for name, value in changes.items():
            query[name] = str(value)
        return "?" + query.urlencode()
