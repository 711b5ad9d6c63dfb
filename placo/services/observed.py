"""What machines do, as their hosts tell without being asked by a run: from events, and from each reconciliation.

Only machines of platforms that no run is at: a run knows better what its machines are doing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef
from django.utils import timezone

from placo import wiring
from placo.domain.lifecycle import ACTIVE_RUNS, PlatformState, RunKind
from placo.drivers.ports import Power
from placo.platforms.models import Machine, Run
from placo.services import probing
from placo.services.comparison import Expected

STARTING, ANSWERING, SILENT = "starting", "answering", "silent"
WORDS = {Power.STOPPED: "stopped", Power.PAUSED: "suspended", Power.MISSING: "gone"}
_UP = frozenset({STARTING, ANSWERING, SILENT})
"""States of machines that run; whether they answer is another question, and asked separately."""

PROBES, PROBE_TIMEOUT_S, PROBING_S = 20, 2.0, 8.0
"""How many machines one reconciliation asks at most, how long each and how long all of them may take."""
SILENT_AFTER = timedelta(minutes=3)
"""A machine that runs for so long without an answer is not starting any more."""
ASKED_AGAIN_AFTER = timedelta(minutes=5)
"""A machine that answered so long ago is asked again, when those that do not answer have been."""


def _busy() -> Exists:
    """A run is at the platform of a machine."""
    active = Run.objects.filter(platform=OuterRef("platform"), state__in=[s.value for s in ACTIVE_RUNS])
    return Exists(active.exclude(kind=RunKind.MEMBER.value))


def in_flux(uuid: str) -> bool:
    """The domain is that of a machine that a run is at."""
    return Machine.objects.filter(_busy(), uuid=uuid).exists()


def note(uuid: str, power: Power) -> bool:
    """A host said so of one domain. Whether that was news about a machine."""
    rows = Machine.objects.filter(~_busy(), uuid=uuid)
    if power is Power.RUNNING:
        rows, state = rows.exclude(state__in=_UP), STARTING
    else:
        state = WORDS[power]
        rows = rows.exclude(state=state)
    return bool(rows.update(state=state, answer="", seen_at=timezone.now()))


def note_all(expected: Iterable[Expected], powers: Mapping[str, Power]) -> None:
    """What a host's inventory says of the machines of its settled platforms: what events missed. Then some that run are asked."""
    settled = {platform.pk: platform for platform in expected}
    asked: list[tuple[Machine, Expected]] = []
    rows = Machine.objects.filter(platform__in=list(settled)).only(
        "pk", "platform", "name", "uuid", "state", "seen_at"
    )
    for row in rows:
        power = powers.get(str(row.uuid), Power.MISSING)
        if power is not Power.RUNNING:
            if row.state != WORDS[power]:
                note(str(row.uuid), power)
        elif row.state not in _UP:
            note(str(row.uuid), power)
            row.state, row.seen_at = STARTING, timezone.now()
        platform = settled[row.platform_id]
        if power is Power.RUNNING and platform.state is PlatformState.READY and _doubtful(row):
            asked.append((row, platform))
    _ask(sorted(asked, key=_urgency))


def _doubtful(row: Machine) -> bool:
    """Whether it is time to ask a machine that runs."""
    return row.state != ANSWERING or row.seen_at is None or timezone.now() - row.seen_at > ASKED_AGAIN_AFTER


def _urgency(asked: tuple[Machine, Expected]) -> tuple[bool, datetime]:
    """Those that are not known to answer come first, then those of which nothing was heard for longest."""
    row, _platform = asked
    return row.state == ANSWERING, row.seen_at or timezone.now()


def _ask(asked: Iterable[tuple[Machine, Expected]]) -> None:
    """Ask machines through the edge, as their users do, as many as there is time for."""
    end = time.monotonic() + PROBING_S
    for row, platform in list(asked)[:PROBES]:
        kind = wiring.catalogue().machines.get(row.name)
        if kind is None or time.monotonic() > end:
            continue
        result = probing.ask(kind.probe, platform.plan, PROBE_TIMEOUT_S)
        now = timezone.now()
        same = Machine.objects.filter(pk=row.pk, state=row.state)
        if result.healthy:
            same.update(state=ANSWERING, answer=result.answer[:200], seen_at=now)
        elif row.state == ANSWERING or (
            row.state == STARTING and row.seen_at and now - row.seen_at > SILENT_AFTER
        ):
            same.update(state=SILENT, answer=result.answer[:200], seen_at=now)
