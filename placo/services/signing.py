"""The keys that machines sign with: made once, kept sealed with the machine's row for as long as the machine lives."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from django.db import transaction

from placo import wiring
from placo.drivers.signing import new_key, opened, public_half, sealed
from placo.platforms.models import Machine

PURPOSE = "signing-key"
"""What the derived secret of a machine is for that its key is sealed with."""


def private_key(uuid: str) -> str:
    """A machine's private key (PEM); one that is kept nowhere for a machine that is not planned yet."""
    secret = wiring.machine_secret(uuid, PURPOSE)
    with transaction.atomic():
        row = Machine.objects.select_for_update().only("sealed_key", "public_key").filter(uuid=uuid).first()
        if row is None:
            return new_key()
        key = opened(row.sealed_key, secret) if row.sealed_key else new_key()
        if not row.public_key:
            row.sealed_key, row.public_key = row.sealed_key or sealed(key, secret), public_half(key)
            row.save(update_fields=["sealed_key", "public_key"])
    return key


def known_keys(uuids: Iterable[str]) -> dict[str, str]:
    """UUID -> the public half of a machine's key (base64), of those that have one; one query, nothing is opened."""
    rows = Machine.objects.filter(uuid__in=list(uuids)).exclude(public_key="")
    return {str(uuid): key for uuid, key in rows.values_list("uuid", "public_key")}


class Keys:
    """What file templates may use of them: made when it is asked for, since few machines sign."""

    def __init__(self, uuid: str) -> None:
        self._uuid = uuid

    @cached_property
    def rsa(self) -> str:
        """A private RSA key: PEM, PKCS #8, not encrypted."""
        return private_key(self._uuid)

    @property
    def rsa_public(self) -> str:
        """Its public half: SubjectPublicKeyInfo in base64."""
        return public_half(self.rsa)
