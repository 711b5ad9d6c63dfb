"""The lab's certificate authority, certificates and secrets. Made once, kept until the lab is destroyed."""

from __future__ import annotations

import ipaddress
import os
import pwd
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.lab.layout import DIRECTORY_ADDRESS, DIRECTORY_HOST, EDGE_DOMAIN, GATEWAY_HOST, Lab
from deploy.lab.shell import LabError, write

_CA_LIFE = timedelta(days=3650)
_CERTIFICATE_LIFE = timedelta(days=820)
_RENEW_BEFORE = timedelta(days=30)


def ensure(lab: Lab) -> None:
    """Make what is missing: the CA, the certificates of edge, directory and mail gateway, the site secret."""
    for folder in (lab.secrets, lab.ca_key.parent):
        folder.mkdir(parents=True, exist_ok=True)
    lab.secrets.chmod(0o700)
    if not lab.ca_key.exists():
        _make_authority(lab)
    _ensure_certificate(
        lab, lab.edge / "tls", [EDGE_DOMAIN, f"*.{EDGE_DOMAIN}"], addresses=[], common_name=EDGE_DOMAIN
    )
    _ensure_certificate(
        lab, lab.root / "directory" / "tls", [DIRECTORY_HOST], [DIRECTORY_ADDRESS], common_name=DIRECTORY_HOST
    )
    _ensure_certificate(lab, lab.gateway / "tls", [GATEWAY_HOST], addresses=[], common_name=GATEWAY_HOST)
    secret(lab, "secret-key", length=48)
    secret(lab, "metrics-token", length=32)


def secret(lab: Lab, name: str, *, length: int = 24) -> str:
    """The secret of that name (file `secrets/<name>`, 0600), made from `length` random bytes the first time."""
    path = lab.secrets / name
    if not path.exists():
        write(path, secrets.token_urlsafe(length) + "\n", 0o600)
    return path.read_text().strip()


def random_password() -> str:
    """A password that a person can still type: 16 characters, 96 bits."""
    return secrets.token_urlsafe(12)


def _make_authority(lab: Lab) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"PLACO lab {lab.id}")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write(lab.ca_certificate, certificate.public_bytes(serialization.Encoding.PEM))
    write(lab.ca_key, _private_pem(key), 0o600)


def _ensure_certificate(
    lab: Lab, folder: Path, names: list[str], addresses: list[str], *, common_name: str
) -> None:
    target = folder / "certificate.pem"
    if target.exists() and (folder / "key.pem").exists():
        current = x509.load_pem_x509_certificate(target.read_bytes())
        if current.not_valid_after_utc - datetime.now(UTC) > _RENEW_BEFORE:
            return
    authority = x509.load_pem_x509_certificate(lab.ca_certificate.read_bytes())
    signer = serialization.load_pem_private_key(lab.ca_key.read_bytes(), password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise LabError(f"{lab.ca_key} holds no elliptic curve key", "destroy this lab and start it again")
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _CERTIFICATE_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        .sign(signer, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "key.pem", _private_pem(key), 0o600)
    write(target, certificate.public_bytes(serialization.Encoding.PEM))
    write(folder / "ca.pem", lab.ca_certificate.read_bytes())


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def owned_by(folder: Path, user: str) -> None:
    """Give a folder and everything in it to a system user (and its group)."""
    account = pwd.getpwnam(user)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
