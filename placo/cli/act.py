"""Commands that change something: requests, people, the life of a platform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from placo.cli import show
from placo.cli.base import Follow, Json, RequestId, RunId, Slug, Uid, app, began, portal, present
from placo.cli.client import CommandError, Portal
from placo.cli.follow import follow_run

WORDS = {"true": True, "yes": True, "false": False, "no": False}


def _value(kind: str | None, text: str) -> object:
    """What was typed as the kind of value that an option takes; what does not fit is left for the portal to refuse."""
    if kind == "boolean":
        return WORDS.get(text.lower(), text)
    if kind == "integer" and text.removeprefix("-").isdecimal() and text.isascii():
        return int(text)
    return text


def service_options(api: Portal, given: list[str]) -> dict[str, dict[str, object]]:
    """["svn.repository=main", "web.php=no"] -> {"svn": {"repository": "main"}, "web": {"php": False}}."""
    if not given:
        return {}
    kinds = {
        (service["id"], option["name"]): option["type"]
        for service in api("GET", "catalogue", "services")
        for option in service["options"]
    }
    found: dict[str, dict[str, object]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        service, dot, option = name.partition(".")
        if not (equals and dot and service and option):
            raise CommandError(
                f"{text!r} is not an option.", "Write it as service.option=value, like web.php=no."
            )
        found.setdefault(service, {})[option] = _value(kinds.get((service, option)), value)
    return found


@app.command()
def request(
    slug: Slug,
    services: Annotated[list[str], typer.Argument(help="Services of the catalogue, like: web svn.")],
    *,
    project: Annotated[str, typer.Option(help="One of your projects.")],
    justification: Annotated[
        str, typer.Option("--justification", "-m", help="Why; the administrator reads it.")
    ],
    days: Annotated[int, typer.Option(help="For how long.")] = 90,
    title: Annotated[str, typer.Option(help="A longer name.")] = "",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="Like web.php=no; repeat it.")
    ] = None,
    hypervisor: Annotated[str | None, typer.Option(help="kvm, for instance; any otherwise.")] = None,
    json: Json = False,
) -> None:
    """Ask for a platform; an administrator decides."""
    api = portal()
    found = api(
        "POST",
        "requests",
        project=project,
        slug=slug,
        services=services,
        days=days,
        justification=justification,
        title=title,
        hypervisor=hypervisor,
        options=service_options(api, option or []),
    )
    present(found, json, show.request)


@app.command()
def approve(
    number: RequestId,
    plan_hash: Annotated[
        str | None,
        typer.Option(
            "--plan", help="Approve this plan only: the request's own, or the one that is offered instead."
        ),
    ] = None,
    comment: Annotated[str, typer.Option(help="For the requester.")] = "",
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Approve a request: the platform is made or changed at once (administrators)."""
    api = portal()
    try:
        answer = api("POST", "requests", number, "approve", plan_hash=plan_hash, comment=comment)
    except CommandError as error:
        if "differences" in error.document:
            _outdated(number, error, json=json)
        raise
    began(api, answer, f"Request {number} is approved", json=json, follow=follow)


def _outdated(number: int, error: CommandError, *, json: bool) -> None:
    """Show where the plan that would be approved now differs, and how to approve that one."""
    found, plan_hash = error.document["differences"], error.document["plan_hash"]
    if json:
        show.as_json(error.document)
    elif found:
        show.differences("The old plan and the new one", found)
    if plan_hash:
        error.remedy += f" To approve the new one: placo approve {number} --plan {plan_hash}"


@app.command()
def reject(
    number: RequestId,
    comment: Annotated[str, typer.Option("--comment", "-m", help="Why; the requester reads it.")],
    json: Json = False,
) -> None:
    """Reject a request (administrators)."""
    present(portal()("POST", "requests", number, "reject", comment=comment), json, show.request)


@app.command()
def withdraw(number: RequestId, json: Json = False) -> None:
    """Take a request back while nothing is decided."""
    present(portal()("POST", "requests", number, "withdraw"), json, show.request)


@app.command()
def replan(number: RequestId, json: Json = False) -> None:
    """Make a new plan where the old one no longer fits (administrators)."""
    present(portal()("POST", "requests", number, "replan"), json, show.request)


# --- hosts ---


@app.command()
def warm(
    host: Annotated[str, typer.Argument(help="The name of a host.")],
    on: Annotated[bool, typer.Option("--on/--off", help="Resume new machines from templates, or boot them.")],
    json: Json = False,
) -> None:
    """Turn the templates of a host on or off (administrators)."""
    present(portal()("POST", "hosts", host, "warm", on=on), json, lambda f: show.hosts([f]))


# --- people ---


