"""How a run, its steps and its journal are written: in one statement, for most of what a statement costs is the way there and back.

The caller holds the run's lock. See ADR 30.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache

from django.db import connection
from django.db.models import Model
from django.utils import timezone

from placo.platforms.models import JournalEntry, Run, Step

OUTAGE = ["waits_for", "away_since", "unheard"]
"""What a step knows of the place that it waits for."""
CHANGING = [
    "state", "attempts", "failures", "error", "message", "not_before", "fence", "lease_until", "started_at",
    "finished_at", *OUTAGE,
]  # fmt: skip
"""What the engine changes of a step; the rest is its specification."""
_OF_RUN = ["state", "ended_at", "version", "fence", "due_at"]
_OF_ENTRY = ["run_id", "step_id", "at", "event", "fence", "message"]


def write(run: Run, steps: Iterable[Step], entries: Iterable[JournalEntry]) -> None:
    """Write where a run stands, the steps that were changed, and what the journal says, in the order of the entries."""
    steps, entries = list(steps), list(entries)
    for entry in entries:
        entry.at = timezone.now()
    given = [
        *(_text(getattr(step, column)) for step in steps for column in ["id", *CHANGING]),
        *(_text(getattr(entry, column)) for entry in entries for column in _OF_ENTRY),
        *(_text(getattr(run, column)) for column in [*_OF_RUN, "id"]),
    ]
    with connection.cursor() as cursor:
        cursor.execute(_statement(len(steps), len(entries)), given)
        if cursor.rowcount != 1:
            raise Run.DoesNotExist(f"run {run.pk} is gone")


@cache
def _statement(steps: int, entries: int) -> str:
    """The text for so many steps and entries of the journal: always the same one, so that a connection prepares it once.

    Of names of tables and columns and of parameters, nothing else.
    """
    parts = []
    if steps:
        columns, new = ["id", *CHANGING], ", ".join(f"{column} = new.{column}" for column in CHANGING)
        rows = f"(VALUES {_rows(Step, columns, steps)}) AS new ({', '.join(columns)})"
        parts.append(f"told AS (UPDATE {_table(Step)} AS old SET {new} FROM {rows} WHERE old.id = new.id)")  # noqa: S608
    if entries:
        into, rows = ", ".join(_OF_ENTRY), _rows(JournalEntry, _OF_ENTRY, entries)
        parts.append(f"noted AS (INSERT INTO {_table(JournalEntry)} ({into}) VALUES {rows})")  # noqa: S608
    run = ", ".join(f"{column} = {_given(Run, column)}" for column in _OF_RUN)
    update = f"UPDATE {_table(Run)} SET {run} WHERE id = {_given(Run, 'id')}"  # noqa: S608
    return f"WITH {', '.join(parts)} {update}" if parts else update


def _table(model: type[Model]) -> str:
    return model._meta.db_table


def _rows(model: type[Model], columns: Sequence[str], count: int) -> str:
    row = ", ".join(_given(model, column) for column in columns)
    return ", ".join([f"({row})"] * count)


def _given(model: type[Model], column: str) -> str:
    """A parameter as the column's type. All are sent as text: else each mixture of types and NULLs were another statement."""
    field = next(field for field in model._meta.concrete_fields if field.attname == column)
    return f"%s::{field.cast_db_type(connection)}"


def _text(value: object) -> str | None:
    if isinstance(value, datetime):
        return value.isoformat()
    return None if value is None else plain(str(value))


def plain(text: str) -> str:
    """What a driver or a machine said, with question marks for what PostgreSQL's texts cannot hold."""
    return text.replace("\0", "?").encode("utf-8", "replace").decode("utf-8")
