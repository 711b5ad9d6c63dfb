"""The images that machines are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class ImageFiles:
    """An image on this machine: `name` is its identity (it ends in the content hash), sizes in bytes.

    A stock image (placo.domain.stock) has no kernel and initrd beside its disk: it boots by its own boot loader.
    """

    name: str
    disk: Path
    kernel: Path | None
    initrd: Path | None
    virtual_size: int


class Images(Protocol):
    """The built images of the catalogue's machines."""

    def name_for(self, machine: str) -> str:
        """The name of the current image of a kind of machine, built or not."""

    def files(self, name: str) -> ImageFiles:
        """The files of a built image; Rejected when it has not been built here."""
