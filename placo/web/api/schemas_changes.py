"""What goes in and out of the API about changes of living platforms, and about plans side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field

from placo.domain.plan import Plan
from placo.domain.plan_items import Item, differences
from placo.services.change_views import ChangeView
from placo.services.planning import Offer
from placo.web.api.schemas import DifferenceOut, In, Out

Whole = Annotated[int, Field(strict=True)]


class SizeIn(In):
    """What a machine shall have; what is left out stays as it is."""

    memory_mib: Whole | None = Field(
        None, description="A multiple of 64; the machine is restarted for it.", examples=[1024]
    )
    vcpus: Whole | None = Field(None, description="Processors; the machine is restarted for it.")
    data_volume_gib: Whole | None = Field(None, description="It can only grow, and does so while it runs.")


class ChangeIn(In):
    """What shall be different. What is left out stays as it is."""

    services: list[str] | None = Field(
        None, description="All services that the platform shall have.", examples=[["web", "svn"]]
    )
    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Of services that come new; of the others those that can be chosen anew (`changeable`).",
    )
    sizes: dict[str, SizeIn] = Field(
        default_factory=dict, description="Machine -> its size.", examples=[{"www": {"memory_mib": 1024}}]
    )
    expires_on: str | None = Field(None, description="The new last day.", examples=["2030-12-31"])
    justification: str = Field(examples=["The site has grown"])
    confirm: str = Field("", description="The platform's slug, where a machine and its data are removed.")


class Amount(Out):
    """A number before and after."""

    before: int
    after: int


class Resized(Out):
    """A machine that gets other memory or processors and is restarted for it."""

    machine: str = Field(examples=["www"])
    memory_mib: Amount
    vcpus: Amount


class Grown(Out):
    """A machine whose data volume grows while it runs."""

    machine: str = Field(examples=["www"])
    data_volume_gib: Amount


class Chosen(Out):
    """An option that is chosen anew; `before` is None of one that had not been asked for."""

    service: str = Field(examples=["webmail"])
    option: str = Field(examples=["quota_mib"])
    before: bool | int | str | None
    after: bool | int | str | None


class ChangesOut(Out):
    """What is different afterwards: services by id, machines by name. `removed` machines lose their data."""

    services_added: list[str]
    services_removed: list[str]
    added: list[str]
    removed: list[str]
    resized: list[Resized]
    grown: list[Grown]
    options: list[Chosen]
    told: list[str] = Field(description="Machines that take other settings while they run.")


def _amount(old: Plan, new: Plan, machine: str, name: str) -> Amount:
    return Amount(before=getattr(old.machine(machine), name), after=getattr(new.machine(machine), name))


def changes_out(view: ChangeView) -> ChangesOut:
    old, new, changed = view.old, view.new, view.changed
    return ChangesOut(
        services_added=list(changed.services_added),
        services_removed=list(changed.services_removed),
        added=list(changed.added),
        removed=list(changed.removed),
        resized=[
            Resized(
                machine=name,
                memory_mib=_amount(old, new, name, "memory_mib"),
                vcpus=_amount(old, new, name, "vcpus"),
            )
            for name in changed.resized
        ],
        grown=[
            Grown(machine=name, data_volume_gib=_amount(old, new, name, "data_volume_gib"))
            for name in changed.grown
        ],
        options=[
            Chosen(service=item.path[1], option=item.path[2], before=item.old, after=item.new)
            for item in differences(old, new)
            if item.kind == "options" and item.path[1] in old.services
        ],
        told=list(changed.told),
    )


class OfferOut(Out):
    """The plan that is offered in place of one that no longer fits."""

    plan_hash: str = Field(description="What to approve instead.")
    differences: list[DifferenceOut]


def differences_out(items: Iterable[Item]) -> list[DifferenceOut]:
    return [DifferenceOut(**item.as_json()) for item in items if item.differs]


def offer_out(offer: Offer | None) -> OfferOut | None:
    """None where there is no new plan to approve."""
    if offer is None or offer.draft is None:
        return None
    return OfferOut(plan_hash=offer.draft.hash, differences=differences_out(offer.items))
