"""What is printed in the end: what was done, what became of it, and the verdict."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping

from django.db.models import Count

from deploy.rehearsal.site import Site
from placo.platforms.models import JournalEntry
from tests.chaos import effects, verdict
from tests.chaos.disturber import Disturber
from tests.chaos.people import People
from tests.chaos.verdict import Finding

SHOWN = 6
"""So much of what is wrong."""


def report(site: Site, people: People, disturber: Disturber, began: float, *, fenced: bool) -> int:
    """Print it all. Returns the exit status: 0 if every promise was kept; without fencing, if one was broken."""
    log = disturber.log
    _list("what was done to it", {f"x {w} ({log.seconds[w]:.0f} s in all)": n for w, n in log.times.items()})
    _list("what people did and met", {f"x {what}": number for what, number in people.done.items()})
    _list("what became of it", verdict.outcomes())
    rows = JournalEntry.objects.values_list("event").annotate(Count("pk"))
    _list("what the journal says", dict(rows))
    did = effects.read(site.folder / effects.FILE)
    late, stalled = effects.late_and_stalled(did)
    doubled = effects.twice(did, late)
    counted = {
        "begun": len(did),
        "begun by workers that had lost the step when they asked": len(late),
        "of these: done twice, for whoever had the step did it as well": len(doubled),
        "machines of which something was done twice": effects.machines(doubled),
        "begun by workers that were stopped right after they had asked": len(stalled),
    }
    _list("effects in the world", counted)
    told = [f"{e.operation} {e.what}: {e.verb} {e.name} of run {e.run}, number {e.fence}" for e in late]
    findings = [
        *verdict.judge(people.accepted),
        Finding("no effect is begun by a worker that has lost the step", told),
        Finding("what was restarted came back", disturber.broken),
        Finding("people got what they wanted", [f"{people.left} wait"] * (not people.over)),
    ]
    print(f"verdict after {time.monotonic() - began:.0f} s, of which {_processor_s():.0f} s of a processor")
    for finding in findings:
        print(f"  {'BROKEN' if finding.wrong else 'kept  '}  {finding.promise}")
        for line in finding.wrong[:SHOWN]:
            print(f"            {line}")
        if len(finding.wrong) > SHOWN:
            print(f"            and {len(finding.wrong) - SHOWN} more")
    broken = any(finding.wrong for finding in findings)
    if fenced:
        return 1 if broken else 0
    print("without fencing this breaks, as it should" if broken else "NOTHING BROKE without fencing")
    return 0 if broken else 1


def _list(title: str, counted: Mapping[str, int]) -> None:
    print(title)
    for what, number in sorted(counted.items()):
        print(f"  {number:>6} {what}")


def _processor_s() -> float:
    """What this process and those that it started and that have ended have taken."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
