"""Logging in and out, and tokens for programs."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import httpx
import typer

from placo.cli import show
from placo.cli.base import DEFAULT_PORTAL, Json, PortalAddress, app
from placo.cli.client import CommandError, Login, Portal, ask_token, forget_login, keep_login, read_login


def _password(file: Path | None) -> str:
    """From a file ("-" is standard input) or typed; never from the command line, which others can read."""
    try:
        if file is None:
            return getpass.getpass("Password: ")
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(
            f"the password cannot be read: {error}", "Check the file given with --password-file."
        ) from error
    except EOFError:
        raise CommandError(
            "no password was typed.", "Use --password-file where there is no terminal."
        ) from None
    return text.rstrip("\r\n")


@app.command()
def login(
    uid: Annotated[str | None, typer.Argument(help="Your account; asked for if not given.")] = None,
    portal: PortalAddress = None,
    password_file: Annotated[
        Path | None,
        typer.Option(help='A file with the password, "-" for standard input. Asked for otherwise.'),
    ] = None,
    json: Json = False,
) -> None:
    """Log in with your laboratory account; a token is kept for later commands."""
    made = _ask(uid, portal, password_file)
    path = keep_login(made)
    if json:
        show.as_json({"portal": made.portal, "uid": made.uid, "file": str(path)})
    else:
        show.say(f"Logged in to {made.portal} as {made.uid}.")


def _ask(uid: str | None, address: str | None, password_file: Path | None) -> Login:
    if address is None:
        known = read_login()
        address = known.portal if known else DEFAULT_PORTAL
    return ask_token(address, uid or typer.prompt("Account"), _password(password_file))


@app.command()
def logout() -> None:
    """End the token kept on this machine, and forget it."""
    try:
        known = read_login()
    except CommandError:
        known = None  # a file that cannot be read goes too
    there = forget_login()
    if known is not None:
        _end(known)
    show.say("Logged out." if there else "You were not logged in.")


def _end(known: Login) -> None:
    """Make a token void; one that is void already is no trouble."""
    try:
        Portal(known)("DELETE", "tokens", "current")
    except CommandError as error:
        if error.status == httpx.codes.UNAUTHORIZED:
            return
        raise CommandError(
            f"the token is forgotten here, but it was not ended at {known.portal}: {error.message}",
            "It ends by itself in some weeks. If others may have read it, tell your administrator.",
        ) from error


@app.command()
def token(
    uid: Annotated[str | None, typer.Argument(help="Your account; asked for if not given.")] = None,
    portal: PortalAddress = None,
    password_file: Annotated[
        Path | None, typer.Option(help='A file with the password, "-" for standard input.')
    ] = None,
    json: Json = False,
) -> None:
    """Print a new token, for a program of yours; nothing is kept here."""
    made = _ask(uid, portal, password_file)
    if json:
        show.as_json({"portal": made.portal, "uid": made.uid, "token": made.token})
    else:
        print(made.token)
