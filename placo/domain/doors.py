"""Doors: who may come in at an address of a service, and how a log-in is tried there. Said by the catalogue, endpoint by endpoint.

A kind of log-in is a word here, its keys in `catalogue_endpoints`, and its way in `placo/drivers/doorman.py`. A protocol that bricks bring
gets its line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from placo.domain.protocols import HTTPS, SMTP, SSH


class Access(StrEnum):
    """Who may come in."""

    MEMBERS = "members"
    OWNERS = "owners"
    PUBLIC = "public"


class LoginKind(StrEnum):
    """How one says who one is. NONE: one does not, everybody may come in. UNTRIED: in a way that no proof tries."""

    BASIC = "basic"
    FORM = "form"
    IMAP = "imap"
    SMTP = "smtp"
    XMPP = "xmpp"
    SSH = "ssh"
    NONE = "none"
    UNTRIED = "untried"


KINDS: Mapping[str, tuple[LoginKind, ...]] = {
    HTTPS: (LoginKind.BASIC, LoginKind.FORM, LoginKind.NONE, LoginKind.UNTRIED),
    "imaps": (LoginKind.IMAP,),
    "submissions": (LoginKind.SMTP,),
    "xmpps": (LoginKind.XMPP,),
    SMTP: (LoginKind.NONE,),
    SSH: (LoginKind.SSH, LoginKind.UNTRIED),
}
"""Protocol of an endpoint -> the log-ins that it may have."""

PASSWORD, KEY = "password", "key"
"""The ways of ssh in which somebody may say who they are."""

REFUSED = (401, 403)
"""The statuses by which the web refuses somebody, unless the catalogue says otherwise."""


@dataclass(frozen=True)
class Login:
    """How a log-in is tried. Of the web: `path` (empty: the endpoint's own) is asked for; statuses in `refused` are refusals.

    Of ssh: `ways` are those that the door takes (PASSWORD, KEY), each of which has to do. Of a form: `user` and `password` are the names of its fields; a page that holds `inside` is shown to nobody but who is in.
    """

    by: LoginKind
    path: str = ""
    refused: tuple[int, ...] = REFUSED
    user: str = ""
    password: str = ""
    inside: str = ""
    ways: tuple[str, ...] = ()
