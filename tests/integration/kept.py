"""What a test begins with, made once and put back for each: the rows of the database, and all that is in a world of fakes."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db import connection, transaction

from placo.drivers.fake_edge import FakeCertificateAuthority
from tests.fakes import World

EVERYWHERE = ("django_content_type", "auth_permission")
"""Tables that Django fills by itself; tests leave them alone."""
HEARD = ("rings", "asked", "tasks", "proofs")


@dataclass(frozen=True)
class Kept:
    """`rows`: table -> its rows as PostgreSQL's COPY writes them; `folder` holds what the world's had, `heard` what it was told."""

    rows: Mapping[str, bytes]
    folder: Path
    authority: FakeCertificateAuthority
    heard: Mapping[str, list[Any]]


def keep(world: World, folder: Path, place: Path) -> Kept:
    """Keep everything that is there now: in `place`, what the world has in `folder`."""
    rows = {}
    with connection.cursor() as cursor:
        for table in _tables():
            with cursor.copy(f'COPY "{table}" TO STDOUT') as copy:
                content = b"".join(bytes(block) for block in copy)
            if content:
                rows[table] = content
    _copy(folder, place)
    return Kept(rows, place, world.authority, {name: list(getattr(world, name)) for name in HEARD})


def put_back(kept: Kept, world: World, folder: Path) -> None:
    """Have that in the database instead of what is there, and in a new world in `folder`."""
    # Rows may come before what they refer to: PostgreSQL looks at that at the end of the transaction.
    with transaction.atomic(), connection.cursor() as cursor:
        for table in filled():
            cursor.execute(f'DELETE FROM "{table}"')
        for table, rows in kept.rows.items():
            with cursor.copy(f'COPY "{table}" FROM STDIN') as copy:
                copy.write(rows)
    _copy(kept.folder, folder)
    world.authority = kept.authority
    for name, told in kept.heard.items():
        getattr(world, name)[:] = told


def filled() -> set[str]:
    """The tables that have rows."""
    asked = " UNION ALL ".join(f"SELECT '{t}' WHERE EXISTS (SELECT FROM \"{t}\")" for t in _tables())
    with connection.cursor() as cursor:
        cursor.execute(asked)
        return {name for (name,) in cursor.fetchall()}


def _tables() -> list[str]:
    models = apps.get_models(include_auto_created=True)
    names = {model._meta.db_table for model in models if model._meta.managed and not model._meta.proxy}
    return sorted(names - set(EVERYWHERE))


def _copy(source: Path, target: Path) -> None:
    """With cp(1): volumes are files of gigabytes with nothing in them."""
    subprocess.run(["cp", "-a", "--sparse=always", f"{source}/.", str(target)], check=True)
