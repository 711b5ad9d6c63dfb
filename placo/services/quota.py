"""The quota ledger: rows that say what each living platform takes. Counted under a lock on the project, never from hosts."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import F, Sum, Value
from django.db.models.functions import Greatest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from placo.domain.quota import RESOURCES, Cost
from placo.platforms.models import LedgerEntry, Platform, Project, Request

RESOURCE_LABELS = {
    "platforms": gettext_lazy("platforms"),
    "machines": gettext_lazy("machines"),
    "vcpus": gettext_lazy("processors"),
    "memory_mib": gettext_lazy("MiB of memory"),
    "disk_gib": gettext_lazy("GiB of disk"),
}


@dataclass(frozen=True)
class QuotaView:
    """A project's limits, what is taken now, and what would be taken with something more."""

    limit: Cost
    used: Cost
    wanted: Cost

    @property
    def shortages(self) -> dict[str, int]:
        """Resource -> how much is missing."""
        return (self.limit - self.used).shortages(self.wanted)

    @property
    def rows(self) -> list[dict[str, object]]:
        """For screens: one row a resource, with before, after, limit and what is missing."""
        return [
            {
                "resource": name,
                "label": RESOURCE_LABELS[name],
                "limit": getattr(self.limit, name),
                "before": getattr(self.used, name),
                "wanted": getattr(self.wanted, name),
                "after": getattr(self.used, name) + getattr(self.wanted, name),
                "missing": self.shortages.get(name, 0),
            }
            for name in RESOURCES
        ]

    def problems(self) -> list[object]:
        """What is missing, in words."""
        return [
            _("Over the project's quota: %(missing)d %(resource)s missing (%(wanted)d asked, %(free)d left).")
            % {
                "missing": missing,
                "resource": RESOURCE_LABELS[name],
                "wanted": getattr(self.wanted, name),
                "free": max(getattr(self.limit, name) - getattr(self.used, name), 0),
            }
            for name, missing in self.shortages.items()
        ]


TAKEN = {name: Sum(Greatest(F(name), Value(0))) for name in RESOURCES}
"""Resource -> what rows of the ledger take of it together; what a change will give back is still taken."""


def used(project: Project, *, without: Request | None = None) -> Cost:
    """What the project's platforms take, reserved or committed; what a change will give back is still taken."""
    rows = LedgerEntry.objects.filter(project=project)
    if without is not None:
        rows = rows.exclude(request=without)
    sums = rows.aggregate(**{name: TAKEN[name] for name in RESOURCES})
    return Cost(**{name: sums[name] or 0 for name in RESOURCES})


def lock(project: Project) -> Project:
    """The project's row, locked until the transaction ends: whoever counts must hold it."""
    return Project.objects.select_for_update().get(pk=project.pk)


def view(project: Project, wanted: Cost, *, without: Request | None = None) -> QuotaView:
    """The quota before and after."""
    return QuotaView(project.quota, used(project, without=without), wanted)


def reserve(request: Request, cost: Cost) -> None:
    """Take a request's share; the caller holds the project's lock and has checked that it fits."""
    platform = request.platform
    LedgerEntry.objects.create(platform=platform, request=request, project=platform.project, **_amounts(cost))


def commit(request: Request, cost: Cost) -> None:
    """What a request had reserved has been made: one row says what its platform takes now."""
    LedgerEntry.objects.filter(platform=request.platform_id, committed=True).delete()
    LedgerEntry.objects.filter(request=request).update(committed=True, request=None, **_amounts(cost))


def give_up(request: Request) -> None:
    """What a request had reserved is free again; twice is harmless."""
    LedgerEntry.objects.filter(request=request).delete()


def release(platform: Platform) -> None:
    """Everything that a platform has taken is free again; twice is harmless."""
    LedgerEntry.objects.filter(platform=platform).delete()


def _amounts(cost: Cost) -> dict[str, int]:
    return {name: getattr(cost, name) for name in RESOURCES}