@app.command()
def members(slug: Slug, json: Json = False) -> None:
    """Who may use a platform."""
    found = portal()("GET", "platforms", slug, "members")
    present(found, json, lambda f: show.rows("", ("uid", "name", "owner", "state"), f))


def _member(method: str, slug: str, uid: str, *, follow: bool, json: bool) -> None:
    api = portal()
    found = api(method, "platforms", slug, "members", uid)
    began(api, found, f"{found['uid']} ({found['name']}): {found['state']}", json=json, follow=follow)


@app.command()
def add(slug: Slug, uid: Uid, follow: Follow = False, json: Json = False) -> None:
    """Let somebody use a platform."""
    _member("PUT", slug, uid, follow=follow, json=json)


@app.command()
def remove(slug: Slug, uid: Uid, follow: Follow = False, json: Json = False) -> None:
    """Refuse somebody from now on, everywhere on a platform."""
    _member("DELETE", slug, uid, follow=follow, json=json)


# --- the life of a platform ---


POWER = {
    "start": "Start the machines of a platform.",
    "stop": "Stop the machines of a platform; nothing is lost.",
    "restart": "Stop the machines of a platform, then start them.",
    "suspend": "Hold the machines of a platform in their hosts' memory.",
    "resume": "Have suspended machines go on.",
}


def _power(action: str) -> Callable[..., None]:
    def power(slug: Slug, follow: Follow = False, json: Json = False) -> None:
        api = portal()
        answer = api("POST", "platforms", slug, "actions", action)
        began(api, answer, f"{action} of {slug} has begun", json=json, follow=follow)

    return power


for _action, _help in POWER.items():
    app.command(_action, help=_help)(_power(_action))


@app.command()
def rebuild(
    slug: Slug,
    machine: Annotated[
        list[str] | None,
        typer.Option(help="A machine, several times for several; all outdated ones without it."),
    ] = None,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Give machines new system disks from the newest image; their data volumes stay, everything else in them is lost."""
    api = portal()
    wish: dict[str, Any] = {"machines": machine} if machine else {}
    answer = api("POST", "platforms", slug, "rebuild", **wish)
    began(api, answer, f"Rebuild of {slug} has begun", json=json, follow=follow)


@app.command()
def renew(slug: Slug, json: Json = False) -> None:
    """Give a platform more time: as many days as it was first asked for; started again if its end had stopped it."""
    api = portal()
    known = api("GET", "platforms", slug)
    _ends(api("POST", "platforms", slug, "renew", expires_on=known["expires_on"]), json=json)


@app.command()
def end(
    slug: Slug,
    day: Annotated[str, typer.Argument(help="The date on which it is to be stopped, like 2027-03-31.")],
    json: Json = False,
) -> None:
    """Set the end date of a platform (administrators)."""
    _ends(portal()("PUT", "platforms", slug, "end", expires_on=day), json=json)


@app.command()
def read(
    number: Annotated[
        int, typer.Argument(min=1, help="The number of a notice, as `placo notices` shows it.")
    ],
    json: Json = False,
) -> None:
    """Say that you have read a notice."""
    present(
        portal()("POST", "notices", number, "read"), json, lambda f: show.say(f"{f['title']}\n{f['text']}")
    )


def _ends(found: dict[str, Any], *, json: bool) -> None:
    text = "{slug} ends on {expires_on}; its data are kept until {removed_on}."
    present(found, json, lambda f: show.say(text.format(**f)))


@app.command()
def retire(
    slug: Slug,
    yes_slug: Annotated[
        str | None, typer.Option(help="The slug once more, instead of being asked for it.")
    ] = None,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Remove a platform and all of its data for good."""
    api = portal()
    if yes_slug is None:
        found = api("GET", "platforms", slug)
        show.platform(found)
        yes_slug = typer.prompt(
            "This removes all of it for good. Type the platform's name to confirm", err=True
        )
    if yes_slug != slug:
        raise CommandError("the name is not the platform's: nothing was removed.", f"Type {slug} to confirm.")
    began(api, api("DELETE", "platforms", slug), f"Retirement of {slug} has begun", json=json, follow=follow)


DECISIONS = {
    "retry": "Try the failed steps of a stuck run again.",
    "skip": "Go on without the failed steps of a stuck run (administrators).",
    "undo": "Undo all that a run did: a creation or change at any time before something is removed, the others once stuck.",
}


def _decide(verb: str) -> Callable[..., None]:
    def decide(run_id: RunId, follow: Follow = False, json: Json = False) -> None:
        api = portal()
        found = api("POST", "runs", run_id, verb)
        if follow:
            follow_run(api, run_id, json=json)
        else:
            present(found, json, show.run)

    return decide


for _verb, _help in DECISIONS.items():
    app.command(_verb, help=_help)(_decide(_verb))
