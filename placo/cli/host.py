"""`placo host`: what to do when a host is gone (administrators)."""

from __future__ import annotations

from typing import Annotated

import typer

from placo.cli import show
from placo.cli.base import Json, portal, present
from placo.cli.client import CommandError

host_app = typer.Typer(
    help="A host that is gone for good, or that came back (administrators).", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(help="The name of a host.")]


@host_app.command("show")
def show_host(name: Name, json: Json = False) -> None:
    """One host: how it is, what waits for it, what is kept for it."""
    present(_find(name), json, show.host)


@host_app.command()
def lost(
    name: Name,
    yes_name: Annotated[
        str | None, typer.Option(help="The name once more, instead of being asked for it.")
    ] = None,
    json: Json = False,
) -> None:
    """Declare a host that does not answer lost, with all that is on it: whatever waits for it comes to an end."""
    if yes_name is None:
        show.host(_find(name))
        yes_name = typer.prompt(
            "What is on it is given up for good. Type the host's name to confirm", err=True
        )
    if yes_name != name:
        raise CommandError("the name is not the host's: nothing was done.", f"Type {name} to confirm.")
    present(portal()("POST", "hosts", name, "lost", confirm=yes_name), json, show.host)


@host_app.command("take-back")
def take_back(name: Name, json: Json = False) -> None:
    """Use a lost host that answers again, once nothing is left there of platforms that have ended."""
    present(portal()("POST", "hosts", name, "take-back"), json, show.host)


def _find(name: str) -> dict[str, object]:
    found = next((host for host in portal()("GET", "hosts") if host["name"] == name), None)
    if found is None:
        raise CommandError(f"there is no host {name}.", "`placo hosts` lists them.")
    return dict(found)
