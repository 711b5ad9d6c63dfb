"""The quota ledger: rows that say what each living platform takes. Counted under a lock on the project, never from hosts."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Sum
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from placo.domain.quota import RESOURCES, Cost
from placo.platforms.models import LedgerEntry, Platform, Project

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


def used(project: Project, *, without: Platform | None = None) -> Cost:
    """What the project's platforms take, reserved or committed."""
    rows = LedgerEntry.objects.filter(project=project)
    if without is not None:
        rows = rows.exclude(platform=without)
    sums = rows.aggregate(**{name: Sum(name) for name in RESOURCES})
    return Cost(**{name: sums[name] or 0 for name in RESOURCES})


def lock(project: Project) -> Project:
    """The project's row, locked until the transaction ends: whoever counts must hold it."""
    return Project.objects.select_for_update().get(pk=project.pk)


def view(project: Project, wanted: Cost, *, without: Platform | None = None) -> QuotaView:
    """The quota before and after."""
    return QuotaView(project.quota, used(project, without=without), wanted)


def reserve(platform: Platform, cost: Cost) -> None:
    """Take the platform's share; the caller holds the project's lock and has checked that it fits."""
    amounts = {name: getattr(cost, name) for name in RESOURCES}
    LedgerEntry.objects.create(platform=platform, project=platform.project, **amounts)


def commit(platform: Platform) -> None:
    """What was reserved has been made."""
    LedgerEntry.objects.filter(platform=platform).update(committed=True)


def release(platform: Platform) -> None:
    """Give the share back; twice is harmless."""
    LedgerEntry.objects.filter(platform=platform).delete()
