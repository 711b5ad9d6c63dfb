"""The entry point: every command of `placo`."""

from __future__ import annotations

import sys

from placo.cli import act, change, doctor, login, look, people, proof, show
from placo.cli.base import app
from placo.cli.catalogue import catalogue_app
from placo.cli.client import CommandError
from placo.cli.drift import drift_app
from placo.cli.host import host_app
from placo.cli.outdated import outdated_app

COMMANDS = (login, look, act, change, people, proof, doctor)
"""The modules whose commands are part of `app`, in the order of the help."""

app.add_typer(drift_app, name="drift")
app.add_typer(host_app, name="host")
app.add_typer(outdated_app, name="outdated")
app.add_typer(catalogue_app, name="catalogue")
app.add_typer(people.people_app, name="people")
app.add_typer(people.keys_app, name="keys")


def main() -> None:
    """The entry point: problems are told in words, with exit status 1."""
    try:
        app(prog_name="placo")
    except CommandError as error:
        show.problem(error)
        sys.exit(1)
