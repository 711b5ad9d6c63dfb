"""Who did what in the world, and when: every call of a driver that changes something, with the claim it was made under.

An effect is *late* when its worker had lost the step (another one had been given it, or the run had been turned round) before it
asked the last time whether the step was still its own, or when it never asked: what fencing is there to prevent. It is told from
the engine's own journal, in which every claim is written before its effect. A worker can still be stopped between the answer and the
effect (*stalled*): only the host itself could refuse that, and none does. Such effects are counted; what they leave is looked for in
the world.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.rehearsal import stage

FILE = "effects.jsonl"
"""Its name in the folder of the rehearsal."""
COMMITTED_S = 2.0
"""The journal has the time at which an entry was written: nobody else could read it until it was committed, at most so much later."""
_CHANGES = ("ensure_", "remove_", "start_", "shutdown_", "kill_", "suspend_", "resume_", "grow_", "detach_")
_claim = threading.local()


@dataclass(frozen=True)
class Effect:
    """A call of a driver: begun at that Unix time by a process, under that claim of a step.

    `asked`: when the engine asked for it whether the claim still held; None when it did not.
    """

    at: float
    asked: float | None
    pid: int
    run: int
    step: int
    name: str
    verb: str
    fence: int
    operation: str
    what: str


class _Recorded:
    """A driver whose changes of the world are written down before they are made."""

    def __init__(self, driver: object, write: Callable[[str, str], None]) -> None:
        self._driver, self._write = driver, write

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._driver, name)
        if not name.startswith(_CHANGES):
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            first = arguments[0] if arguments else ""
            self._write(name, first if isinstance(first, str) else getattr(first, "name", ""))
            return attribute(*arguments, **options)

        return call


def record() -> None:
    """From now on this process writes down what it does. The stage has been entered before."""
    from placo import wiring
    from placo.services import engine

    path = Path(os.environ[stage.VARIABLE]).parent / FILE

    def write(operation: str, what: str) -> None:
        claim = getattr(_claim, "now", None)
        if claim is None:
            return
        run, step, name, verb, fence = claim
        asked, _claim.asked = _claim.asked, None
        line = json.dumps([time.time(), asked, os.getpid(), run, step, name, verb, fence, operation, what])
        with path.open("a") as file:  # one short write of O_APPEND: lines of several processes do not mix
            file.write(line + "\n")

    def recorded(make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: _Recorded(make(*arguments), write)

    for name in ("hypervisor", "directory", "edge", "gateway", "zone"):
        setattr(wiring, name, recorded(getattr(wiring, name)))
    real = engine._attempt

    def attempt(claim: Any, step: Any) -> Any:
        _claim.now = (claim.run_id, claim.step_id, step.name, claim.verb.value, claim.fence)
        _claim.asked = None
        try:
            return real(claim, step)
        finally:
            _claim.now = None

    guarding = engine._guard

    def guard(claim: Any, action: str) -> Any:
        check = guarding(claim, action)

        def asked() -> None:
            began = time.time()
            check()
            _claim.asked = began

        return asked

    for name, watched in (("_attempt", attempt), ("_guard", guard)):
        setattr(engine, name, watched)


def read(path: Path) -> list[Effect]:
    """All effects, in the order in which they were begun."""
    if not path.exists():
        return []
    return sorted((Effect(*json.loads(line)) for line in path.read_text().splitlines()), key=lambda e: e.at)


def late_and_stalled(effects: list[Effect]) -> tuple[list[Effect], list[Effect]]:
    """Those whose workers had lost the step before they asked, and those whose workers lost it after they had asked."""
    from placo.platforms.models import JournalEntry

    claims: defaultdict[int, dict[int, float]] = defaultdict(dict)
    turned: defaultdict[int, list[float]] = defaultdict(list)
    rows = JournalEntry.objects.filter(event__in=("intended", "unwinding"))
    for event, run, step, fence, at in rows.values_list("event", "run", "step", "fence", "at"):
        if event == "intended":
            claims[step or 0][fence or 0] = at.timestamp()
        else:
            turned[run].append(at.timestamp())

    def lost_before(effect: Effect, moment: float) -> bool:
        begun = claims[effect.step]
        since = begun.get(effect.fence, effect.at)
        taken_over = any(fence > effect.fence and at < moment for fence, at in begun.items())
        return taken_over or any(since < at < moment - COMMITTED_S for at in turned[effect.run])

    late = [e for e in effects if lost_before(e, e.at if e.asked is None else e.asked)]
    return late, [e for e in effects if e not in late and lost_before(e, e.at)]


def twice(effects: list[Effect], late: list[Effect]) -> list[Effect]:
    """Of the late effects those that another claim of the same step had made as well: what happened twice."""
    made: defaultdict[tuple[int, str, str], set[int]] = defaultdict(set)
    for effect in effects:
        made[(effect.step, effect.operation, effect.what)].add(effect.fence)
    return [e for e in late if made[(e.step, e.operation, e.what)] - {e.fence}]


_OF_MACHINES = ("domain", "clone", "overlay", "volume")


def machines(effects: list[Effect]) -> int:
    """How many machines these effects were about: a machine's steps are named after it."""
    about = {
        (e.run, e.name.rpartition(":")[2]) for e in effects if any(w in e.operation for w in _OF_MACHINES)
    }
    return len(about)
