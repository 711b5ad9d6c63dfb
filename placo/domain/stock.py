"""Stock images: disks of a distribution, with cloud-init in them, that were imported rather than built.

An image's name tells: ``stock-<what its importer called it>-<first 12 digits of its SHA-256>``. Those that PLACO builds begin
with ``placo-``.
"""

from __future__ import annotations

import re

PREFIX = "stock-"
LABEL = r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?"
"""What an importer may call an image."""
NAME = rf"{PREFIX}{LABEL}-[0-9a-f]{{12}}"
EXAMPLE = "stock-debian12-1f2e3d4c5b6a"
IMPORT = "python -m placo.drivers.images import NAME FILE"
"""What an administrator is told to do."""


def is_stock(image: str) -> bool:
    """Whether an image, by its name, is one that was imported: it brings its own boot loader and knows nothing of PLACO."""
    return image.startswith(PREFIX)


def stock_name(label: str, sha256: str) -> str:
    """The name of an imported image, from what it is called and the hash of its file. ValueError for a label that cannot be one."""
    if not re.fullmatch(LABEL, label):
        raise ValueError(label)
    return f"{PREFIX}{label}-{sha256[:12]}"
