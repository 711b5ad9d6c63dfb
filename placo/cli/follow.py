"""Following a run in a terminal: one line for each change of a step, until the run has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from placo.cli import show
from placo.cli.client import CommandError, Portal

EVERY_S = 1.0
"""How often the portal is asked."""
pause = time.sleep
"""Waits so many seconds."""
ENDED = ("done", "undone")


def changes(before: dict[str, Any] | None, after: dict[str, Any]) -> Iterator[str]:
    """A line for each step whose state or message is not what it was."""
    old = {step["name"]: step for step in before["steps"]} if before else {}
    for step in after["steps"]:
        seen = old.get(step["name"])
        if seen is None and step["state"] == "pending":
            continue
        note = step["error"] or step["message"]
        if seen is None or (seen["state"], seen["error"] or seen["message"]) != (step["state"], note):
            yield f"  {step['name']}: {step['state']}" + (f" ({note})" if note else "")


def follow_run(api: Portal, run_id: int, *, json: bool) -> None:
    """Print what changes until the run has ended. CommandError for one that is stuck or was undone: exit status 1."""
    seen: dict[str, Any] | None = None
    while True:
        run: dict[str, Any] = api("GET", "runs", run_id)
        if not json and (seen is None or seen["version"] != run["version"]):
            for line in changes(seen, run):
                show.say(line)
            if (text := show.waits(run)) and (seen is None or show.waits(seen) != text):
                show.say(f"  {text}")
        seen = run
        if run["state"] in (*ENDED, "stuck"):
            break
        if run["state"] == "unwinding" and any(step["state"] == "failed" for step in run["steps"]):
            break
        pause(EVERY_S)
    if json:
        show.as_json(seen)
    _conclude(seen, json=json)


def _conclude(run: dict[str, Any], *, json: bool) -> None:
    failed = [step for step in run["steps"] if step["error"]]
    why = "; ".join(f"{step['name']}: {step['error']}" for step in failed)
    if run["state"] == "done":
        if not json:
            show.say(f"Run {run['id']} is done.")
    elif run["state"] == "undone":
        left = "Nothing of it is left." if run["kind"] == "create" else "Everything is as it was before."
        raise CommandError(f"run {run['id']} has been undone. {why}".strip(), left)
    else:
        verbs = f"`placo retry {run['id']}`, `placo skip {run['id']}` or `placo undo {run['id']}`"
        raise CommandError(f"run {run['id']} is stuck. {why}".strip(), f"Put it right, then {verbs}.")
