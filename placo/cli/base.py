"""What all commands share: the application, the types of their parameters, and how answers are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from placo.cli import show
from placo.cli.client import CommandError, Portal, read_login
from placo.cli.follow import follow_run

DEFAULT_PORTAL = "http://127.0.0.1:8000"

app = typer.Typer(
    name="placo",
    help="Collaborative platforms for research groups: ask for one, follow it, manage its people.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Show each step until the run has ended.")]
PortalAddress = Annotated[
    str | None,
    typer.Option(
        envvar="PLACO_PORTAL", help=f"Where the portal is; {DEFAULT_PORTAL} if nothing else is known."
    ),
]
Slug = Annotated[str, typer.Argument(help="The short name of a platform.")]
RunId = Annotated[int, typer.Argument(min=1, help="The number of a run.")]
RequestId = Annotated[int, typer.Argument(min=1, help="The number of a request.")]
Uid = Annotated[str, typer.Argument(help="An account of the directory.")]
State = Annotated[str | None, typer.Option(help="Only those in this state.")]
Project = Annotated[str | None, typer.Option(help="Only those of this project.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]
Offset = Annotated[int, typer.Option(min=0, help="How many to leave out at the beginning.")]


def portal() -> Portal:
    """The portal one is logged in to."""
    login = read_login()
    if login is None:
        raise CommandError("you are not logged in.", "Run `placo login`.")
    return Portal(login)


def present(found: Any, json: bool, table: Callable[[Any], None]) -> None:
    if json:
        show.as_json(found)
    else:
        table(found)


def began(api: Portal, answer: dict[str, Any], text: str, *, json: bool, follow: bool) -> None:
    """Say that a run began, and follow it if asked to."""
    run_id = answer.get("run_id")
    if follow and run_id is not None:
        follow_run(api, run_id, json=json)
    elif json:
        show.as_json(answer)
    else:
        show.say(f"{text}: run {run_id}. Follow it with `placo run {run_id} --follow`." if run_id else text)
