"""Keys that machines sign with."""

from __future__ import annotations

from functools import cached_property

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

RSA_BITS = 2048
"""What verifiers of DKIM take, and what fits a DNS record (RFC 8301, 3.2)."""


class SigningKeys:
    """New keys for one machine, made when they are asked for: few machines need one, and an emulated processor takes a minute for it."""

    @cached_property
    def rsa(self) -> str:
        """A private RSA key: PEM, PKCS #8, not encrypted."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
