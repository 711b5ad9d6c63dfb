"""What is true of a lab's platforms: python -m tests.vm.world_truth SLUG... prints it as JSON, once all places were compared anew.

    {"books": [...], "drift": [...], "audit": {slug: [[kind, where, name], ...]}}

A process of its own, since tests have a database of theirs; this looks at the lab's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import django

from deploy.client import Lab, wait_for
from deploy.lab.layout import Lab as Layout
from deploy.lab.programs import in_portal
from tests.lab_world import ROOT


def main(*slugs: str) -> None:
    """Compare, then print."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "placo.settings")
    django.setup()
    from placo.platforms.models import Drift, Platform
    from placo.services import audit, books, reconcile

    def newest(slug: str) -> Platform:
        return Platform.objects.filter(slug=slug).latest("pk")

    reconcile.reconcile()
    found = {
        "books": [f"{d.code} {d.subject}: {d.wrong}" for d in books.check()],
        "drift": [f"{d.where}: {d.kind} {d.what} {d.name} {d.detail}" for d in Drift.objects.all()],
        "audit": {
            slug: [[f.kind, f.where, f.name] for f in audit.audit_platform(newest(slug))] for slug in slugs
        },
    }
    print(json.dumps(found))


def truth(lab: Lab, *slugs: str) -> dict[str, Any]:
    """Asked in a process of its own, once no drift is left; with what is left after half a minute."""

    def look() -> dict[str, Any]:
        done = subprocess.run(
            in_portal(Layout.at(lab.root), [sys.executable, "-m", "tests.vm.world_truth", *slugs]),
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
            env={**os.environ, "PLACO_CONFIG": str(lab.root / "placo.toml")},
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    last: dict[str, Any] = {}

    def settled() -> dict[str, Any] | None:
        nonlocal last
        last = look()
        # A worker may have been at a place: then it was left to that one.
        return None if last["drift"] else last

    try:
        return wait_for(settled, 30, "no drift")
    except TimeoutError:
        return last


if __name__ == "__main__":
    main(*sys.argv[1:])
