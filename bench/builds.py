"""The images of the whole catalogue: built from nothing, and nothing built again when nothing has changed."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.session import REPOSITORY, say, verdict
from placo.domain.catalogue import load_catalogue
from placo.drivers.images import ImageCache, build_all, default_cache

BOUND_S = 900.0
PREFIX = ".bench-"
"""Begins the name of a cache that is only made to be measured, beside the images' own."""


def measure(*, from_nothing: bool) -> bool:
    """Build, print the figures, and say for each bound whether it holds. Without `from_nothing` only that nothing is built again.

    From nothing: with the shared first layer, packages from the archive included, in a folder of its own that is removed again.
    """
    holds = True
    if from_nothing:
        with own_cache() as folder:
            seconds = _build(folder)
            holds &= verdict(
                f"images of the whole catalogue from nothing within {BOUND_S:g} s ({seconds:.0f} s)",
                seconds <= BOUND_S,
            )
            return holds & _again(folder)
    _build(default_cache())  # what is missing: the second call is what is measured
    return _again(default_cache())


def _again(folder: Path) -> bool:
    before = marks(folder)
    seconds = _build(folder)
    return verdict(f"nothing built again when nothing has changed ({seconds:.2f} s)", marks(folder) == before)


def _build(folder: Path) -> float:
    """Seconds of what `make images` does, the reading of the catalogue included."""
    started = time.monotonic()
    catalogue = load_catalogue(REPOSITORY / "catalogue")
    build_all(
        ImageCache(folder, catalogue), [], lambda text: None if text.endswith("already built") else say(text)
    )
    return time.monotonic() - started


def marks(folder: Path) -> dict[str, tuple[int, int]]:
    """Of all files in a cache but locks: one that was written again is another one."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            facts = path.stat()
            found[str(path)] = (facts.st_ino, facts.st_mtime_ns)
    return found


@contextmanager
def own_cache() -> Iterator[Path]:
    """A folder beside the images' own, on the same disk; what a killed run left goes first."""
    place = default_cache().parent
    place.mkdir(parents=True, exist_ok=True)
    for left in place.glob(f"{PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    folder.chmod(0o755)  # packages' own users look into their image while it is made
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
