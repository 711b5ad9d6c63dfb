"""The portal's own preparations before its programs start: schema, site rows, static files."""

from __future__ import annotations

from deploy.lab import site
from deploy.lab.layout import REPOSITORY, Lab
from deploy.lab.programs import environment, in_portal
from deploy.lab.shell import run, step


def prepare(lab: Lab) -> None:
    """Run the management commands that bring database and static files up to date."""
    (lab.root / "state").mkdir(parents=True, exist_ok=True)
    for what, command in (
        ("database schema", ["migrate", "--noinput", "--verbosity", "0"]),
        (
            "hosts, projects and the break-glass account",
            ["sync_site", "--break-glass-password-file", str(lab.secrets / site.BREAK_GLASS)],
        ),
        ("static files", ["collectstatic", "--noinput", "--verbosity", "0"]),
    ):
        with step(what):
            manage = [lab.python, REPOSITORY / "manage.py", *command]
            run(in_portal(lab, manage), env=environment(lab), cwd=REPOSITORY, timeout=300)
