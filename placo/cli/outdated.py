"""`placo outdated`: machines that run an older image than would be made today (administrators)."""

from __future__ import annotations

from typing import Annotated

import typer

from placo.cli import show
from placo.cli.base import Json, Limit, Offset, portal, present
from placo.cli.client import CommandError

outdated_app = typer.Typer(
    help="Machines whose image has been built anew since; have them all rebuilt (administrators)."
)


@outdated_app.callback(invoke_without_command=True)
def _default(context: typer.Context) -> None:
    """Without another word: the list."""
    if context.invoked_subcommand is None:
        list_outdated()


@outdated_app.command("list")
def list_outdated(limit: Limit = 50, offset: Offset = 0, json: Json = False) -> None:
    """Platforms with outdated machines."""
    present(portal()("GET", "outdated", query={"limit": limit, "offset": offset}), json, show.outdated)


@outdated_app.command()
def rebuild(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before.")] = False,
    json: Json = False,
) -> None:
    """Rebuild them all: new system disks; their data volumes stay, everything else in them is lost."""
    api = portal()
    if not yes:
        show.outdated(api("GET", "outdated", query={"limit": 200}))
        if not typer.confirm("Rebuild all of them?"):
            raise CommandError("nothing was done.", "Repeat it with --yes, or answer y.")
    present(api("POST", "outdated", "rebuild"), json, show.wave)
