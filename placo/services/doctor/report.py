"""What the doctor has found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from django.conf import settings

LATE, DEAD = timedelta(seconds=30), timedelta(minutes=2)
"""How old a sweep or a due run may be before something is odd, and before it is wrong."""


class Level(StrEnum):
    """How a component is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


SEVERITY = {Level.OK: 0, Level.WARNING: 1, Level.FAILURE: 2}
"""Also the exit status of the commands."""


@dataclass(frozen=True)
class Result:
    """What a look has found: the component, how it is, in words, and what to do."""

    component: str
    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Look:
    """A look at one component."""

    component: str
    at: Callable[[], Iterable[Result]]


@dataclass(frozen=True)
class Report:
    """Everything found, worst first, and how long that took."""

    results: tuple[Result, ...]
    seconds: float

    @property
    def level(self) -> Level:
        """The worst."""
        return max((result.level for result in self.results), key=SEVERITY.__getitem__, default=Level.OK)

    @property
    def status(self) -> int:
        """As the exit status of a command: 0, 1, 2."""
        return SEVERITY[self.level]

    @property
    def counts(self) -> dict[Level, int]:
        """How many results of each level."""
        return {level: sum(result.level is level for result in self.results) for level in Level}


def site_file() -> str:
    """Where the site configuration is, for remedies."""
    return str(settings.LOADED.path)
