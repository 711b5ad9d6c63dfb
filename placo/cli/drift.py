"""`placo drift`: where the world is not as the portal has it (administrators)."""

from __future__ import annotations

from typing import Annotated

import typer

from placo.cli import show
from placo.cli.base import Follow, Json, Limit, Offset, began, portal, present
from placo.cli.client import CommandError

drift_app = typer.Typer(
    help="Where the world is not as it should be; accept it, or have it repaired (administrators)."
)
DriftId = Annotated[int, typer.Argument(min=1, help="The number of a piece of drift.")]
Kind = Annotated[str | None, typer.Option(help="missing, extra, changed, paused or unreachable.")]
Where = Annotated[str | None, typer.Option(help="A host's name, directory or edge.")]
Accepted = Annotated[
    bool | None, typer.Option("--accepted/--open", help="Only what is accepted, or only what is not.")
]
DANGEROUS = ("restart", "tidy", "remove")
"""Remedies that take something away."""


@drift_app.callback(invoke_without_command=True)
def _default(context: typer.Context) -> None:
    """Without another word: the list."""
    if context.invoked_subcommand is None:
        list_drift()


@drift_app.command("list")
def list_drift(
    kind: Kind = None,
    where: Where = None,
    *,
    accepted: Accepted = None,
    limit: Limit = 50,
    offset: Offset = 0,
    json: Json = False,
) -> None:
    """What the last comparison of each place found."""
    query = {"kind": kind, "where": where, "accepted": accepted, "limit": limit, "offset": offset}
    present(portal()("GET", "drift", query=query), json, show.drift)


@drift_app.command()
def accept(number: DriftId, json: Json = False) -> None:
    """It is wanted so: nobody is told of it again until it changes."""
    present(portal()("POST", "drift", number, "accept"), json, lambda f: show.drift([f]))


@drift_app.command()
def repair(
    number: DriftId,
    *,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before something is taken away.")
    ] = False,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Start a run that brings back what is missing, or removes what was left."""
    api = portal()
    if not yes:
        found = next((f for f in api("GET", "drift", query={"limit": 200}) if f["id"] == number), None)
        if found is not None and found["remedy"] in DANGEROUS:
            show.say(f"{found['where']}: {found['what']} {found['name']}. {found['explanation']}")
            if not typer.confirm("Do it?"):
                raise CommandError("nothing was done.", "Repeat it with --yes, or answer y.")
    began(api, api("POST", "drift", number, "repair"), "Repair begun", json=json, follow=follow)
