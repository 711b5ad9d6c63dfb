"""The request while it is being written: kept in the session, so that nothing typed is lost on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from django.http import QueryDict

from placo.domain.catalogue import Option, OptionType, Service
from placo.platforms.models import Project, User
from placo.services import changes, requests, selectors, validation
from placo.services.errors import InvalidInput

KEY = "request-draft"
STEPS = (1, 2, 3, 4)
FIELDS = {1: ("project", "services"), 2: ("options",), 3: ("title", "slug", "days", "justification")}
LONGEST = 8000
"""Characters of one field that are kept; the use case refuses much less."""


@dataclass
class Draft:
    """What has been typed so far, as it was typed. `reached` is the furthest step that was opened."""

    project: str = ""
    services: list[str] = field(default_factory=list)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    title: str = ""
    slug: str = ""
    days: str = ""
    justification: str = ""
    reached: int = 1

    @classmethod
    def load(cls, session: Any, projects: Iterable[Project]) -> Draft:
        """The session's draft, in a project that the person still owns."""
        draft = cls(**session.get(KEY, {}))
        slugs = [project.slug for project in projects]
        if draft.project not in slugs:
            draft.project = slugs[0]
        return draft

    def save(self, session: Any) -> None:
        """Keep it."""
        session[KEY] = asdict(self)

    def take(self, step: int, data: QueryDict) -> None:
        """Keep what one step's form sent, right or wrong."""
        if step == 1:
            self.project = data.get("project", self.project)[:100]
            self.services = [name[:100] for name in data.getlist("services")[:100]]
        elif step == 2:
            for service in selectors.services_named(self.all_services()):
                self.options[service.id] = typed_options(service, data)
        elif step == 3:
            for name in FIELDS[3]:
                setattr(self, name, data.get(name, "")[:LONGEST].strip())

    def all_services(self) -> tuple[str, ...]:
        """The picked services with those that come with them; nothing while the choice is wrong."""
        try:
            return validation.check_services(self.services, allow_empty=True)
        except InvalidInput:
            return ()

    def chosen_options(self) -> dict[str, dict[str, Any]]:
        """The options of the services that are picked now."""
        return {name: self.options[name] for name in self.all_services() if name in self.options}

    def _too_large(self, user: User, project: Project) -> dict[str, list[object]]:
        """What is wrong with the sizes of machines that were chosen: the project's quota."""
        services, options = self.all_services(), self.chosen_options()
        view = requests.preview(
            acting_user=user, project_slug=project.slug, services=services, options=options
        ).quota
        sizes = changes.size_options(services) if view.shortages else {}
        return {f"options.{s}.{name}": list(view.problems()) for s, names in sizes.items() for name in names}

    def errors(self, step: int, *, user: User, project: Project) -> dict[str, list[object]]:
        """What is wrong with one step."""
        found: dict[str, list[object]] = {}
        if step == 1:
            with validation.check_into(found):
                validation.check_services(self.services)
            if not found:
                view = requests.preview(acting_user=user, project_slug=project.slug, services=self.services)
                if view.quota.shortages:
                    found["services"] = list(view.quota.problems())
        elif step == 2:
            with validation.check_into(found):
                validation.check_options(self.all_services(), self.chosen_options())
            if not found:
                found |= self._too_large(user, project)
        elif step == 3:
            with validation.check_into(found):
                validation.check_slug(self.slug)
            with validation.check_into(found):
                validation.check_days(self.days, project.max_days)
            with validation.check_into(found):
                validation.check_text("justification", self.justification, limit=4000)
            with validation.check_into(found):
                validation.check_text("title", self.title or self.slug or "-", limit=200)
        return found


def field_name(service: Service, option: Option) -> str:
    """The name of an option's input: the same as in error messages."""
    return f"options.{service.id}.{option.name}"


def typed_options(
    service: Service, data: QueryDict, options: Iterable[Option] | None = None
) -> dict[str, Any]:
    """What was typed for the options of a service, or some of them."""
    asked = service.options if options is None else options
    return {o.name: _typed(o, data, field_name(service, o)) for o in asked}


def _typed(option: Option, data: QueryDict, name: str) -> Any:
    """The value with the option's type where it can be one, else as it was typed."""
    raw = data.get(name, "").strip()[:LONGEST]
    if option.type is OptionType.BOOLEAN:
        return raw == "on"
    if option.type is OptionType.INTEGER and raw.lstrip("-").isdecimal() and len(raw) < 19:
        return int(raw)
    return raw


def step_of(fields: Iterable[str]) -> int:
    """The first step that has one of these fields."""
    names = {name.split(".")[0] for name in fields}
    return next((step for step, own in FIELDS.items() if names & set(own)), 3)
