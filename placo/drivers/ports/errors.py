"""What may go wrong in a driver."""

from __future__ import annotations


class DriverError(Exception):
    """Something went wrong that may go right when tried again; the message is for an administrator."""


class Unavailable(DriverError):
    """The other side does not answer (host unreachable, directory down)."""


class Rejected(DriverError):
    """A definitive refusal: trying again cannot help. Unwinds a run."""


class PasswordRefused(Rejected):
    """The directory's policy does not take this password."""


class TemplateBroken(Rejected):
    """A saved template cannot be used: damaged, cut off, or a part of it is gone. It has to be made again."""
