"""SSH host keys: the name by which a machine's SSH server is known."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from placo.drivers.ports import SshKey


def new_host_key(host: str) -> SshKey:
    """A new Ed25519 key in OpenSSH's formats (PROTOCOL.key; the public line as in sshd(8)), `host` as its comment."""
    key = ed25519.Ed25519PrivateKey.generate()
    return SshKey(
        private=key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        public=key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        + f" root@{host}\n".encode(),
    )
