"""The `placo` command: everything of the portal's API from a terminal. Knows neither Django nor the database."""

from __future__ import annotations

from placo.cli.main import main

__all__ = ["main"]
