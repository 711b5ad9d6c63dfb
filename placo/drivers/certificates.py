"""The site's certificate authority for edges and machines: EC P-256, X.509 version 3 as RFC 5280 wants it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from placo.drivers.checks import host_name
from placo.drivers.ports import DriverError, KeyPair, Rejected

LEAF_DAYS = 398  # the longest that browsers accept
ROOT_DAYS = 3650
_BACKDATED = timedelta(hours=1)  # a guest's clock may be a little behind
_COMMON_NAME_MAX = 64


def create_root(common_name: str) -> KeyPair:
    """A new self-signed root: what a lab starts with; a real site keeps its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=ROOT_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return KeyPair(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), _private_pem(key))


def issue_from(root: KeyPair, names: Iterable[str]) -> KeyPair:
    """A server certificate for DNS names (each in the SAN, the first as the subject), chained to the root.

    Valid `LEAF_DAYS`, never past the root. Rejected for a name that is no host name, or none.
    """
    wanted = list(dict.fromkeys(host_name(name, "certificate name") for name in names))
    if not wanted:
        raise Rejected("a certificate needs at least one name")
    authority = x509.load_pem_x509_certificate(root.certificate)
    authority_key = _signing_key(root.key)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    subject = [
        x509.NameAttribute(NameOID.COMMON_NAME, name) for name in wanted[:1] if len(name) <= _COMMON_NAME_MAX
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - _BACKDATED, authority.not_valid_before_utc))
        .not_valid_after(min(now + timedelta(days=LEAF_DAYS), authority.not_valid_after_utc))
        # RFC 5280: critical when there is no subject
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in wanted]), critical=not subject
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
    )
    leaf = builder.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM)
    return KeyPair(leaf + authority.public_bytes(Encoding.PEM), _private_pem(key))


def check_pair(certificate: bytes, key: bytes) -> None:
    """Rejected unless the first certificate of the PEM chain and the private key belong together."""
    try:
        leaf = x509.load_pem_x509_certificates(certificate)[0]
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as error:
        raise Rejected("certificate or key is not valid PEM") from error
    if _public_bytes(leaf.public_key()) != _public_bytes(private.public_key()):
        raise Rejected("the private key does not belong to the certificate")


def expires_at(certificate: bytes) -> datetime:
    """When the first certificate of a PEM chain ends (UTC); ValueError if it is none."""
    return x509.load_pem_x509_certificates(certificate)[0].not_valid_after_utc


class SiteCertificateAuthority:
    """`ports.CertificateAuthority` from a root's PEM files, read at each use so that a renewed root is taken up."""

    def __init__(self, certificate_file: Path, key_file: Path) -> None:
        self._certificate_file = certificate_file
        self._key_file = key_file

    def issue(self, names: Iterable[str]) -> KeyPair:
        return issue_from(KeyPair(self.root(), _read(self._key_file)), names)

    def root(self) -> bytes:
        return _read(self._certificate_file)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DriverError(f"{path}: the certificate authority cannot be read: {error.strerror}") from error


def _signing_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise DriverError("the certificate authority's key is not a readable PEM key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DriverError("the certificate authority's key is not an EC key")
    return key


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_bytes(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]
