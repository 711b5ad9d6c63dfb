"""The words for drift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from placo.domain.drift import Remedy, differences
from placo.services.drift import REASONS

REPAIRS = {
    Remedy.MEND: gettext_lazy(
        "A repair brings the platform back to the state that it is to have; its data is not touched."
    ),
    Remedy.RESTART: gettext_lazy(
        "A repair switches the machines concerned off and on again: they are away for that long."
    ),
    Remedy.TIDY: gettext_lazy(
        "A repair destroys it: it held what a machine was started with, and nobody needs it any more."
    ),
    Remedy.REMOVE: gettext_lazy(
        "A repair removes for good everything that was left here of a platform that has ended."
    ),
}
"""What a repair does."""

BUTTONS = {
    Remedy.MEND: pgettext_lazy("button", "Repair"),
    Remedy.RESTART: pgettext_lazy("button", "Repair and restart"),
    Remedy.TIDY: pgettext_lazy("button", "Destroy"),
    Remedy.REMOVE: pgettext_lazy("button", "Remove what was left"),
}

PROPERTIES = {
    "power": gettext_lazy("state"),
    "autostart": gettext_lazy("started with its host"),
    "memory_mib": gettext_lazy("memory in MiB"),
    "vcpus": gettext_lazy("processors"),
    "active": gettext_lazy("in use"),
    "uuid": gettext_lazy("platform"),
}
VALUES: dict[Any, Any] = {
    "running": gettext_lazy("running"),
    "stopped": gettext_lazy("stopped"),
    "paused": gettext_lazy("paused"),
    True: gettext_lazy("yes"),
    False: gettext_lazy("no"),
}


def explanation(row: Any) -> str:
    """What a repair of it does, or why there is none."""
    return str(REPAIRS.get(row.remedy) or REASONS[row.remedy])


def button(row: Any) -> str:
    """What to press."""
    return str(BUTTONS.get(row.remedy, ""))


def details(row: Any) -> Iterator[str]:
    """What was expected and what was found, a line for each property; what an unreachable place said."""
    for name in row.detail:
        if name in differences(row.detail):
            expected, found = (_value(value) for value in row.detail[name])
            values = {"what": PROPERTIES.get(name, name), "expected": expected, "found": found}
            yield _("%(what)s: %(expected)s expected, %(found)s found") % values
    if "elsewhere" in row.detail:
        yield _("its platform lives on %(host)s") % {"host": row.detail["elsewhere"]}
    if "error" in row.detail:
        yield str(row.detail["error"])


def _value(value: Any) -> object:
    known = isinstance(value, (str, bool)) and value in VALUES
    return VALUES[value] if known else value
