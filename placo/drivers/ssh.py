"""SSH host keys: the name by which a machine's SSH server is known."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from placo.drivers.ports import SshKey


def host_key(secret: str, host: str) -> SshKey:
    """The Ed25519 key of a secret in OpenSSH's formats (PROTOCOL.key; the public line as in sshd(8)), `host` as its comment."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(secret.encode()).digest())
    return SshKey(
        private=key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        public=key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        + f" root@{host}\n".encode(),
    )


def new_key() -> tuple[str, str]:
    """A key pair of nobody's yet, from random numbers: the private half in OpenSSH's format, the public line without a comment."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return private.decode(), key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def fingerprint(public: bytes) -> str:
    """The fingerprint of a public line, as ssh shows it to who comes for the first time."""
    digest = hashlib.sha256(b64decode(public.split()[1])).digest()
    return f"SHA256:{b64encode(digest).rstrip(b'=').decode()}"
