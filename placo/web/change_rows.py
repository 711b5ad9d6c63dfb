"""A change as rows of a table: what, before, after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from django.utils.formats import date_format
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from placo.domain.plan import Plan, PlannedMachine
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


def change_rows(view: ChangeView, *, addresses: bool = True) -> list[Row]:
    """What a change changes: what is lost first, then services, machines, sizes, addresses and the end."""
    rows = [*_services(view), *_machines(view), *_sizes(view), *(_addresses(view) if addresses else ())]
    if view.ends is not None:
        before, after = view.ends
        rows.append(Row(_("Expires"), date_format(before) if before else "", date_format(after)))
    return sorted(rows, key=lambda row: row.kind != "loss")


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
        texts = {
            "memory_mib": _("Memory of %(machine)s"),
            "vcpus": _("Processors of %(machine)s"),
            "data_volume_gib": _("Data volume of %(machine)s"),
        }
        return texts.get(parts[-1], _("Machine %(machine)s")) % machine
    return {"services": _("Services"), "expires_on": _("Expires")}.get(parts[0], parts[-1])


def _services(view: ChangeView) -> Iterator[Row]:
    language = get_language() or "en"
    for name in view.changed.services_added:
        yield Row(_("Service"), "", selectors.title_of(name).get(language), "gain")
    for name in view.changed.services_removed:
        yield Row(_("Service"), selectors.title_of(name).get(language), "", "loss")


def _machines(view: ChangeView) -> Iterator[Row]:
    for name in view.changed.added:
        yield Row(
            _("Machine %(machine)s") % {"machine": name}, "", machine_size(view.new.machine(name)), "gain"
        )
    for name in view.changed.removed:
        yield Row(
            _("Machine %(machine)s") % {"machine": name},
            machine_size(view.old.machine(name)),
            "",
            "loss",
            _("Its data goes with it and does not come back."),
        )


def _sizes(view: ChangeView) -> Iterator[Row]:
    restart, grows = _("The machine is restarted for it."), _("It grows while the machine runs.")
    for name in (m.name for m in view.new.machines if m.name in view.changed.resized + view.changed.grown):
        old, new = view.old.machine(name), view.new.machine(name)
        if old.memory_mib != new.memory_mib:
            yield Row(
                field_label(f"sizes.{name}.memory_mib"), mib(old.memory_mib), mib(new.memory_mib), "", restart
            )
        if old.vcpus != new.vcpus:
            yield Row(field_label(f"sizes.{name}.vcpus"), str(old.vcpus), str(new.vcpus), "", restart)
        if old.data_volume_gib != new.data_volume_gib:
            yield Row(
                field_label(f"sizes.{name}.data_volume_gib"),
                gib(old.data_volume_gib),
                gib(new.data_volume_gib),
                "",
                grows,
            )


def _addresses(view: ChangeView) -> Iterator[Row]:
    old, new = _urls(view.old), _urls(view.new)
    for url in new:
        if url not in old:
            yield Row(_("Address"), "", url, "gain")
    for url in old:
        if url not in new:
            yield Row(_("Address"), url, "", "loss")


def _urls(plan: Plan) -> list[str]:
    return [endpoint.url for endpoint in plan.endpoints]


def last_day(day: date | None) -> str:
    """A day as an input of type date wants it."""
    return day.isoformat() if day else ""
