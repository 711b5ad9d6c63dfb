"""A short soak with every `make test`, and what the soak itself relies on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from deploy.rehearsal.process import wait_for
from tests.chaos import careers

ROOT = Path(__file__).resolve().parents[2]
REQUESTS = 40
PATIENCE_S = 900
"""A machine that does much else takes minutes over what takes one otherwise."""


def test_nothing_is_lost_doubled_or_left_while_everything_dies(tmp_path: Path) -> None:
    """With another seed each time, which is in the output: `python -m tests.chaos --requests 40 --seed ...` wants the same."""
    command = [sys.executable, "-m", "tests.chaos", "--requests", str(REQUESTS), "--logs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}\nlogs: {tmp_path}"
    assert "worker" in done.stdout


def test_a_seed_says_what_people_want() -> None:
    def drawn(seed: int) -> list[tuple[object, ...]]:
        return [
            (c.slug, c.services, c.decision, c.patience_s, tuple(c.acts)) for c in careers.draw(seed, 200)
        ]

    assert drawn(3) == drawn(3) != drawn(4)
    found = careers.draw(3, 200)
    assert sum(1 + career.acts.count("change") for career in found) == 200
    names = [career.slug for career in found]
    again = [career for career in found if career.predecessor is not None]
    assert len(names) - len(set(names)) == len(again) > 0
    assert all(career.predecessor and career.predecessor.ends for career in again)


_DYING = """
import os, signal, sys
from pathlib import Path
from deploy.rehearsal.process import Server, short_folder
with short_folder() as folder:
    server = Server(["sleep", "1000"], lambda: True, folder / "log")
    server.start()
    print(server.pid, folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_of_a_killed_rehearsal_stays() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DYING],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    pid, folder = done.stdout.split()
    left = [Path(folder), Path(f"/proc/{pid}")]
    wait_for(lambda: not any(path.exists() for path in left), "the folder and the process going")
    assert done.returncode == -signal.SIGKILL
