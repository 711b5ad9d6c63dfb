"""The command that asks for a change of a living platform."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from placo.cli import show
from placo.cli.act import service_options
from placo.cli.base import Json, Slug, app, portal, present
from placo.cli.client import CommandError, Portal

SIZES = {"memory": "memory_mib", "vcpus": "vcpus", "data": "data_volume_gib"}


def _sizes(given: dict[str, list[str]]) -> dict[str, dict[str, int]]:
    """{"memory": ["www=1024"], "vcpus": ["www=2"]} -> {"www": {"memory_mib": 1024, "vcpus": 2}}."""
    found: dict[str, dict[str, int]] = {}
    for option, texts in given.items():
        for text in texts:
            machine, equals, number = text.partition("=")
            if not (machine and equals and number.isascii() and number.isdecimal()):
                raise CommandError(
                    f"{text!r} is not a size.", f"Write it as machine=number, like --{option} www=2."
                )
            found.setdefault(machine, {})[SIZES[option]] = int(number)
    return found


def _services(api: Portal, slug: str, add: list[str], remove: list[str]) -> list[str] | None:
    """All services that the platform shall have; None where they stay."""
    if not add and not remove:
        return None
    there: list[str] = api("GET", "platforms", slug)["services"]
    missing = [name for name in remove if name not in there]
    if missing:
        raise CommandError(f"{slug} has no service {missing[0]!r} to remove.", f"It has: {', '.join(there)}.")
    kept = [name for name in there if name not in remove]
    return kept + [name for name in add if name not in kept]


@app.command()
def change(
    slug: Slug,
    *,
    why: Annotated[str, typer.Option("--why", "-m", help="The administrator reads it.")],
    add: Annotated[list[str] | None, typer.Option(help="A service to add; repeat it.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A service to remove; repeat it.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-o",
            help="Of a service that comes new, or one that can be chosen anew, like webmail.quota_mib=2000.",
        ),
    ] = None,
    memory: Annotated[
        list[str] | None, typer.Option(help="MiB of a machine, like www=1024; it is restarted for it.")
    ] = None,
    vcpus: Annotated[
        list[str] | None, typer.Option(help="Processors of a machine, like www=2; it is restarted for it.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="GiB of a machine's data volume, like www=20; it can only grow.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="The new last day, like 2030-12-31.")] = None,
    confirm: Annotated[
        str | None,
        typer.Option(
            help="The slug once more, where a machine and its data go, instead of being asked for it."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Ask for a change of a platform that is ready; an administrator decides."""
    sizes = _sizes({"memory": memory or [], "vcpus": vcpus or [], "data": data or []})
    api = portal()
    wish: dict[str, Any] = {
        "services": _services(api, slug, add or [], remove or []),
        "options": service_options(api, option or []),
        "sizes": sizes,
        "expires_on": until,
        "justification": why,
    }
    try:
        found = api("POST", "platforms", slug, "changes", confirm=confirm or "", **wish)
    except CommandError as error:
        if confirm is not None or [e.get("field") for e in error.errors] != ["confirm"]:
            raise
        typed = typer.prompt(error.errors[0]["message"], err=True)
        found = api("POST", "platforms", slug, "changes", confirm=typed, **wish)
    present(found, json, show.request)
