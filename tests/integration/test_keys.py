"""Public keys of ssh: what is taken, what is not, and that the directory has what the rows say."""

from __future__ import annotations

import struct
import warnings
from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from placo.drivers.ports import Unavailable
from placo.platforms.models import SshKey, User
from placo.services import attending, keys
from placo.services.errors import Conflict, DirectoryDown, InvalidInput, NotFound
from tests.factories import make_user
from tests.fakes import World


def line(private: Any) -> str:
    """The public half as OpenSSH writes it."""
    return str(private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


def on_a_token() -> str:
    """An ed25519 key on a FIDO token: the same point, and the application that it is for."""
    point = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    kind = b"sk-ssh-ed25519@openssh.com"
    blob = b"".join(struct.pack(">I", len(part)) + part for part in (kind, point, b"ssh:"))
    return f"{kind.decode()} {b64encode(blob).decode()}"


ED = line(ed25519.Ed25519PrivateKey.generate())
OTHER = line(ed25519.Ed25519PrivateKey.generate())


@pytest.mark.parametrize(
    ("private", "kind"),
    [
        (ed25519.Ed25519PrivateKey.generate(), "ssh-ed25519"),
        (rsa.generate_private_key(65537, 3072), "ssh-rsa"),
        (ec.generate_private_key(ec.SECP256R1()), "ecdsa-sha2-nistp256"),
        (ec.generate_private_key(ec.SECP384R1()), "ecdsa-sha2-nistp384"),
        (ec.generate_private_key(ec.SECP521R1()), "ecdsa-sha2-nistp521"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_taken(private: Any, kind: str) -> None:
    text = line(private)
    found = keys.parse(f"  {text} marie on her laptop\n")
    assert (found.kind, found.line, found.comment) == (kind, text, "marie on her laptop")
    assert keys.parse(text).fingerprint == found.fingerprint
    assert found.fingerprint.startswith("SHA256:")


def test_keys_on_a_token_are_taken() -> None:
    text = on_a_token()
    assert keys.parse(text).line == text


def _refused() -> list[tuple[str, Any]]:
    private = ed25519.Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    kind, body = ED.split()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = dsa.generate_private_key(1024).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return [
        ("nothing", ""),
        ("no text", None),
        ("a number", 7),
        ("words", "this is my key"),
        ("a private key", pem),
        ("options", f'command="/bin/sh" {ED}'),
        ("options that forbid", f"no-pty {ED}"),
        ("two lines", f"{ED}\n{OTHER}"),
        ("a hidden line", f"{ED} x\r{OTHER}"),
        ("NUL", f"{ED}\x00"),
        ("half a character", f"{ED} \ud800"),
        ("cut off", f"{kind} {body[:-8]}"),
        ("something behind it", f"{kind} {body[:-1]}AAAA"),
        ("another kind", f"ssh-rsa {body}"),
        ("a kind in capitals", f"SSH-ED25519 {body}"),
        ("unknown", f"ssh-unknown {body}"),
        ("a certificate's kind", f"ssh-ed25519-cert-v01@openssh.com {body}"),
        ("a pretended token", f"sk-ssh-ed25519@openssh.com {body}"),
        ("DSA", old.decode()),
        ("a short RSA key", line(rsa.generate_private_key(65537, 2048))),
        ("too long", f"{ED} {'x' * 20_000}"),
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("what", "text"), [pytest.param(*one, id=one[0]) for one in _refused()])
def test_what_is_not(what: str, text: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        keys.parse(text)
    assert set(refused.value.errors) == {"key"}


@pytest.fixture
def alan(world: World) -> User:
    return make_user("alan")


def test_the_directory_has_what_the_rows_say(world: World, alan: User) -> None:
    row = keys.add(acting_user=alan, key=f"{ED} laptop")
    assert row.title == "laptop"
    assert keys.add(acting_user=alan, key=f"{ED} again").pk == row.pk, "twice is harmless"
    keys.add(acting_user=alan, key=OTHER, title=" at  home ")
    assert world.directory.ssh_keys() == {"alan": tuple(sorted((ED, OTHER)))}
    stranger = make_user("sofia")
    with pytest.raises(NotFound):
        keys.remove(acting_user=stranger, key_id=row.pk)
    keys.remove(acting_user=alan, key_id=row.pk)
    assert world.directory.ssh_keys() == {"alan": (OTHER,)}
    with pytest.raises(NotFound):
        keys.remove(acting_user=alan, key_id=row.pk)


def test_a_silent_directory_changes_nothing(world: World, alan: User) -> None:
    row = keys.add(acting_user=alan, key=ED)
    world.directory.faults.unreachable = True
    with pytest.raises(DirectoryDown):
        keys.add(acting_user=alan, key=OTHER)
    with pytest.raises(DirectoryDown):
        keys.remove(acting_user=alan, key_id=row.pk)
    assert list(SshKey.objects.values_list("key", flat=True)) == [ED]
    with pytest.raises(Unavailable):
        attending.attend()


def test_what_differs_is_brought_back(world: World, alan: User) -> None:
    keys.add(acting_user=alan, key=ED)
    world.directory.set_ssh_keys("alan", [OTHER])
    world.directory.set_ssh_keys("sofia", [OTHER])
    assert keys.settle_all() == 2
    assert world.directory.ssh_keys() == {"alan": (ED,)}
    assert keys.settle_all() == 0


def test_so_many_and_no_more(world: World, alan: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MOST", 1)
    keys.add(acting_user=alan, key=ED)
    with pytest.raises(Conflict):
        keys.add(acting_user=alan, key=OTHER)
    with pytest.raises(InvalidInput):
        keys.add(acting_user=alan, key=OTHER, title="a\x07b")


def test_who_is_nobody_in_the_directory_has_no_keys(world: World) -> None:
    with pytest.raises(Conflict):
        keys.add(acting_user=make_user("otto"), key=ED)
    glass = User.objects.create(username="glass", is_break_glass=True, is_administrator=True)
    with pytest.raises(Conflict):
        keys.add(acting_user=glass, key=ED)
    assert not SshKey.objects.exists()
