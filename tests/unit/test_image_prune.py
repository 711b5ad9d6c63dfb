"""Images of former catalogues go when nothing has asked for them in a while; all others stay."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from placo.domain.catalogue import load_catalogue
from placo.drivers.images import ImageCache, main

ROOT = Path(__file__).resolve().parents[2]
OLD, OTHER = "placo-www-0123456789ab", "placo-svn-ba9876543210"


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(tmp_path / "images", load_catalogue(ROOT / "catalogue"))


def put(cache: ImageCache, name: str, days: float) -> Path:
    """An image, or a base, that was asked for so many days ago."""
    path = cache.folder / name
    if name.endswith(".tar"):
        path.write_bytes(b"")
    else:
        path.mkdir(parents=True)
        (path / "recipe.json").write_text('{"virtual_size": 1}', encoding="utf-8")
        (path / "disk.qcow2").write_bytes(b"")
    then = time.time() - days * 86400
    os.utime(path, (then, then))
    return path


def pruned(cache: ImageCache, *words: str) -> None:
    assert main(["prune", "--cache", str(cache.folder), *words]) == 0


def test_what_nothing_asks_for_goes_and_the_rest_stays(cache: ImageCache) -> None:
    gone = [put(cache, OLD, 31), put(cache, "base-0123456789ab.tar", 31)]
    kept = [
        put(cache, OTHER, 29),
        put(cache, cache.name_for("www"), 300),
        put(cache, cache.base_name, 300),
        put(cache, "stock-debian12-0123456789ab", 300),
        put(cache, "somebody-elses-folder", 300),
    ]
    pruned(cache)
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)
    pruned(cache, "--days", "7")
    assert not (cache.folder / OTHER).exists()


def test_where_nothing_was_built_there_is_nothing_to_remove(cache: ImageCache) -> None:
    pruned(cache)
    assert not cache.folder.exists()


def test_who_builds_asks_for_it(cache: ImageCache) -> None:
    path = put(cache, cache.name_for("www"), 300)
    cache.ensure("www", lambda _text: None)
    assert time.time() - path.stat().st_mtime < 86400
