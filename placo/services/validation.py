"""Checks of what people type. Each returns the clean value or raises InvalidInput naming the field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.translation import get_language
from django.utils.translation import gettext as _

from placo import wiring
from placo.domain import aliases, guests
from placo.domain.catalogue import OptionError, OptionType
from placo.domain.lifecycle import ENDED
from placo.domain.slugs import SLUG_MAX, slug_problem
from placo.drivers.ports import DriverError
from placo.platforms.models import Platform
from placo.services.errors import DirectoryDown, InvalidInput


class check_into:  # noqa: N801 - reads as a verb at the call
    """Collect the InvalidInput of a block into one mapping, so that a form shows every error at once."""

    def __init__(self, errors: dict[str, list[object]]) -> None:
        self.errors = errors

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, InvalidInput):
            for field, messages in error.errors.items():
                self.errors.setdefault(field, []).extend(messages)
            return True
        return False


def check_slug(slug: object) -> str:
    """A free, well-formed slug."""
    text = slug if isinstance(slug, str) else ""
    problem = slug_problem(text)
    messages = {
        "empty": _("Choose a short name: it becomes part of the addresses."),
        "too-long": _("At most %(max)d characters, so that it fits in an address.") % {"max": SLUG_MAX},
        "characters": _(
            "Lower-case letters a to z, digits and single hyphens only, not at the start or end."
        ),
        "reserved": _("This name is reserved. Choose another one."),
    }
    if problem is None and wiring.catalogue().is_public_name(text):
        problem = "reserved"
    if problem:
        raise InvalidInput({"slug": [messages[problem]]})
    if Platform.objects.filter(slug=text).exclude(state__in=[s.value for s in ENDED]).exists():
        raise InvalidInput({"slug": [_("This name is taken. Choose another one.")]})
    left = Platform.objects.filter(slug=text, left_on__isnull=False).select_related("left_on").first()
    if left is not None:
        message = _(
            "This name is kept for what a former platform may have left on the lost host %(host)s. Choose another one."
        )
        raise InvalidInput({"slug": [message % {"host": left.left_on}]})
    return text


def check_services(services: Iterable[str], *, allow_empty: bool = False) -> tuple[str, ...]:
    """Known services, each once, in the catalogue's order, with those that they need."""
    asked = set(services)
    catalogue = wiring.catalogue()
    unknown = sorted(str(s) for s in asked if s not in catalogue.services)
    if unknown:
        known = ", ".join(catalogue.services)
        message = _("Unknown service: %(unknown)s. The catalogue has: %(known)s.")
        raise InvalidInput({"services": [message % {"unknown": ", ".join(unknown), "known": known}]})
    if not asked and not allow_empty:
        raise InvalidInput({"services": [_("Pick at least one service.")]})
    chosen = catalogue.services_of(s for s in catalogue.services if s in asked)
    if wiring.gateway() is None and (mail := [s.id for s in chosen if s.has_addresses]):
        message = _("This site has no mail gateway, which %(services)s needs.")
        raise InvalidInput({"services": [message % {"services": ", ".join(mail)}]})
    return tuple(service.id for service in chosen)


def check_options(
    services: Iterable[str], options: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Every option of the chosen services: the given value, checked, or its default. Fields are named options.<s>.<o>."""
    catalogue, language = wiring.catalogue(), get_language() or "en"
    errors: dict[str, list[object]] = {}
    clean: dict[str, dict[str, Any]] = {}
    chosen = tuple(services)
    for service in options:
        if service not in chosen:
            errors[f"options.{service}"] = [_("This service was not picked.")]
    for service in chosen:
        given = options.get(service, {})
        known = {option.name: option for option in catalogue.services[service].options}
        for name in given:
            if name not in known:
                errors[f"options.{service}.{name}"] = [_("There is no such option.")]
        clean[service] = {}
        for name, option in known.items():
            try:
                value = clean[service][name] = option.check(given.get(name, option.default))
                if isinstance(value, str) and not storable(value):
                    errors[f"options.{service}.{name}"] = [_("This holds a character that is not text.")]
                elif option.type is OptionType.ALIASES and (problems := _alias_problems(str(value))):
                    errors[f"options.{service}.{name}"] = problems
            except OptionError as error:
                errors[f"options.{service}.{name}"] = [error.text.get(language)]
    if errors:
        raise InvalidInput(errors)
    return clean


def _alias_problems(text: str) -> list[object]:
    """What the directory has against aliases: names that are somebody's own, targets that nobody has."""
    wanted = aliases.parse(text)
    targets = aliases.people(wanted)
    if not wanted:
        return []
    try:
        known = {uid.casefold() for uid in wiring.directory().people({*wanted, *targets})}
    except DriverError as error:
        raise DirectoryDown from error
    found: list[object] = []
    for name in sorted(known & set(wanted)):
        found.append(_("%(name)s is the address of somebody with this account.") % {"name": name})
    for uid in sorted(targets - known):
        found.append(_("There is nobody with the account %(uid)s in the directory.") % {"uid": uid})
    return found


def check_days(days: object, maximum: int) -> int:
    """A duration in days within the project's limit."""
    text = str(days).strip()
    if isinstance(days, bool) or not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        raise InvalidInput({"days": [_("A whole number of days.")]})
    number = int(text)
    if number < 1:
        raise InvalidInput({"days": [_("At least one day.")]})
    if number > maximum:
        raise InvalidInput({"days": [_("At most %(max)d days in this project.") % {"max": maximum}]})
    return number


def check_text(field: str, text: object, *, limit: int) -> str:
    """Some text, not empty, not longer than `limit` characters."""
    value = text.strip() if isinstance(text, str) else ""
    if not value:
        raise InvalidInput({field: [_("This cannot be empty.")]})
    if len(value) > limit:
        raise InvalidInput({field: [_("At most %(max)d characters.") % {"max": limit}]})
    if not storable(value):
        raise InvalidInput({field: [_("This holds a character that is not text.")]})
    return value


def check_shown_name(field: str, text: object) -> str:
    """A person's name as others shall see it."""
    shown = guests.shown_name(text if isinstance(text, str) and storable(text) else "")
    messages = {
        "empty": _("This cannot be empty."),
        "too-long": _("At most %(max)d characters.") % {"max": guests.SHOWN_MAX},
        "characters": _("Letters, with spaces and the usual signs; nothing invisible."),
    }
    problem = guests.shown_name_problem(shown)
    if problem:
        raise InvalidInput({field: [messages[problem]]})
    return shown


def storable(text: str) -> bool:
    """Neither NUL, which PostgreSQL does not take, nor half a character (a lone surrogate of UTF-16)."""
    return not any(c == "\x00" or "\ud800" <= c <= "\udfff" for c in text)
