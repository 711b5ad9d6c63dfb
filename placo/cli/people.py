"""Commands about people: inviting, handing over, leaving; one's own ssh keys."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from placo.cli import show
from placo.cli.base import Json, Slug, Uid, app, portal, present
from placo.cli.client import CommandError

people_app = typer.Typer(help="People across all platforms (administrators).", no_args_is_help=True)
keys_app = typer.Typer(help="Your public keys of ssh.", no_args_is_help=True)

Mail = Annotated[str, typer.Argument(help="One plain mail address.")]
Number = Annotated[
    int, typer.Argument(min=1, help="The number of an invitation, as `placo invitations` shows it.")
]
COLUMNS = ("id", "mail", "state", "mailed", "invited_by", "until", "expires_at")


@app.command()
def invite(
    slug: Slug,
    mail: Mail,
    until: Annotated[str | None, typer.Option(help="The day on which it ends, like 2027-03-31.")] = None,
    language: Annotated[str, typer.Option(help="Of the mail: en, fr or both.")] = "",
    json: Json = False,
) -> None:
    """Invite somebody from outside to a platform, by a mail with a link that works once."""
    found = portal()("POST", "platforms", slug, "invitations", mail=mail, until=until, language=language)
    text = "{mail} is invited; the link works until {expires_at}."
    present(found, json, lambda f: show.say(text.format(**f)))


@app.command()
def invitations(slug: Slug, json: Json = False) -> None:
    """Invitations to a platform that nobody has accepted yet."""
    found = portal()("GET", "platforms", slug, "invitations")
    present(found, json, lambda f: show.rows("", COLUMNS, f))


@app.command()
def resend(number: Number, json: Json = False) -> None:
    """Send an invitation again, with a new link."""
    found = portal()("POST", "invitations", number, "resend")
    present(found, json, lambda f: show.rows("", COLUMNS, [f]))


@app.command()
def revoke(number: Number, json: Json = False) -> None:
    """Take an invitation back: its link opens nothing any more."""
    found = portal()("DELETE", "invitations", number)
    present(found, json, lambda f: show.rows("", COLUMNS, [f]))


@app.command()
def until(
    slug: Slug,
    uid: Uid,
    day: Annotated[str, typer.Argument(help="The day on which it ends, like 2027-03-31; never for no end.")],
    json: Json = False,
) -> None:
    """Set how long somebody is a member of a platform."""
    wanted = None if day == "never" else day
    found = portal()("PUT", "platforms", slug, "members", uid, "until", until=wanted)
    present(found, json, lambda f: show.rows("", ("uid", "name", "until", "state"), [f]))


@app.command()
def handover(
    slug: Slug,
    uid: Uid,
    step_down: Annotated[
        bool, typer.Option("--step-down", help="And be no owner any more yourself.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a member an owner of a platform, and step down if you like."""
    api = portal()
    found = api("PUT", "platforms", slug, "owners", uid)
    if step_down:
        api("DELETE", "platforms", slug, "owners", api("GET", "account")["uid"])
    present(found, json, lambda f: show.say(f"{f['uid']} ({f['name']}) is an owner of {slug}."))


@app.command()
def stepdown(
    slug: Slug,
    uid: Annotated[str | None, typer.Argument(help="Somebody else (administrators).")] = None,
    json: Json = False,
) -> None:
    """Be no owner of a platform any more; you stay a member. The last owner cannot."""
    api = portal()
    found = api("DELETE", "platforms", slug, "owners", uid or api("GET", "account")["uid"])
    present(found, json, lambda f: show.say(f"{f['uid']} is no owner of {slug} any more."))


# --- people ---


@people_app.command("show")
def show_person(uid: Uid, json: Json = False) -> None:
    """Somebody with all that they have here."""
    present(portal()("GET", "people", uid), json, lambda f: show.facts(f"{f['name']} ({f['uid']})", f))


@people_app.command("leave")
def leave(
    uid: Uid,
    yes_uid: Annotated[
        str | None, typer.Option(help="The account once more, instead of being asked for it.")
    ] = None,
    json: Json = False,
) -> None:
    """Remove somebody from all platforms, at once."""
    api = portal()
    if yes_uid is None:
        found = api("GET", "people", uid)
        show.facts(f"{found['name']} ({found['uid']})", found)
        yes_uid = typer.prompt("This removes them from all platforms. Type the account to confirm", err=True)
    if yes_uid != uid:
        raise CommandError("the account is not the one: nobody was removed.", f"Type {uid} to confirm.")

    def said(found: dict[str, Any]) -> None:
        where = ", ".join(found["platforms"]) or "no platform"
        show.say(f"{found['uid']} is being removed from: {where}.")

    present(api("POST", "people", uid, "leave"), json, said)


# --- ssh keys ---

KEY_COLUMNS = ("id", "title", "kind", "bits", "fingerprint", "added_at")


@keys_app.command("list")
def list_keys(json: Json = False) -> None:
    """Your keys."""
    present(portal()("GET", "account", "keys"), json, lambda f: show.rows("", KEY_COLUMNS, f))


@keys_app.command("add")
def add_key(
    file: Annotated[str, typer.Argument(help="A file that ends in .pub; - for standard input.")],
    title: Annotated[str, typer.Option(help="A name for it.")] = "",
    json: Json = False,
) -> None:
    """Add a public key."""
    try:
        text = sys.stdin.read(20_000) if file == "-" else Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}", "Name the file that ends in .pub.") from error
    if "PRIVATE KEY" in text:
        raise CommandError(
            "this is the private half of a key: it stays here.", "Name the file that ends in .pub."
        )
    found = portal()("POST", "account", "keys", key=text, title=title)
    present(found, json, lambda f: show.rows("", KEY_COLUMNS, [f]))


@keys_app.command("remove")
def remove_key(
    number: Annotated[int, typer.Argument(min=1, help="The number of a key, as `placo keys list` shows it.")],
    json: Json = False,
) -> None:
    """Remove a key: it opens nothing any more."""
    present(
        portal()("DELETE", "account", "keys", number), json, lambda _f: show.say(f"Key {number} is removed.")
    )
