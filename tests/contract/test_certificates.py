"""The certificate authority's contract, on the fake and on a root in files; OpenSSL is the judge."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from placo.drivers.certificates import SiteCertificateAuthority, check_pair, create_root, expires_at
from placo.drivers.fake_edge import FakeCertificateAuthority
from placo.drivers.ports import CertificateAuthority, DriverError, Rejected

NAMES = ["alpha-web.placo.localhost", "alpha-svn.placo.localhost"]
HOSTILE_NAMES = [
    "",
    "*",
    "*.placo.localhost",
    "Alpha.test",
    "a b",
    "a\0b",
    "é.test",
    "a..b",
    "a" * 64,
    "a\nb",
    "-a.test",
    "a." * 130 + "b",
]


@pytest.fixture(params=["fake", "files"])
def authority(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CertificateAuthority]:
    if request.param == "fake":
        yield FakeCertificateAuthority()
        return
    root = create_root("PLACO test root")
    (tmp_path / "ca.pem").write_bytes(root.certificate)
    (tmp_path / "ca.key").write_bytes(root.key)
    yield SiteCertificateAuthority(tmp_path / "ca.pem", tmp_path / "ca.key")


def test_a_certificate_is_good_for_each_of_its_names(authority: CertificateAuthority, tmp_path: Path) -> None:
    pair = authority.issue(NAMES)
    (tmp_path / "root.pem").write_bytes(authority.root())
    (tmp_path / "leaf.pem").write_bytes(pair.certificate)
    for name in NAMES:
        assert judged(tmp_path, name) == 0
    assert judged(tmp_path, "beta-web.placo.localhost") != 0


def judged(folder: Path, name: str) -> int:
    """OpenSSL's strict verdict on leaf.pem as a TLS server of this name: 0 is good."""
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", name]
    command += ["-CAfile", str(folder / "root.pem"), str(folder / "leaf.pem")]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_a_server_can_use_certificate_and_key(authority: CertificateAuthority, tmp_path: Path) -> None:
    pair = authority.issue(NAMES)
    (tmp_path / "both.pem").write_bytes(pair.certificate + pair.key)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "both.pem")
    check_pair(pair.certificate, pair.key)


def test_a_certificate_is_what_browsers_take(authority: CertificateAuthority) -> None:
    leaf, root = x509.load_pem_x509_certificates(authority.issue(NAMES).certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == NAMES
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    issuer = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert (
        issuer.key_identifier
        == root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    )
    assert leaf.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=398)
    assert leaf.not_valid_before_utc < datetime.now(UTC)


def test_each_certificate_has_its_own_key_and_number(authority: CertificateAuthority) -> None:
    first, second = authority.issue(NAMES), authority.issue(NAMES)
    assert first.key != second.key
    serials = {x509.load_pem_x509_certificate(pair.certificate).serial_number for pair in (first, second)}
    assert len(serials) == 2
    with pytest.raises(Rejected):
        check_pair(first.certificate, second.key)


def test_a_name_too_long_for_a_subject_is_still_a_name(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    name = ".".join(["a" * 60, "b" * 60, "placo.localhost"])
    (tmp_path / "root.pem").write_bytes(authority.root())
    (tmp_path / "leaf.pem").write_bytes(authority.issue([name]).certificate)
    assert judged(tmp_path, name) == 0


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_that_is_none_is_refused(authority: CertificateAuthority, name: str) -> None:
    with pytest.raises(Rejected):
        authority.issue([NAMES[0], name])


def test_a_certificate_without_a_name_is_refused(authority: CertificateAuthority) -> None:
    with pytest.raises(Rejected):
        authority.issue([])


def test_the_private_key_is_not_shown(authority: CertificateAuthority) -> None:
    pair = authority.issue(NAMES)
    assert "PRIVATE" not in repr(pair)
    assert pair.key.decode() not in repr(authority)


def test_the_end_of_a_certificate_is_told(authority: CertificateAuthority) -> None:
    assert timedelta(days=397) < expires_at(authority.issue(NAMES).certificate) - datetime.now(UTC)


@pytest.mark.parametrize(("certificate", "key"), [(b"", b""), (b"no certificate", b"no key")])
def test_what_is_no_pair_is_refused(certificate: bytes, key: bytes) -> None:
    with pytest.raises(Rejected):
        check_pair(certificate, key)


def test_an_unreadable_authority_is_told(tmp_path: Path) -> None:
    authority = SiteCertificateAuthority(tmp_path / "none.pem", tmp_path / "none.key")
    with pytest.raises(DriverError, match=r"none\.pem"):
        authority.issue(NAMES)
    root = create_root("PLACO test root")
    (tmp_path / "none.pem").write_bytes(root.certificate)
    (tmp_path / "none.key").write_bytes(b"not a key")
    with pytest.raises(DriverError):
        authority.issue(NAMES)
