"""Keys that machines sign with: RSA, as verifiers of DKIM take it."""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

RSA_BITS = 2048
"""What verifiers of DKIM take, and what fits a DNS record (RFC 8301, 3.2)."""


def new_key() -> str:
    """A private key: PEM, PKCS #8, not encrypted. Takes a tenth of a second."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_half(private: str) -> str:
    """The public key: SubjectPublicKeyInfo in base64, as the tag p= of a DKIM record has it (RFC 6376, 3.6.1)."""
    key = load_pem_private_key(private.encode(), None)
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def sealed(text: str, secret: str) -> str:
    """The text, encrypted (Fernet) with a secret of 32 bytes in base64url without padding."""
    return Fernet(f"{secret}=").encrypt(text.encode()).decode()


def opened(token: str, secret: str) -> str:
    """What was sealed; InvalidToken with another secret."""
    return Fernet(f"{secret}=").decrypt(token.encode()).decode()
