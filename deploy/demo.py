"""`make demo`: the main job once, on the lab that runs: request, approve, provision, prove. Says what it does and how long."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from deploy.client import Api, Lab, svn, wait_for

TEMPLATES_WAIT_S = 360
"""How long the first request waits for templates; afterwards the machines boot, which takes them longer."""
ROOT = Path(__file__).resolve().parent.parent
SLUG = "demo"
START = time.monotonic()


def say(text: str) -> None:
    """One line with the time since the start."""
    print(f"[{time.monotonic() - START:5.1f} s] {text}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="deploy.demo")
    parser.add_argument("--root", type=Path, default=ROOT / "var" / "lab")
    lab = Lab.read(parser.parse_args(arguments).root.resolve())
    try:
        demonstrate(lab)
    except (RuntimeError, TimeoutError) as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        print(
            "What to do: `make status` shows what runs, `make logs` why; then `make demo` again.",
            file=sys.stderr,
        )
        return 1
    farewell(lab)
    return 0


def demonstrate(lab: Lab) -> None:
    """Make the platform if it is not there, then prove it with a member and an outsider."""
    owner, admin = lab.api("owner"), lab.api("admin")
    if (
        owner.status("GET", f"/platforms/{SLUG}") != 200
        or owner("GET", f"/platforms/{SLUG}")["state"] in ENDED
    ):
        provision(owner, admin)
    platform = owner("GET", f"/platforms/{SLUG}")
    if platform["state"] == "creating":
        follow(owner, platform["run_id"])
    elif platform["state"] == "stopped":
        say("the platform is stopped: starting it")
        follow(owner, owner("POST", f"/platforms/{SLUG}/actions/start")["run_id"])
    prove(lab, owner)
    ways(admin, SLUG)


ENDED = ("retired", "failed", "declined")


def provision(owner: Api, admin: Api) -> None:
    """Ask for web + svn and approve it."""
    say(f"{owner.account.uid} asks for a platform named {SLUG} with a web site and Subversion")
    request = owner(
        "POST",
        "/requests",
        project=owner("GET", "/projects")[0]["slug"],
        slug=SLUG,
        title="Demonstration",
        services=["web", "svn"],
        days=90,
        justification="To see PLACO at work.",
    )
    wait_for_templates(admin, {machine["name"] for machine in request["plan"]["machines"]})
    say(f"{admin.account.uid} approves the plan {request['plan']['hash'][:12]}")
    run = admin("POST", f"/requests/{request['id']}/approve", plan_hash=request["plan"]["hash"])
    follow(owner, run["run_id"])


def wait_for_templates(admin: Api, machines: Collection[str]) -> None:
    """Machines are resumed from templates where these are ready: the first time, a site has to make them."""
    shown: set[tuple[int, int]] = set()

    def show(ready: int, total: int) -> None:
        if ready < total and not shown:
            say("each host makes templates to resume machines from; this takes about a minute the first time")
        if (ready, total) not in shown and (shown or ready < total):
            say(f"  templates: {ready} of {total} ready")
        shown.add((ready, total))

    try:
        admin.wait_for_templates(TEMPLATES_WAIT_S, show, machines)
    except TimeoutError:
        say("the templates are still not ready: going on without, machines boot")


WHY_COLD = {
    "making": "the template of its image was being made",
    "broken": "the template of its image was damaged",
    "failed": "the template of its image could not be made",
    "impossible": "its host cannot resume such a machine",
    "off": "templates are turned off on its host",
    "memory": "its host was short of memory",
    "fell-back": "resuming it did not work",
}


def ways(admin: Api, slug: str) -> None:
    """Say of each machine of a platform how it came up, and how long that took."""
    for machine in admin("GET", f"/platforms/{slug}")["machines"]:
        if machine["took_s"] is None:
            continue
        if machine["way"] == "warm":
            say(f"{machine['name']} was resumed from a template in {machine['took_s']:.1f} s")
        else:
            why = WHY_COLD.get(machine["way_reason"], machine["way_reason"])
            detail = f" ({machine['way_detail']})" if machine["way_detail"] else ""
            say(f"{machine['name']} booted in {machine['took_s']:.1f} s: {why}{detail}")


def follow(api: Api, run_id: int) -> None:
    """Print each step of a run as it is done."""
    say("workers make the machines; one that has to boot takes a minute or so under emulation")
    shown: set[str] = set()

    def show(run: dict[str, Any]) -> None:
        for step in run["steps"]:
            if step["state"] == "done" and step["name"] not in shown:
                shown.add(step["name"])
                say(f"  {step['name']}")

    run = api.wait_for_run(run_id, seen=show)
    if run["state"] != "done":
        raise RuntimeError(
            f"the run ended {run['state']}: {[s['error'] for s in run['steps'] if s['error']]}"
        )


def prove(lab: Lab, owner: Api) -> None:
    """A member uses everything with one password, an outsider nothing, a removed member nothing any more."""
    endpoints = owner("GET", f"/platforms/{SLUG}")["endpoints"]
    repository = next(endpoint["url"] for endpoint in endpoints if endpoint["service"] == "svn")
    members_page = next(endpoint["url"] for endpoint in endpoints if endpoint["url"].endswith("/members/"))
    member = lab.accounts["member"].uid
    owner("PUT", f"/platforms/{SLUG}/members/{member}")
    wait_for(lambda: lab.get(members_page, "member").status_code == 200, 30, "the member to be let in")
    say(f"{member} was added and opens {members_page}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        note = work / "copy" / f"note-{int(time.time())}.txt"
        for command in (
            ["checkout", repository, "copy"],
            ["add", str(note)],
            ["commit", "-m", "A first note", str(work / "copy")],
        ):
            if command[0] == "add":
                note.write_text("One account for everything.\n")
            done = svn(lab, "member", repository, *command, folder=work)
            if done.returncode:
                raise RuntimeError(f"svn {command[0]}: {done.stderr}")
    say(f"{member} committed to {repository}")
    for role in ("outsider", None):
        status = lab.get(members_page, role).status_code
        if status not in (401, 403):
            raise RuntimeError(f"{role or 'nobody'} got {status} from {members_page}")
    say("an outsider and somebody without a password are refused")


def farewell(lab: Lab) -> None:
    """Where to go now."""
    print(f"\nThe lab goes on running. Portal: {lab.portal}   (stop it with `make down`)\n")
    print(f"  {'who':10}{'account':14}password")
    for role, account in lab.accounts.items():
        print(f"  {role:10}{account.uid:14}{account.password}")
    print(f"\nPublic addresses need the lab's own authority in your browser: {lab.ca}")


if __name__ == "__main__":
    sys.exit(main())
