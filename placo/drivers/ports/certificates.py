"""Keys and certificates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class KeyPair:
    """A PEM certificate chain and its private key."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class SshKey:
    """A key pair in OpenSSH's formats."""

    private: bytes = field(repr=False)
    public: bytes


class CertificateAuthority(Protocol):
    def issue(self, names: Iterable[str]) -> KeyPair: ...

    def root(self) -> bytes:
        """PEM of the root that clients trust."""
