"""Changes, and plans side by side, as rows of a table: what, before, after."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.utils.formats import date_format
from django.utils.translation import get_language, gettext_lazy, ngettext
from django.utils.translation import gettext as _

from placo.domain.plan import Plan, PlannedMachine
from placo.domain.plan_items import Item, differences
from placo.services import selectors
from placo.services.change_views import ChangeView
from placo.web.templatetags.placo_ui import gib, mib


@dataclass(frozen=True)
class Row:
    """One thing that is different afterwards. `kind`: gain, loss, or empty; empty texts where there is nothing."""

    what: str
    before: str
    after: str
    kind: str = ""
    note: str = ""


@dataclass(frozen=True)
class PlanRows:
    """Two plans as rows."""

    changed: list[Row]
    same: list[Row]


_LABELS = {
    "services": gettext_lazy("Service"),
    "host": gettext_lazy("Host"),
    "subnet": gettext_lazy("Network"),
    "dns_domain": gettext_lazy("Domain of the machines"),
    "endpoints": gettext_lazy("Address"),
    "owners": gettext_lazy("Owners"),
    "days": gettext_lazy("For"),
    "expires_on": gettext_lazy("Expires"),
}
_MACHINE_LABELS = {
    "memory_mib": gettext_lazy("Memory of %(machine)s"),
    "vcpus": gettext_lazy("Processors of %(machine)s"),
    "system_disk_gib": gettext_lazy("System disk of %(machine)s"),
    "data_volume_gib": gettext_lazy("Data volume of %(machine)s"),
    "address": gettext_lazy("Address of %(machine)s"),
    "image": gettext_lazy("Image of %(machine)s"),
}
_NOTES = {
    "memory_mib": gettext_lazy("The machine is restarted for it."),
    "vcpus": gettext_lazy("The machine is restarted for it."),
    "data_volume_gib": gettext_lazy("It grows while the machine runs."),
}
_WRITTEN: dict[str, Callable[[Any], str]] = {
    "memory_mib": mib,
    "system_disk_gib": gib,
    "data_volume_gib": gib,
    "owners": ", ".join,
    "days": lambda n: ngettext("%(n)d day", "%(n)d days", n) % {"n": n},
}


def change_rows(view: ChangeView, *, brief: bool = False) -> list[Row]:
    """What a change changes: what is lost first, then services, options, machines, addresses and the end.

    A brief list leaves out what follows from a service that comes: its options, and addresses.
    """
    found = differences(view.old, view.new, view.ends)
    shown = [item for item in found if not (brief and _follows(item, view.old))]
    rows = [_row(item, _note(item, view.changed.told)) for item in shown]
    return sorted(rows, key=lambda row: row.kind != "loss")


def plan_rows(items: Iterable[Item]) -> PlanRows:
    """An old plan beside a new one: the rows in which they differ, and the others."""
    rows = [(item.differs, _row(item)) for item in items]
    return PlanRows([row for differs, row in rows if differs], [row for differs, row in rows if not differs])


def _row(item: Item, note: object = "") -> Row:
    kind = "gain" if item.came else "loss" if item.went else ""
    comes_and_goes = item.kind in ("services", "options", "machines", "endpoints")
    before, after = _words(item, item.old), _words(item, item.new)
    return Row(_label(item), before, after, kind if comes_and_goes else "", str(note))


def _follows(item: Item, old: Plan) -> bool:
    return item.kind == "endpoints" or (item.kind == "options" and item.path[1] not in old.services)


def _note(item: Item, told: Collection[str]) -> object:
    """What the change of a living machine means for who uses it; `told` are those that take other settings."""
    if item.kind == "options" and told and not item.came and not item.went:
        return _("The service takes it in while it runs.")
    if item.kind != "machines":
        return ""
    if item.went:
        return _("Its data goes with it and does not come back.")
    return _NOTES.get(item.path[-1], "")


def _label(item: Item) -> str:
    """What an item is called."""
    language = get_language() or "en"
    if item.kind == "options":
        service, name = item.path[1:]
        title = selectors.option_words(service, name, None)[0].get(language)
        return _("%(option)s (%(service)s)") % {
            "option": title,
            "service": selectors.title_of(service).get(language),
        }
    if item.kind == "machines":
        text = _MACHINE_LABELS[item.path[2]] if len(item.path) > 2 else gettext_lazy("Machine %(machine)s")
        return str(text) % {"machine": item.path[1]}
    if item.kind == "endpoints" and item.path[-1] == "route":
        return _("Answered by (%(service)s)") % {"service": selectors.title_of(item.path[1]).get(language)}
    return str(_LABELS[item.path[-1] if item.kind == "network" else item.kind])


def _words(item: Item, value: Any) -> str:
    """A value of an item in words; nothing where there is none."""
    language = get_language() or "en"
    if value is None:
        return ""
    if item.kind == "services":
        return selectors.title_of(value).get(language)
    if item.kind == "options":
        return selectors.option_words(item.path[1], item.path[2], value)[1].get(language)
    if isinstance(value, PlannedMachine):
        return machine_size(value)
    if isinstance(value, date):
        return date_format(value)
    written: Callable[[Any], str] = _WRITTEN.get(item.path[-1], str)
    return written(value)


def machine_size(machine: PlannedMachine) -> str:
    """The size of a machine in words."""
    processors = ngettext("%(n)d processor", "%(n)d processors", machine.vcpus) % {"n": machine.vcpus}
    data = _("%(size)s of data") % {"size": gib(machine.data_volume_gib)}
    return f"{mib(machine.memory_mib)}, {processors}, {data}"


def field_label(field: str) -> str:
    """What a field of the form is called where an error is not beside it: "sizes.www.vcpus" -> "Processors of www"."""
    parts = field.split(".")
    if parts[0] == "sizes" and len(parts) > 1:
        machine = {"machine": parts[1]}
        return str(_MACHINE_LABELS.get(parts[-1], gettext_lazy("Machine %(machine)s"))) % machine
    return {"services": _("Services"), "expires_on": _("Expires")}.get(parts[0], parts[-1])


def last_day(day: date | None) -> str:
    """A day as an input of type date wants it."""
    return day.isoformat() if day else ""
