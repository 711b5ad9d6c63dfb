"""Reading of TOML tables with a complaint for everything that is not as it should be.

A `Table` never raises: it notes a `Problem` and hands out a harmless stand-in, so that one reading finds all mistakes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from placo.domain.catalogue_errors import Problem
from placo.domain.catalogue_model import Text

STAND_IN = Text("?", "?")


@dataclass
class Table:
    """One TOML table of `file`; `key` is its dotted path. Keys that are never asked for are reported by `close`."""

    data: Mapping[str, Any]
    file: str
    problems: list[Problem]
    key: str = ""
    asked: set[str] = field(default_factory=set)

    def complain(self, key: str, message: str, remedy: str) -> None:
        """Note a problem about `key` of this table (empty: the table itself)."""
        path = ".".join(part for part in (self.key, key) if part)
        self.problems.append(Problem(self.file, path, message, remedy))

    def _get(self, key: str, kind: type, what: str, default: Any, required: bool) -> Any:
        self.asked.add(key)
        if key not in self.data:
            if required:
                self.complain(key, "is missing.", f"Add {key} = {what}.")
            return default
        value = self.data[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.complain(key, f"is {type(value).__name__}, not {what}.", f"Write {what}.")
            return default
        return value

    def text(self, key: str, pattern: str, example: str, default: str | None = None, remedy: str = "") -> str:
        """A text that matches `pattern` as a whole; required when there is no default. `remedy` says more than the example does."""
        stand_in = default if default is not None else example
        value: str = self._get(key, str, f'a text like "{example}"', stand_in, default is None)
        if not re.fullmatch(pattern, value):
            self.complain(
                key, f'"{value}" is not a valid value.', remedy or f'Write something like "{example}".'
            )
            return stand_in
        return value

    def integer(self, key: str, minimum: int, maximum: int, default: int | None = None) -> int:
        """A whole number between two bounds; required when there is no default."""
        stand_in = default if default is not None else minimum
        wanted = f"a whole number from {minimum} to {maximum}"
        value: int = self._get(key, int, wanted, stand_in, default is None)
        if not minimum <= value <= maximum:
            self.complain(key, f"{value} is out of bounds.", f"Write {wanted}.")
            return stand_in
        return value

    def optional_integer(self, key: str) -> int | None:
        """A whole number, or None when the key is not there."""
        value: int | None = self._get(key, int, "a whole number", None, False)
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """true or false."""
        value: bool = self._get(key, bool, "true or false", default, False)
        return value

    def strings(self, key: str, pattern: str, example: str, required: bool = False) -> tuple[str, ...]:
        """A list of different texts, each matching `pattern`."""
        wanted = f'a list like ["{example}"]'
        values = self._get(key, list, wanted, [], required)
        kept: list[str] = []
        for value in values:
            if not isinstance(value, str) or not re.fullmatch(pattern, value):
                self.complain(key, f"{value!r} does not belong there.", f'Write something like "{example}".')
            elif value in kept:
                self.complain(key, f'"{value}" is there twice.', "Name it once.")
            else:
                kept.append(value)
        if required and not values and key in self.data and isinstance(self.data[key], list):
            self.complain(key, "is empty.", f"Write {wanted}.")
        return tuple(kept)

    def integers(
        self, key: str, minimum: int, maximum: int, example: int, default: tuple[int, ...] | None = None
    ) -> tuple[int, ...]:
        """A list of whole numbers that is not empty; required when there is no default."""
        wanted = f"a list like [{example}]"
        values = self._get(key, list, wanted, list(default or (example,)), default is None)
        good = [
            v for v in values if isinstance(v, int) and not isinstance(v, bool) and minimum <= v <= maximum
        ]
        if len(good) != len(values) or not values:
            self.complain(
                key, f"{values!r} is not a list of numbers from {minimum} to {maximum}.", f"Write {wanted}."
            )
        return tuple(good)

    def bilingual(self, key: str) -> Text:
        """A table with `en` and `fr`, neither empty."""
        self.asked.add(key)
        value = self.data.get(key)
        if not isinstance(value, Mapping):
            said = "is missing." if value is None else f"is {type(value).__name__}, not a table."
            self.complain(key, said, f'Add {key} = {{ en = "...", fr = "..." }}.')
            return STAND_IN
        inner = self._inner(value, key)
        texts = {}
        for language, name in (("en", "English"), ("fr", "French")):
            inner.asked.add(language)
            text = value.get(language)
            if not isinstance(text, str) or not text.strip():
                inner.complain(language, f"the {name} text is missing.", f"Write it in {name}.")
                text = "?"
            texts[language] = " ".join(text.split())
        inner.close()
        return Text(**texts)

    def bilinguals(self, key: str, names: tuple[str, ...]) -> dict[str, Text]:
        """A table that gives each of `names` a text in both languages; empty when it is not there."""
        value = self._get(key, dict, f"a table [{key}]", {}, False)
        if not value:
            return {}
        inner = self._inner(value, key)
        found = {name: inner.bilingual(name) for name in names}
        inner.close()
        return found

    def table(self, key: str, example: str = "") -> Table:
        """A required table below this one; `example` shows one in a line."""
        if example and not self.data.get(key):
            self.asked.add(key)
            self.complain(key, "is missing.", f"Add {example}.")
            return self._inner({}, key)
        value = self._get(key, dict, example or f"a table [{key}]", {}, True)
        return self._inner(value, key)

    def tables(self, key: str) -> list[Table]:
        """The tables of `[[key]]`, possibly none."""
        values = self._get(key, list, f"tables [[{key}]]", [], False)
        found = []
        for number, value in enumerate(values, start=1):
            if isinstance(value, dict):
                found.append(self._inner(value, f"{key}[{number}]"))
            else:
                self.complain(f"{key}[{number}]", "is not a table.", f"Write it as [[{key}]].")
        return found

    def raw(self, key: str) -> object:
        """The value as it is, None when it is not there."""
        self.asked.add(key)
        return self.data.get(key)

    def close(self) -> None:
        """Complain about every key that nobody asked for."""
        for key in self.data:
            if key not in self.asked:
                known = ", ".join(sorted(self.asked))
                self.complain(key, "is not a known key.", f"Remove it; known here: {known}.")

    def _inner(self, data: Mapping[str, Any], key: str) -> Table:
        path = f"{self.key}.{key}" if self.key else key
        return Table(data, self.file, self.problems, path)


def open_table(path: Path, root: Path, problems: list[Problem]) -> Table | None:
    """The TOML file at `path`, or None (with a problem noted) when it cannot be read."""
    name = path.relative_to(root).as_posix()
    try:
        return Table(tomllib.loads(path.read_text(encoding="utf-8")), name, problems)
    except FileNotFoundError:
        problems.append(
            Problem(name, "", "is missing.", "Create this file; docs/adding-a-brick.md shows how.")
        )
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(name, "", f"cannot be read: {error}.", "Make it a readable UTF-8 text."))
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(name, "", f"is not valid TOML: {error}.", "Correct the line that is named."))
    return None
