"""Ledger = journal = world: whether all three say the same, as one answer.

    for wrong in agreement.look(): ...

The books (services/books.py) are read in one moment; the world is compared with them place by place (services/reconcile.py), for
platforms that no run is at: what a run is changing is neither right nor wrong before it has ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

from django.utils.translation import gettext as _

from placo.domain.drift import DriftKind, DriftWhat
from placo.drivers.ports import DriverError
from placo.platforms.models import Drift
from placo.platforms.models.drift import DRIFT_LABELS, WHAT_LABELS
from placo.services import books, reconcile
from placo.services.books import Discrepancy
from placo.services.comparison import Found


class Part(StrEnum):
    """What does not agree with the rest; the metric `placo_invariant_discrepancies` has one series for each."""

    LEDGER = "ledger"
    JOURNAL = "journal"
    PLANS = "plans"
    WORLD = "world"
    UNSEEN = "unseen"
    """A place that does not answer: what is there is not known."""


_OF_BOOKS = {
    "ledger": Part.LEDGER,
    "life-cycle": Part.JOURNAL,
    "run-state": Part.JOURNAL,
    "doorbell": Part.JOURNAL,
    "steps": Part.JOURNAL,
    "plan": Part.PLANS,
    "subnet": Part.PLANS,
    "shared": Part.PLANS,
}


def part_of(code: str) -> Part:
    """The part that a discrepancy is about, by its code."""
    return _OF_BOOKS[code] if code in _OF_BOOKS else Part(code)


def look() -> list[Discrepancy]:
    """Everything that ledger, journal, plans and world say in two ways, all looked up now. Asks every host, directory and edge."""
    return [*books.check(), *sorted(_world())]


def counted(of_books: Iterable[Discrepancy]) -> Counter[Part]:
    """How much of each part does not agree: the books as just checked, the world as the last reconciliation of each place saw it."""
    found = Counter(part_of(wrong.code) for wrong in of_books)
    for kind in Drift.objects.filter(accepted_at=None).order_by().values_list("kind", flat=True):
        found[Part.UNSEEN if kind == DriftKind.UNREACHABLE else Part.WORLD] += 1
    return found


def in_flux() -> int:
    """How many platforms a run is at: their world is compared when it has ended."""
    return len(reconcile.in_flux())


def _world() -> Iterator[Discrepancy]:
    accepted = set(Drift.objects.exclude(accepted_at=None).values_list("where", "what", "name", "kind"))
    for place, compare in reconcile.places():
        yield from _place(place, compare, accepted)


def _place(
    place: str, compare: Callable[[], list[Found]], accepted: set[tuple[str, str, str, str]]
) -> Iterator[Discrepancy]:
    try:
        differences = compare()
    except DriverError as error:
        yield Discrepancy(
            Part.UNSEEN,
            place,
            _("What is there is not known: %(why)s") % {"why": error},
            _("Bring it back, then look again."),
        )
        return
    for found in differences:
        if (place, found.what.value, found.name, found.kind.value) not in accepted:
            yield Discrepancy(
                Part.WORLD,
                f"{place}: {found.name}",
                f"{WHAT_LABELS[DriftWhat(found.what)]}: {DRIFT_LABELS[DriftKind(found.kind)]}",
                _("See Operations / Drift, or placo drift: accept it or repair it there."),
            )
