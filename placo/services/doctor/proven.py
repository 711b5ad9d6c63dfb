"""The look at proofs: platforms that let in whom they should not, and the schedule that finds that out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from placo import wiring
from placo.services import clock, proofs
from placo.services.doctor.report import Level, Result

LATE_BY = 3
"""A platform that waits so many times the interval for a proof has been forgotten."""


def look_at_proofs() -> Iterator[Result]:
    """Failed proofs, and proofs that nobody makes."""
    standing, every_h = proofs.standing(), wiring.site().proofs.every_hours
    if standing.failed:
        text = ngettext(
            "%(count)d platform lets in whom it should not, or the other way round: %(slugs)s.",
            "%(count)d platforms let in whom they should not, or the other way round: %(slugs)s.",
            len(standing.failed),
        )
        yield Result(
            "proofs",
            Level.FAILURE,
            text % {"count": len(standing.failed), "slugs": ", ".join(standing.failed[:20])},
            _("The page of the platform, or placo prove --last, says where; put that right, then try again."),
        )
    late = timedelta(hours=every_h * LATE_BY)
    if every_h and standing.oldest is not None and clock.now() - standing.oldest > late:
        yield Result(
            "proofs",
            Level.WARNING,
            _("%(slug)s has not been proven for %(days)d days.")
            % {"slug": standing.oldest_slug, "days": (clock.now() - standing.oldest).days},
            _("See why its proofs are broken off (placo prove), and that beat and workers run."),
        )
    elif not standing.failed:
        yield Result("proofs", Level.OK, _("No platform is known to let in whom it should not."))
