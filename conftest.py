"""Fixtures that several folders of tests share are plugins, so that each is made once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from django.conf import settings

pytest_plugins = ["tests.lab_world"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """A database of this checkout's (and of this process of a parallel run): several may be tested at the same time on one server."""
    checkout = hashlib.sha256(str(Path(__file__).resolve().parent).encode()).hexdigest()[:8]
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    database = settings.DATABASES["default"]
    # Nobody pulls the plug on a test's database: a commit needs not wait for the disk.
    database["OPTIONS"]["options"] = "-c synchronous_commit=off"
    database.setdefault("TEST", {})["NAME"] = f"test_placo_{checkout}{worker}"
