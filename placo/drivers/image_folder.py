"""A folder of images that several processes of this machine share: one maker a name, and results whole or not there."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """One maker at a time for each name, in all processes of this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{name}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def workplace(folder: Path, name: str) -> Iterator[Path]:
    """A folder beside the results (so that they can be renamed into place); remains of a killed maker are removed."""
    for remains in folder.glob(f".work-{name}-*"):
        shutil.rmtree(remains, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".work-{name}-", dir=folder))
    work.chmod(0o755)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
