"""What goes wrong at the fake hosts of a rehearsal, for all of its processes at once: told in a file."""

from __future__ import annotations

import json
import os
import random
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from placo.drivers.faults import Faults
from placo.drivers.ports import DriverError, Rejected, Unavailable

EVERYWHERE = "*"


@dataclass(frozen=True)
class Trouble:
    """Of one place, or of all without an entry of their own. Shares of all operations, but for `away_until` (Unix time).

    before: fails and has done nothing; after: it has been done, and the answer is an error; lost: the same, and the answer
    is that nobody answered; refused: a definitive refusal, of what makes something, never of what removes it.
    """

    before: float = 0.0
    after: float = 0.0
    lost: float = 0.0
    refused: float = 0.0
    away_until: float = 0.0


class TroubleFile:
    """The file, written by whoever makes trouble and read by those who have it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = 0
        self._known: dict[str, Trouble] = {}

    def write(self, troubles: dict[str, Trouble]) -> None:
        draft = self._path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({place: asdict(trouble) for place, trouble in troubles.items()}))
        draft.replace(self._path)

    def of(self, place: str) -> Trouble:
        with suppress(FileNotFoundError):
            stamp = self._path.stat().st_mtime_ns
            if stamp != self._stamp:
                read = json.loads(self._path.read_text())
                self._known, self._stamp = {name: Trouble(**values) for name, values in read.items()}, stamp
        return self._known.get(place) or self._known.get(EVERYWHERE) or Trouble()


class SharedFaults(Faults):
    """The faults of one place, from the file."""

    def __init__(self, name: str, file: TroubleFile) -> None:
        super().__init__(name)
        self._file = file

    def check(self, operation: str) -> None:
        super().check(operation)
        trouble, dice = self._file.of(self.name), random.random()  # noqa: S311 - no secret
        if time.time() < trouble.away_until:
            raise Unavailable(f"{self.name} does not answer")
        if dice < trouble.before:
            raise DriverError(f"{self.name}: {operation} failed before it did anything")
        if dice < trouble.before + trouble.refused and operation.startswith("ensure_"):
            raise Rejected(f"{self.name}: {operation} is refused")

    def check_after(self, operation: str) -> None:
        """Called when the operation has been done."""
        trouble, dice = self._file.of(self.name), random.random()  # noqa: S311
        if dice < trouble.after:
            raise DriverError(f"{self.name}: {operation} failed after it was done")
        if dice < trouble.after + trouble.lost:
            raise Unavailable(f"{self.name}: the answer to {operation} was lost")
