"""What can be wrong with a catalogue, said so that its author can put it right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake: `file` relative to the catalogue, `key` as a dotted path in it (empty for the file as a whole)."""

    file: str
    key: str
    message: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: {self.message} Remedy: {self.remedy}"


class CatalogueError(Exception):
    """A catalogue that cannot be used; `problems` has every mistake that was found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        count = len(self.problems)
        super().__init__(f"the catalogue has {count} problem{'s' if count != 1 else ''}:\n{lines}")


class UnknownServiceError(LookupError):
    """Somebody asked for a service that the catalogue does not have."""

    def __init__(self, service: str) -> None:
        super().__init__(f"no service {service!r} in the catalogue")
        self.service = service
