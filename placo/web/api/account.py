"""One's own account: name, password, ssh keys."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpRequest
from django.utils.translation import get_language
from ninja import Router, Status
from pydantic import Field

from placo.platforms.models import SshKey
from placo.services import guests, keys, passwords
from placo.web.api.auth import Caller
from placo.web.api.people import ERRORS, GuestOut
from placo.web.api.schemas import In, Out
from placo.web.auth import client_address

router = Router()


class AccountOut(Out):
    uid: str
    name: str
    mail: str
    administrator: bool
    guest: bool


@router.get("/account", response={200: AccountOut, **ERRORS}, summary="Who you are")
def show_account(request: Caller) -> AccountOut:
    """As the directory said last."""
    user = request.auth
    return AccountOut(
        uid=user.username,
        name=user.display_name,
        mail=user.email,
        administrator=user.is_administrator,
        guest=user.is_guest,
    )


class NameIn(In):
    name: str


@router.put("/account/name", response={200: GuestOut, **ERRORS}, summary="Your name (guests)")
def rename(request: Caller, body: NameIn) -> GuestOut:
    """As others see it."""
    guest = guests.rename(acting_user=request.auth, shown=body.name)
    return GuestOut(uid=guest.uid, name=guest.name, mail=guest.mail)


class PasswordIn(In):
    old: str
    new: str


class Said(Out):
    message: str = ""


@router.put("/account/password", response={200: Said, **ERRORS}, summary="Your password (guests)")
def change_password(request: Caller, body: PasswordIn) -> Said:
    """Ends your sessions and tokens, this one too."""
    passwords.change(acting_user=request.auth, old=body.old, new=body.new, again=body.new)
    return Said()


class ForgottenIn(In):
    mail: str


@router.post(
    "/account/forgotten", auth=None, response={202: Said, **ERRORS}, summary="Have a link sent (guests)"
)
def forgotten(request: HttpRequest, body: ForgottenIn) -> Status[Said]:
    """The answer is the same whether a guest has this address or not."""
    passwords.forgotten(mail=body.mail, language=get_language() or "", address=client_address(request))
    return Status(202, Said())


class KeyIn(In):
    key: str = Field(examples=["ssh-ed25519 AAAA... laptop"])
    title: str = ""


class KeyOut(Out):
    id: int
    title: str
    kind: str
    bits: int
    fingerprint: str
    key: str
    added_at: datetime


def key_out(row: SshKey) -> KeyOut:
    return KeyOut(
        id=row.pk,
        title=row.title,
        kind=row.kind,
        bits=row.bits,
        fingerprint=row.fingerprint,
        key=row.key,
        added_at=row.added_at,
    )


@router.get("/account/keys", response={200: list[KeyOut], **ERRORS}, summary="Your ssh keys")
def list_keys(request: Caller) -> list[KeyOut]:
    """The public halves."""
    return [key_out(row) for row in keys.of(request.auth)]


@router.post("/account/keys", response={201: KeyOut, **ERRORS}, summary="Add an ssh key")
def add_key(request: Caller, body: KeyIn) -> Status[KeyOut]:
    """One public key without options; adding it twice is harmless."""
    return Status(201, key_out(keys.add(acting_user=request.auth, key=body.key, title=body.title)))


@router.delete("/account/keys/{int:key_id}", response={200: Said, **ERRORS}, summary="Remove an ssh key")
def remove_key(request: Caller, key_id: int) -> Said:
    """It opens nothing from now on."""
    keys.remove(acting_user=request.auth, key_id=key_id)
    return Said()
