"""The French texts: complete, with the same placeholders, and compiled."""

from __future__ import annotations

import re
from gettext import GNUTranslations
from pathlib import Path

import pytest
from django.conf import settings

FOLDER = Path(settings.LOCALE_PATHS[0]) / "fr" / "LC_MESSAGES"
ENTRY = re.compile(
    r'^msgid "(?P<id>.+)"\n(?:msgid_plural "(?P<plural>.+)"\nmsgstr\[0\] "(?P<one>.*)"\nmsgstr\[1\] "(?P<many>.*)"'
    r'|msgstr "(?P<text>.*)")$',
    re.MULTILINE,
)
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|</?\w+>")
ENTRIES = [match.groupdict() for match in ENTRY.finditer((FOLDER / "django.po").read_text(encoding="utf-8"))]


def test_the_file_was_understood() -> None:
    text = (FOLDER / "django.po").read_text(encoding="utf-8")
    assert len(ENTRIES) == text.count("\nmsgid ") - 1
    assert "fuzzy" not in text


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["id"][:60])
def test_every_text_is_there_with_its_placeholders(entry: dict[str, str | None]) -> None:
    english = entry["plural"] or entry["id"] or ""
    for french in (entry["many"],) if entry["plural"] else (entry["text"],):
        assert french
        assert sorted(PLACEHOLDER.findall(french)) == sorted(PLACEHOLDER.findall(english))


def test_what_is_compiled_is_what_is_written() -> None:
    with (FOLDER / "django.mo").open("rb") as file:
        compiled = GNUTranslations(file)
    for entry in ENTRIES:
        if entry["text"] is not None and not entry["plural"]:
            written = entry["text"].replace('\\"', '"')
            meant = compiled.gettext((entry["id"] or "").replace('\\"', '"'))
            in_context = compiled.pgettext("button", entry["id"] or "")
            assert written in (meant, in_context)
