"""Every benchmark begins by itself: it may import nothing that needs Django before it has set it up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = [
    path.stem
    for path in sorted((REPOSITORY / "bench").glob("*.py"))
    if "argparse.ArgumentParser(" in path.read_text(encoding="utf-8")
]


def test_there_are_programs() -> None:
    assert {"catalogue", "provision", "approval"} <= set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_says_how_it_is_used(name: str) -> None:
    bare = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-m", f"bench.{name}", "--help"]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=bare, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"bench.{name}" in done.stdout
