"""The JSON Schema of the catalogue's manifests (draft 2020-12), for editors and other people's tools.

It is not written by hand: the functions that read a manifest (catalogue_parse) read a `_Form` instead, which writes down what
they ask for. So the schema cannot say anything else than they do. It says less: what holds between keys, or between files, is
found by `placo catalogue check` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

from placo.domain.catalogue_model import Text
from placo.domain.catalogue_parse import read_machine, read_service, read_software
from placo.domain.catalogue_reader import STAND_IN, Table

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_NOWHERE = Path("/nonexistent")
_TURNS = 12
"""How often a form is read: each time with the next of the words where one of a few is asked for, since other keys depend on it."""

_BILINGUAL = {
    "type": "object",
    "properties": {"en": {"type": "string", "minLength": 1}, "fr": {"type": "string", "minLength": 1}},
    "required": ["en", "fr"],
    "additionalProperties": False,
}
_SCALAR: dict[str, Any] = {"type": ["boolean", "integer", "string"]}


def schemas() -> dict[str, dict[str, Any]]:
    """Kind of manifest (`service`, `machine`, `software`) -> its JSON Schema."""
    readers: dict[str, tuple[str, Callable[[Table], object]]] = {
        "service": ("services/<id>.toml: what a person picks", lambda t: read_service(t, "web")),
        "machine": (
            "machines/<name>/machine.toml: one kind of virtual machine",
            lambda t: read_machine(t, "www"),
        ),
        "software": (
            "software/<name>/software.toml: what runs in a machine",
            lambda t: read_software(t, _NOWHERE, _NOWHERE),
        ),
    }
    found = {}
    for kind, (title, read) in readers.items():
        turns = []
        for turn in range(_TURNS):
            form = _Form(turn)
            read(form)
            turns.append(form.schema())
        found[kind] = {"$schema": DRAFT, "title": title} | reduce(_either, turns)
    return found


def _either(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What one of two schemas takes: of tables, all keys of both, required if both require them."""
    if one == other:
        return one
    if one.get("type") == other.get("type") == "object":
        mine, theirs = one["properties"], other["properties"]
        both = {key: _either(mine[key], theirs[key]) for key in mine if key in theirs}
        required = [key for key in one["required"] if key in other["required"]]
        return one | {"properties": mine | theirs | both, "required": required}
    if one.get("type") == other.get("type") == "array":
        return one | {"items": _either(one["items"], other["items"])}
    known = one.get("anyOf", [one])
    return {"anyOf": known if other in known else [*known, other]}


class _Form(Table):
    """A table in which everything is there once and nothing is wrong; it notes what is asked for."""

    def __init__(self, turn: int) -> None:
        super().__init__({"": None}, "", [])
        self._turn = turn
        self._properties: dict[str, dict[str, Any]] = {}
        self._inner_forms: dict[str, tuple[_Form, bool]] = {}
        self._required: list[str] = []

    def schema(self) -> dict[str, Any]:
        """What was asked for."""
        below = {
            key: {"type": "array", "items": inner.schema()} if several else inner.schema()
            for key, (inner, several) in self._inner_forms.items()
        }
        return {
            "type": "object",
            "properties": self._properties | below,
            "required": self._required,
            "additionalProperties": False,
        }

    def _note(self, key: str, schema: dict[str, Any], required: bool) -> None:
        self._properties[key] = schema
        if required:
            self._required.append(key)

    def complain(self, key: str, message: str, remedy: str) -> None:
        """Nothing is wrong with a form."""

    def close(self) -> None:
        """Nothing is too much in it."""

    def text(
        self,
        key: str,
        pattern: str,
        example: str,
        default: str | None = None,
        remedy: str = "",  # noqa: ARG002 - what a complaint would say
    ) -> str:
        """One of a few words, or a text of a shape."""
        words = pattern.split("|")
        few = len(words) > 1 and all(word.replace("-", "").isalnum() for word in words)
        schema = {"enum": words} if few else {"type": "string", "examples": [example]} | _shape(pattern)
        self._note(key, schema | _default(default), default is None)
        if few:
            return words[self._turn % len(words)]
        return example if default is None else default

    def integer(self, key: str, minimum: int, maximum: int, default: int | None = None) -> int:
        """A whole number between bounds."""
        bounds = {"type": "integer", "minimum": minimum, "maximum": maximum}
        self._note(key, bounds | _default(default), default is None)
        return minimum if default is None else default

    def optional_integer(self, key: str) -> int | None:
        """A whole number."""
        self._note(key, {"type": "integer"}, False)
        return None

    def boolean(self, key: str, default: bool) -> bool:
        """Yes or no."""
        self._note(key, {"type": "boolean", "default": default}, False)
        return default

    def strings(self, key: str, pattern: str, example: str, required: bool = False) -> tuple[str, ...]:
        """Different texts of a shape."""
        items = {"type": "string", "examples": [example]} | _shape(pattern)
        least = {"minItems": 1} if required else {}
        self._note(key, {"type": "array", "items": items, "uniqueItems": True} | least, required)
        return (example,)

    def integers(
        self, key: str, minimum: int, maximum: int, example: int, default: tuple[int, ...] | None = None
    ) -> tuple[int, ...]:
        """Whole numbers."""
        items = {"type": "integer", "minimum": minimum, "maximum": maximum, "examples": [example]}
        several = {"type": "array", "items": items, "minItems": 1}
        self._note(key, several | _default(None if default is None else list(default)), default is None)
        return default or (example,)

    def bilingual(self, key: str) -> Text:
        """A text in both languages."""
        self._note(key, _BILINGUAL, True)
        return STAND_IN

    def bilinguals(self, key: str, names: tuple[str, ...]) -> dict[str, Text]:
        """A text in both languages for each of some names."""
        self._note(key, {"type": "object", "additionalProperties": _BILINGUAL}, False)
        return dict.fromkeys(names, STAND_IN)

    def table(self, key: str, example: str = "") -> Table:  # noqa: ARG002 - what a complaint would say
        """A form below this one."""
        return self._below(key, several=False)

    def tables(self, key: str) -> list[Table]:
        """One stands for all."""
        return [self._below(key, several=True)]

    def _below(self, key: str, *, several: bool) -> _Form:
        inner = _Form(self._turn)
        self._note(key, {}, not several)
        self._inner_forms[key] = (inner, several)
        return inner

    def raw(self, key: str) -> object:
        """Any plain value."""
        self._note(key, _SCALAR, False)
        return None


def _shape(pattern: str) -> dict[str, str]:
    return {"pattern": f"^({pattern})$"}


def _default(value: object) -> dict[str, object]:
    return {} if value is None else {"default": value}
