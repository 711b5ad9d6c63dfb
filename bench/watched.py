"""The Celery application of a rehearsal's workers that say when effects began and ended: `celery -A bench.watched ...`

What a worker did is a line of JSON in a file of its own, in the folder that the environment variable PLACO_BENCH names. Its
engine also knows the action `bench`, which asks once whether the step is still its worker's, as every effect does, and then does
nothing for as many seconds as its target says.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.rehearsal import stage
from deploy.rehearsal.stage import StagedHypervisor

if TYPE_CHECKING:
    from placo.domain.saga import Verb
    from placo.platforms.models import Step
    from placo.services.work import Answer, Guard, Work

VARIABLE = "PLACO_BENCH"
ACTION = "bench"


@dataclass(frozen=True)
class Effect:
    """One execution of a step. `asking`: seconds of it in which the engine asked whether the step is still the worker's; `slept`:
    seconds that fake hosts took for their answers; `queries`: how many this worker had sent to the database when it ended."""

    run: int
    step: str
    action: str
    began: float
    ended: float
    asking: float
    slept: float
    queries: int
    done: bool


def read(folder: Path) -> list[Effect]:
    """What all workers have done until now, in the order of its beginning."""
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return sorted((Effect(**json.loads(line)) for line in lines), key=lambda effect: effect.began)


class _Diary:
    def __init__(self, folder: Path) -> None:
        self._file = (folder / f"{os.getpid()}.jsonl").open("a", buffering=1, encoding="ascii")
        self._queries, self._asked = count(), 0
        self._of = threading.local()

    def count(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        """Django's hook around each query."""
        self._asked = next(self._queries)
        return execute(*arguments)

    def connected(self, connection: Any, **_more: Any) -> None:
        """Django's signal of a new connection."""
        if self.count not in connection.execute_wrappers:
            connection.execute_wrappers.append(self.count)

    def sleeping(self, host: type[StagedHypervisor]) -> None:
        """Write down how long each thread waits for the answers of fake hosts."""
        began, operation = host._begin, host._operation

        def noted(one: StagedHypervisor, name: str) -> None:
            self._of.slept = getattr(self._of, "slept", 0.0) + one.delays.get(name, 0.0)

        def begin(one: StagedHypervisor, name: str) -> None:
            noted(one, name)
            began(one, name)

        @contextmanager
        def operate(one: StagedHypervisor, name: str) -> Iterator[None]:
            noted(one, name)
            with operation(one, name):
                yield

        setattr(host, "_begin", begin)  # noqa: B010 - mypy knows methods
        setattr(host, "_operation", operate)  # noqa: B010

    def perform(self, real: Callable[[Step, Verb, Guard], Answer]) -> Callable[[Step, Verb, Guard], Answer]:
        """The same, written down."""

        def performed(step: Step, verb: Verb, guard: Guard) -> Answer:
            from placo.services.work import Done

            asking, answer = 0.0, None

            def timed() -> None:
                nonlocal asking
                asked = time.monotonic()
                guard()
                asking += time.monotonic() - asked

            self._of.slept = 0.0
            began = time.monotonic()
            try:
                answer = real(step, verb, timed)
            finally:
                ended, done = time.monotonic(), isinstance(answer, Done)
                taken = (began, ended, asking, self._of.slept)
                effect = Effect(step.run_id, step.name, step.action, *taken, self._asked, done)
                self._file.write(json.dumps(vars(effect)) + "\n")
            return answer

        return performed


def _watch(folder: Path) -> None:
    from django.db.backends.signals import connection_created

    from placo.services import steps
    from placo.services.work import Done

    def nothing(work: Work) -> Answer:
        work.guard()
        time.sleep(float(work.step.target or 0))
        return Done()

    diary = _Diary(folder)
    steps.ACTIONS[ACTION] = (nothing, nothing)
    diary.sleeping(StagedHypervisor)
    setattr(steps, "perform", diary.perform(steps.perform))  # noqa: B010 - mypy knows a function
    connection_created.connect(diary.connected, weak=False)


if os.environ.get(stage.VARIABLE) and os.environ.get(VARIABLE):
    from deploy.rehearsal.worker import app

    app.finalize()
    from django.apps import apps

    if not apps.ready:
        import django

        django.setup()
    _watch(Path(os.environ[VARIABLE]))
