"""What the contract suites share: the site configuration, and the marker of those parameters that need a lab."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.hypervisor_hosts import FakeHost, Host, LibvirtHost
from tests.contract.hypervisor_worlds import World

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def site() -> dict[str, Any]:
    """The TOML of the site whose services the tests of real drivers use."""
    path = Path(os.environ.get("PLACO_CONFIG") or ROOT / "var/lab/placo.toml")
    return tomllib.loads(path.read_text())


@pytest.fixture(params=["fake", pytest.param("libvirt", marks=pytest.mark.lab)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An empty world on each kind of host."""
    host: Host
    if request.param == "fake":
        host = FakeHost(tmp_path / "host")
    else:
        host = LibvirtHost(request.getfixturevalue("site"), 0, tmp_path)
    made = World(host, tmp_path)
    yield made
    made.clear()
