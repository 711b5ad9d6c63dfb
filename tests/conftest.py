"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# How long an example may take says nothing about the code on a machine that does other things as well.
settings.register_profile("placo", deadline=None)
settings.load_profile("placo")
