"""Tabler's icons, inlined from the one sprite file, so that they take the colour of the text and need no request."""

from __future__ import annotations

import logging
import re
from functools import cache
from pathlib import Path

from django.contrib.staticfiles import finders

SPRITE = "vendor/@tabler/icons-sprite/dist/tabler-sprite.svg"
_SYMBOL = re.compile(r'<symbol id="tabler-([a-z0-9-]+)"[^>]*>(.*?)</symbol>', re.DOTALL)
_NAME = re.compile(r"[a-z0-9-]+")

log = logging.getLogger("placo.web.icons")


@cache
def _sprite() -> str:
    path = finders.find(SPRITE)
    if not path:
        log.warning("%s is not there: pages have no icons until `make setup` has fetched it", SPRITE)
        return ""
    return Path(path).read_text(encoding="utf-8")


@cache
def shapes(name: str) -> str:
    """The shapes of the icon of that name as SVG; those of a plain box when the set has no such icon."""
    found = _find(name) if _NAME.fullmatch(name) else ""
    return found or (_find("box") if name != "box" else "")


def _find(name: str) -> str:
    text = _sprite()
    start = text.find(f'<symbol id="tabler-{name}"')
    match = _SYMBOL.match(text, start) if start >= 0 else None
    return match.group(2) if match else ""
