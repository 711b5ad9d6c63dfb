"""A portal with a broken catalogue does not start, and says why."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from placo.config import config_path

ROOT = Path(__file__).resolve().parents[2]


def check(config: Path) -> subprocess.CompletedProcess[str]:
    """Load the portal as every one of its programs does."""
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**os.environ, "PLACO_CONFIG": str(config)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_portal_refuses_a_catalogue_with_errors(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "catalogue", tmp_path / "catalogue")
    machine = tmp_path / "catalogue" / "machines" / "svn" / "machine.toml"
    sound = machine.read_text()
    config = tmp_path / "placo.toml"
    here = f'catalogue = "{tmp_path / "catalogue"}"'
    config.write_text(re.sub(r"(?m)^catalogue = .*$", lambda _: here, config_path().read_text()))
    assert check(config).returncode == 0

    machine.write_text(re.sub(r"(?m)^memory_mib = .*$", "memory_mib = -1", sound))
    refused = check(config)
    assert refused.returncode != 0
    assert "machines/svn/machine.toml: memory_mib" in refused.stderr
    assert "Remedy:" in refused.stderr


def test_the_portal_refuses_a_configuration_with_errors(tmp_path: Path) -> None:
    config = tmp_path / "placo.toml"
    config.write_text(config_path().read_text().replace("prefix = ", "prefiks = "))
    refused = check(config)
    assert refused.returncode != 0
    assert "network.prefix" in refused.stderr
    assert "network.prefiks" in refused.stderr
