"""`placo prove`: who is let in to a platform, and who is not."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from placo.cli import show
from placo.cli.base import Json, Slug, app, portal
from placo.cli.client import CommandError, Portal

EVERY_S = 1.0
"""How often the portal is asked."""
pause = time.sleep
"""Waits so many seconds."""


@app.command()
def prove(
    slug: Slug,
    *,
    last: Annotated[bool, typer.Option("--last", help="Show what came of the last one instead.")] = False,
    json: Json = False,
) -> None:
    """Try every door of a platform: with a member, an outsider, a guest whose time is over, a wrong password, a member who was removed."""
    api = portal()
    found = _last(api, slug) if last else _made(api, slug, json=json)
    if json:
        show.as_json(found)
    else:
        show.rows("", ("service", "endpoint", "case", "answer", "seconds", "passed"), found["cases"])
        for case in found["cases"]:
            if not case["passed"]:
                show.say(case["text"])
        show.say(found["text"])
    if found["state"] != "passed":
        raise CommandError(
            f"the proof of {slug} is {found['state']}.", "See who gets in where, and look at that machine."
        )


def _last(api: Portal, slug: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = api("GET", "platforms", slug, "proofs")
    over = next((proof for proof in found if proof["ended_at"]), None)
    if over is None:
        raise CommandError(f"nobody has tried the doors of {slug} yet.", f"Run `placo prove {slug}`.")
    return over


def _made(api: Portal, slug: str, *, json: bool) -> dict[str, Any]:
    asked = api("POST", "platforms", slug, "proofs")
    if not json:
        show.say(f"Stand-ins try the doors of {slug}; that takes a minute or two.")
    while True:
        found: list[dict[str, Any]] = api("GET", "platforms", slug, "proofs")
        mine = next((proof for proof in found if proof["id"] == asked["id"]), None)
        if mine is None:
            raise CommandError(f"proof {asked['id']} of {slug} is not kept any more.", "Ask for another one.")
        if mine["ended_at"]:
            return mine
        pause(EVERY_S)
