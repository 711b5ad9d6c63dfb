"""Public keys of ssh: everybody adds their own, the directory has a copy that the machines of their platforms may read.

The rows are what is wanted. The directory is told before they are committed, so that a key that is taken away opens nothing when
the page says so; whoever dies in between is made up for by `settle_all`.
"""

from __future__ import annotations

import binascii
import hashlib
import logging
import re
from base64 import b64decode, b64encode
from collections import defaultdict
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from placo import wiring
from placo.drivers.ports import DriverError, Rejected
from placo.platforms.models import SshKey, User
from placo.services import auditlog
from placo.services.errors import Conflict, DirectoryDown, InvalidInput, NotFound

log = logging.getLogger("placo.keys")

MOST = 20
LONGEST = 10_000
RSA_BITS = 3072
CURVES = {256: "ecdsa-sha2-nistp256", 384: "ecdsa-sha2-nistp384", 521: "ecdsa-sha2-nistp521"}
_LINE = re.compile(
    r"(?P<kind>[a-z0-9@.-]{1,60})[ \t]+(?P<body>[A-Za-z0-9+/]{16,8000}={0,2})(?:[ \t]+(?P<comment>[^\r\n]*))?"
)


@dataclass(frozen=True)
class PublicKey:
    """A key that was understood: its canonical line without a comment, and what people compare it by."""

    kind: str
    bits: int
    line: str
    fingerprint: str
    comment: str


def parse(text: object) -> PublicKey:
    """One public key as OpenSSH writes it, without options; InvalidInput saying what is wrong."""
    typed = text.strip() if isinstance(text, str) else ""
    if "PRIVATE KEY" in typed:
        raise _wrong(
            _(
                "This is the private half of a key: never give it to anybody. Paste the file that ends in .pub."
            )
        )
    match = _LINE.fullmatch(typed) if len(typed) <= LONGEST and typed.isprintable() else None
    if match is None:
        raise _wrong(_("One line as in a .pub file: ssh-ed25519 AAAA… comment, without options before it."))
    kind, body = match["kind"], match["body"]
    try:
        raw = b64decode(body, validate=True)
        loaded = load_ssh_public_key(f"{kind} {b64encode(raw).decode()}".encode())
    except UnsupportedAlgorithm:
        raise _wrong(_("Keys of this kind are not taken. Make one with: ssh-keygen -t ed25519")) from None
    except (ValueError, binascii.Error):
        raise _wrong(
            _("This is no public key: it was cut off or changed. Copy the line again, whole.")
        ) from None
    known, bits = _kind_of(loaded)
    # Keys on a token (FIDO) are the same ones behind a prefix.
    if not known or kind not in (known, f"sk-{known}@openssh.com"):
        raise _wrong(_("Keys of this kind are not taken. Make one with: ssh-keygen -t ed25519"))
    if isinstance(loaded, rsa.RSAPublicKey) and bits < RSA_BITS:
        raise _wrong(
            _("This RSA key has %(bits)d bits; %(min)d are needed. Better: ssh-keygen -t ed25519")
            % {"bits": bits, "min": RSA_BITS}
        )
    fingerprint = b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()
    comment = " ".join((match["comment"] or "").split())[:100]
    return PublicKey(kind, bits, f"{kind} {b64encode(raw).decode()}", f"SHA256:{fingerprint}", comment)


def _kind_of(key: object) -> tuple[str, int]:
    """How OpenSSH calls a key that is taken, and its size; ("", 0) for another one."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ssh-ed25519", 256
    if isinstance(key, rsa.RSAPublicKey):
        return "ssh-rsa", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size in CURVES:
        return CURVES[key.key_size], key.key_size
    return "", 0


def _wrong(message: object) -> InvalidInput:
    return InvalidInput({"key": [message]})


def of(user: User) -> QuerySet[SshKey]:
    """Somebody's keys."""
    return SshKey.objects.filter(uid=user.username)


@transaction.atomic
def add(*, acting_user: User, key: object, title: object = "") -> SshKey:
    """One more key, everywhere where its owner is a member; adding it twice is harmless."""
    if acting_user.is_break_glass:
        raise Conflict(
            _("The local break-glass account is nobody in the directory."), _("Log in with your own account.")
        )
    parsed = parse(key)
    name = " ".join(title.split())[:100] if isinstance(title, str) else ""
    if not name.isprintable():
        raise InvalidInput({"title": [_("This holds a character that is not text.")]})
    _lock(acting_user)
    there = of(acting_user).filter(fingerprint=parsed.fingerprint).first()
    if there is not None:
        return there
    if of(acting_user).count() >= MOST:
        raise Conflict(
            _("You have %(max)d keys already.") % {"max": MOST}, _("Remove one that you no longer use.")
        )
    row = SshKey.objects.create(
        uid=acting_user.username,
        title=name or parsed.comment,
        kind=parsed.kind,
        bits=parsed.bits,
        key=parsed.line,
        fingerprint=parsed.fingerprint,
    )
    auditlog.record(acting_user, "key.add", acting_user.username, fingerprint=parsed.fingerprint)
    _tell(acting_user.username)
    return row


@transaction.atomic
def remove(*, acting_user: User, key_id: int) -> None:
    """One key less: it opens nothing from now on."""
    _lock(acting_user)
    row = of(acting_user).filter(pk=key_id).first()
    if row is None:
        raise NotFound(_("You have no such key."))
    row.delete()
    auditlog.record(acting_user, "key.remove", acting_user.username, fingerprint=row.fingerprint)
    _tell(acting_user.username)


def _lock(user: User) -> None:
    User.objects.select_for_update().get(pk=user.pk)


def _tell(uid: str) -> None:
    lines = SshKey.objects.filter(uid=uid).values_list("key", flat=True)
    try:
        wiring.directory().set_ssh_keys(uid, lines)
    except Rejected as error:
        log.warning("keys of %s refused by the directory: %s", uid, error)
        raise Conflict(_("The directory did not take the key."), _("Tell your administrator.")) from None
    except DriverError as error:
        raise DirectoryDown from error


def forget(uid: str) -> None:
    """Somebody has left: their keys are no longer known here. The directory follows by `settle_all`."""
    SshKey.objects.filter(uid=uid).delete()


def settle_all() -> int:
    """Bring the directory's copy to what the rows say: one call to look, one for each person who differs; how many.

    Raises DriverError while the directory does not answer.
    """
    directory, wanted = wiring.directory(), defaultdict(list)
    there = directory.ssh_keys()
    for uid, line in SshKey.objects.values_list("uid", "key"):
        wanted[uid].append(line)
    different = [uid for uid in {*there, *wanted} if tuple(sorted(wanted.get(uid, ()))) != there.get(uid, ())]
    for uid in different:
        with transaction.atomic():
            User.objects.select_for_update().filter(username=uid).first()
            lines = list(SshKey.objects.filter(uid=uid).values_list("key", flat=True))
            try:
                directory.set_ssh_keys(uid, lines)
            except Rejected as error:  # gone from the directory: departures.notice sees to that
                log.warning("keys of %s: %s", uid, error)
    return len(different)
