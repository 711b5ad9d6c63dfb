"""The form for a change of a living platform, as it was typed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict

from placo.domain.catalogue import Option, Service
from placo.domain.plan import PlannedMachine
from placo.platforms.models import Platform
from placo.services import selectors, validation
from placo.services.changes import SIZES
from placo.web.change_rows import last_day
from placo.web.draft import LONGEST, field_name, typed_options

WHOLE_DIGITS = 9
"""More digits than any size has; what is longer is left as it was typed, for the use case to refuse."""


def _typed(text: str) -> Any:
    """A whole number where it is one, else what was typed."""
    text = text.strip()[:LONGEST]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= WHOLE_DIGITS else text


@dataclass
class ChangeForm:
    """What the platform shall have. `options` are those of services that may come new, and of those that are there the ones that
    can be chosen anew; `sizes` are those of its machines."""

    services: list[str] = field(default_factory=list)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    sizes: dict[str, dict[str, Any]] = field(default_factory=dict)
    expires_on: str = ""
    justification: str = ""
    confirm: str = ""

    @classmethod
    def of(cls, platform: Platform) -> ChangeForm:
        """The platform as it is."""
        plan = platform.plan
        sizes = {m.name: {name: getattr(m, name) for name in SIZES} for m in plan.machines}
        return cls(list(plan.services), {}, sizes, last_day(platform.expires_on))

    @classmethod
    def sent(cls, platform: Platform, data: QueryDict) -> ChangeForm:
        """What came from the browser, right or wrong."""
        plan = platform.plan
        services = [card.service for card in selectors.service_cards()]
        return cls(
            services=[name[:100] for name in data.getlist("services")[:100]],
            options={s.id: typed_options(s, data, _asked(s, plan.services)) for s in services},
            sizes={
                m.name: {name: _typed(data.get(f"sizes.{m.name}.{name}", "")) for name in SIZES}
                for m in plan.machines
            },
            expires_on=data.get("expires_on", "")[:LONGEST].strip(),
            justification=data.get("justification", "")[:LONGEST].strip(),
            confirm=data.get("confirm", "")[:LONGEST].strip(),
        )

    def chosen(self) -> tuple[str, ...]:
        """The services that are ticked, with those that come with them; what there is not is left out."""
        known = [service.id for service in selectors.services_named(self.services)]
        return validation.check_services(known, allow_empty=True)

    def staying(self) -> set[str]:
        """The names of the machines that the ticked services need."""
        services = selectors.services_named(self.chosen())
        return {name for service in services for name in service.machines}

    def going(self, platform: Platform) -> list[PlannedMachine]:
        """The platform's machines that no ticked service needs; none where nothing is ticked, for that cannot be asked for."""
        staying = self.staying()
        return [m for m in platform.plan.machines if m.name not in staying] if staying else []

    def wish(self) -> dict[str, Any]:
        """The arguments of a preview: without options of services and sizes of machines that will not be there."""
        chosen, staying = self.chosen(), self.staying()
        return {
            "services": self.services,
            "options": {name: given for name, given in self.options.items() if name in chosen},
            "sizes": {name: given for name, given in self.sizes.items() if name in staying},
            "expires_on": self.expires_on,
        }


def _asked(service: Service, present: Collection[str]) -> tuple[Option, ...]:
    """The options of a service that can be chosen in a change: of one that is there, what can be chosen anew."""
    if service.id not in present:
        return service.options
    return tuple(option for option in service.options if option.again)


def service_fields(platform: Platform, form: ChangeForm, errors: dict[str, str]) -> list[dict[str, Any]]:
    """The check boxes: each service that there is, with the machines that would go with it and its options; if it is there, what can be chosen anew."""
    plan, rows = platform.plan, []
    for card in selectors.service_cards():
        service = card.service
        present = service.id in plan.services
        chosen = plan.options.get(service.id, {})
        fields = [
            {
                "option": option,
                "name": field_name(service, option),
                "value": form.options.get(service.id, chosen).get(option.name, option.default),
                "error": errors.get(field_name(service, option), ""),
            }
            for option in _asked(service, plan.services)
        ]
        rows.append(
            {
                "service": service,
                "card": card,
                "present": present,
                "chosen": service.id in form.services,
                "goes": _alone_for(plan.machines, plan.services, service.id) if present else [],
                "fields": fields,
            }
        )
    return rows


def _alone_for(
    machines: tuple[PlannedMachine, ...], services: tuple[str, ...], name: str
) -> list[PlannedMachine]:
    """The machines that no other service of the platform uses."""
    others = selectors.services_named(s for s in services if s != name)
    used = {machine for service in others for machine in service.machines}
    return [machine for machine in machines if machine.name not in used]


def machine_fields(platform: Platform, form: ChangeForm, errors: dict[str, str]) -> list[dict[str, Any]]:
    """The numbers of each machine: what it has, what was typed, what is wrong with that."""
    return [
        {
            "machine": machine,
            "error": errors.get(f"sizes.{machine.name}", ""),
            "inputs": {
                name: {
                    "name": f"sizes.{machine.name}.{name}",
                    "value": form.sizes.get(machine.name, {}).get(name, ""),
                    "error": errors.get(f"sizes.{machine.name}.{name}", ""),
                }
                for name in SIZES
            },
        }
        for machine in platform.plan.machines
    ]
