"""`python -m placo.cli`."""

from __future__ import annotations

from placo.cli.main import main

main()
