"""`placo doctor`: how every component of the site is."""

from __future__ import annotations

import typer

from placo.cli import show
from placo.cli.base import Json, app, portal, present
from placo.cli.client import CommandError

UNKNOWN = 2
"""The exit status when the portal cannot be asked: as for a failure."""


@app.command()
def doctor(json: Json = False) -> None:
    """How every component of the site is, and what to do (administrators). Exit status: 0 ok, 1 warnings, 2 failures."""
    try:
        found = portal()("GET", "doctor")
    except CommandError as error:
        show.problem(error)
        raise typer.Exit(UNKNOWN) from None
    present(found, json, show.doctor)
    raise typer.Exit(found["status"])
