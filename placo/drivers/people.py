"""How people are searched, whatever the directory."""

from __future__ import annotations

from collections.abc import Iterable

from placo.drivers.ports import Person

_SEARCH_MIN = 2


def searchable(text: str) -> str:
    """What to search for: trimmed, "" when it would only list everybody.

    LDAP ignores control and joining characters when it compares, so at least two letters or digits are asked for.
    """
    wanted = text.strip()
    said = sum(character.isalnum() for character in wanted)
    return wanted if said >= _SEARCH_MIN and wanted.isprintable() else ""


def best_first(people: Iterable[Person], text: str) -> list[Person]:
    """People sorted by how well they match: the uid itself, then its beginning, then a word of the name, then the rest."""
    wanted = text.casefold()

    def rank(person: Person) -> tuple[int, str]:
        uid = person.uid.casefold()
        if uid == wanted:
            return 0, uid
        if uid.startswith(wanted):
            return 1, uid
        return (2 if any(word.startswith(wanted) for word in person.name.casefold().split()) else 3), uid

    return sorted(people, key=rank)
