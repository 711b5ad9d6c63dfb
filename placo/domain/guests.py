"""Guests: what their accounts are called, and when they end. Pure.

A guest chooses a name; the account is that name behind a mark (`g-marie`), so that it can never be taken for one of the
laboratory, nor be in the way of one that the laboratory gives out later.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import date, timedelta

MARK = "g-"
NAME_MIN, NAME_MAX = 3, 28
"""With its mark an account still fits where Unix allows 32 characters."""
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[.-][a-z0-9]+)*")
RESERVED = frozenset(
    [
        "abuse",
        "admin",
        "administrator",
        "anonymous",
        "apache",
        "backup",
        "cron",
        "daemon",
        "directory",
        "dovecot",
        "edge",
        "git",
        "gitolite",
        "guest",
        "hostmaster",
        "icinga",
        "info",
        "kvm",
        "ldap",
        "libvirt",
        "list",
        "lists",
        "mail",
        "mailer-daemon",
        "manager",
        "member",
        "members",
        "monitoring",
        "news",
        "nobody",
        "noreply",
        "no-reply",
        "nobody",
        "openldap",
        "operator",
        "owner",
        "owners",
        "placo",
        "placo-admin",
        "portal",
        "postfix",
        "postgres",
        "postmaster",
        "prosody",
        "redis",
        "root",
        "security",
        "server",
        "service",
        "services",
        "slapd",
        "sogo",
        "spam",
        "ssh",
        "sshd",
        "staff",
        "support",
        "svn",
        "sympa",
        "sys",
        "sysadmin",
        "system",
        "systemd",
        "test",
        "user",
        "users",
        "webmaster",
        "webmail",
        "wheel",
        "wiki",
        "www",
        "www-data",
        "xmpp",
    ]
)
_ALIKE = str.maketrans(
    {"0": "o", "1": "l", "i": "l", "j": "l", "5": "s", "8": "b", "2": "z", ".": "", "-": ""}
)
_PAIRS = (("rn", "m"), ("vv", "w"), ("cl", "d"), ("nn", "m"))
_INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
SHOWN_MAX = 100


def uid_of(name: str) -> str:
    """The account of a guest who has chosen this name."""
    return MARK + name


def name_problem(name: str) -> str:
    """Why this cannot be the name in a guest's account: empty, too-short, too-long, characters, reserved; "" when it can."""
    if not name:
        return "empty"
    if not _NAME.fullmatch(name):
        return "characters"
    if len(name) < NAME_MIN:
        return "too-short"
    if len(name) > NAME_MAX:
        return "too-long"
    return "reserved" if skeleton(name) in _RESERVED_SKELETONS else ""


def skeleton(name: str) -> str:
    """What a name looks like to somebody in a hurry: names that can be mistaken for each other have the same one."""
    text = name.lower().removeprefix(MARK)
    for pair, one in _PAIRS:
        text = text.replace(pair, one)
    return text.translate(_ALIKE)


_RESERVED_SKELETONS = frozenset(map(skeleton, RESERVED))


def shown_name(text: str) -> str:
    """A name as it is shown: composed, single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def shown_name_problem(text: str) -> str:
    """Why this cannot be shown as somebody's name: empty, too-long, characters (nothing invisible, no line's turn); "" when it can."""
    if not text:
        return "empty"
    if len(text) > SHOWN_MAX:
        return "too-long"
    letters = any(unicodedata.category(c).startswith("L") for c in text)
    odd = any(unicodedata.category(c) in _INVISIBLE or c in '<>"@\\' for c in text)
    return "" if letters and not odd else "characters"


def ends_on(memberships: Iterable[date | None], invitations: Iterable[date], today: date) -> date | None:
    """The day from which on an account opens nothing: when the last of its memberships has ended and the last invitation is
    late. None where one of them has no end; today where there are none."""
    days = [*memberships, *(day + timedelta(days=1) for day in invitations)]
    if not days:
        return today
    known = [day for day in days if day is not None]
    return max(known) if len(known) == len(days) else None


def earlier(*days: date | None) -> date | None:
    """The first of these days; None means never."""
    return min((day for day in days if day is not None), default=None)
