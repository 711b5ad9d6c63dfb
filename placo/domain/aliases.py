"""Addresses that owners choose beside those that every member has: ``contact=ada,emmy; seminar=members``. Pure.

What stands before the = is a local part of the platform's mail domain; behind it are uids, other such names, or the groups
`members` and `owners`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

GROUPS = frozenset({"members", "owners"})
RESERVED = GROUPS | {
    *(
        "abuse",
        "double-bounce",
        "hostmaster",
        "mailer-daemon",
        "nobody",
        "noreply",
        "postmaster",
        "root",
        "webmaster",
    ),
}
"""Names that have a meaning already, here or wherever mail is spoken (RFC 2142)."""
NAMES_MAX = TARGETS_MAX = 50
_LOCAL_PART = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_LOCAL_PART_MAX = 64  # RFC 5321, 4.5.3.1.1
_GUEST = "g-"


class AliasError(ValueError):
    """What is wrong: "syntax", "name", "reserved", "twice", "many", "loop"; `subject` is the piece of text that it is about."""

    def __init__(self, problem: str, subject: str) -> None:
        super().__init__(f"{problem}: {subject}")
        self.problem, self.subject = problem, subject


def parse(text: str) -> dict[str, tuple[str, ...]]:
    """Name -> targets, in the order given; AliasError for what cannot be used."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in filter(None, (piece.strip() for piece in text.split(";"))):
        name, equals, listed = (part.strip() for part in entry.partition("="))
        targets = tuple(target.strip() for target in listed.split(","))
        if not equals or "=" in listed:
            raise AliasError("syntax", entry)
        for part in (name, *targets):
            if len(part) > _LOCAL_PART_MAX or not _LOCAL_PART.fullmatch(part):
                raise AliasError("name", part)
        if name in RESERVED or name.startswith(_GUEST):
            raise AliasError("reserved", name)
        if name in found:
            raise AliasError("twice", name)
        found[name] = targets
        if len(found) > NAMES_MAX or len(targets) > TARGETS_MAX:
            raise AliasError("many", name)
    straight: set[str] = set()
    for name in found:
        _follow(name, found, (), straight)
    return found


def people(aliases: Mapping[str, tuple[str, ...]]) -> set[str]:
    """The targets that have to be uids."""
    return {target for targets in aliases.values() for target in targets} - set(aliases) - GROUPS


def _follow(
    name: str, aliases: Mapping[str, tuple[str, ...]], way: tuple[str, ...], straight: set[str]
) -> None:
    """`straight`: names that are known to lead to no loop; each is followed once, however many lead to it."""
    if name in way:
        raise AliasError("loop", " > ".join((*way[way.index(name) :], name)))
    if name in straight:
        return
    for target in aliases.get(name, ()):
        _follow(target, aliases, (*way, name), straight)
    straight.add(name)
