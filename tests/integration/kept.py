"""What a test begins with, made once and put back for each: the rows of the database, and all that is in a world of fakes."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from django.apps import apps
from django.db import connection, transaction

from placo.drivers.fake_edge import FakeCertificateAuthority
from tests.fakes import World

EVERYWHERE = ("django_content_type", "auth_permission")
"""Tables that Django fills by itself; tests leave them alone."""


@dataclass(frozen=True)
class Kept:
    """`rows`: table -> its rows as PostgreSQL's COPY writes them; `folder` holds what the world's had."""

    rows: Mapping[str, bytes]
    folder: Path
    authority: FakeCertificateAuthority


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
    return Kept(rows, place, world.authority)


def put_back(kept: Kept, world: World, folder: Path) -> None:
    """Have that in an empty database, and in a new world in `folder`."""
    # Rows may come before what they refer to: PostgreSQL looks at that at the end of the transaction.
    with transaction.atomic(), connection.cursor() as cursor:
        for table, rows in kept.rows.items():
            with cursor.copy(f'COPY "{table}" FROM STDIN') as copy:
                copy.write(rows)
    _copy(kept.folder, folder)
    world.authority = kept.authority


def _tables() -> list[str]:
    models = apps.get_models(include_auto_created=True)
    names = {model._meta.db_table for model in models if model._meta.managed and not model._meta.proxy}
    return sorted(names - set(EVERYWHERE))


def _copy(source: Path, target: Path) -> None:
    """With cp(1): volumes are files of gigabytes with nothing in them."""
    subprocess.run(["cp", "-a", "--sparse=always", f"{source}/.", str(target)], check=True)
