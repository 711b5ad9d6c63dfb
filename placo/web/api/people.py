"""People: invitations, who owns a platform, how long somebody is a member, who leaves."""

from __future__ import annotations

from datetime import date, datetime

from django.http import HttpRequest
from ninja import Router, Status
from pydantic import Field

from placo.platforms.models import Membership
from placo.services import departures, invitations, joining, members, ownership
from placo.services.invitations import InvitationView
from placo.web.api.auth import Caller
from placo.web.api.schemas import In, Out, Problem
from placo.web.api.schemas_flow import MemberOut, member_out

router = Router()
ERRORS = {401: Problem, 403: Problem, 404: Problem, 409: Problem, 422: Problem, 429: Problem, 503: Problem}


# --- invitations -----------------------------------------------------------------------------------------------------


class InvitationIn(In):
    mail: str = Field(examples=["marie@example.org"])
    language: str = Field("", description="en, fr or both; what the site is set to otherwise")
    until: date | None = Field(None, description="The day on which the membership ends.")


class InvitationOut(Out):
    """An invitation; its link is in the mail alone."""

    id: int
    platform: str
    mail: str
    state: str = Field(description="open, accepted, revoked, late or closed")
    mailed: str = Field(description="waiting, sent or failing")
    invited_by: str
    until: date | None
    created_at: datetime
    expires_at: datetime


def invitation_out(view: InvitationView) -> InvitationOut:
    row = view.row
    return InvitationOut(
        id=row.pk,
        platform=row.platform.slug,
        mail=row.mail,
        state=view.state,
        mailed=view.mail,
        invited_by=row.invited_by.username,
        until=row.until,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


@router.get(
    "/platforms/{slug}/invitations",
    response={200: list[InvitationOut], **ERRORS},
    summary="Invitations that nobody has accepted yet",
)
def list_invitations(request: Caller, slug: str) -> list[InvitationOut]:
    """For those who manage the platform, the latest first."""
    return [invitation_out(view) for view in invitations.listed(acting_user=request.auth, slug=slug)]


@router.post(
    "/platforms/{slug}/invitations",
    response={201: InvitationOut, **ERRORS},
    summary="Invite somebody by mail",
)
def invite(request: Caller, slug: str, body: InvitationIn) -> Status[InvitationOut]:
    """Somebody from outside gets a link that works once. Inviting the same address again makes the first link void."""
    row = invitations.invite(
        acting_user=request.auth, slug=slug, mail=body.mail, language=body.language, until=body.until
    )
    return Status(201, invitation_out(invitations.view(row)))


@router.post(
    "/invitations/{int:invitation_id}/resend",
    response={200: InvitationOut, **ERRORS},
    summary="Send it again",
)
def resend_invitation(request: Caller, invitation_id: int) -> InvitationOut:
    """With a new link and a new time."""
    row = invitations.resend(acting_user=request.auth, invitation_id=invitation_id)
    return invitation_out(invitations.view(row))


@router.delete(
    "/invitations/{int:invitation_id}", response={200: InvitationOut, **ERRORS}, summary="Take it back"
)
def revoke_invitation(request: Caller, invitation_id: int) -> InvitationOut:
    """Its link opens nothing any more; twice is harmless."""
    row = invitations.revoke(acting_user=request.auth, invitation_id=invitation_id)
    return invitation_out(invitations.view(row))


class AcceptIn(In):
    token: str = Field(description="What stands in the link of the mail.")


@router.post(
    "/invitations/accept",
    response={200: MemberOut, **ERRORS},
    summary="Accept one with the account that you have",
)
def accept_invitation(request: Caller, body: AcceptIn) -> MemberOut:
    """Works once. Who has no account accepts with `POST /guests`."""
    return member_out(joining.accept(acting_user=request.auth, token=body.token))


class GuestIn(AcceptIn):
    name: str = Field(description="What stands behind g- in the account.", examples=["marie"])
    shown: str = Field(description="The name as others see it.", examples=["Marie Curie"])
    password: str


class GuestOut(Out):
    uid: str
    name: str
    mail: str


@router.post(
    "/guests", auth=None, response={201: GuestOut, **ERRORS}, summary="Accept one and make an account"
)
def join(request: HttpRequest, body: GuestIn) -> Status[GuestOut]:
    """Needs no login: the token of the invitation does instead, once."""
    guest, _row = joining.join(
        token=body.token, name=body.name, shown=body.shown, password=body.password, again=body.password
    )
    return Status(201, GuestOut(uid=guest.uid, name=guest.name, mail=guest.mail))


# --- members and owners ----------------------------------------------------------------------------------------------


class UntilIn(In):
    until: date | None = Field(description="The day on which it ends; null for no end.")


@router.put(
    "/platforms/{slug}/members/{uid}/until",
    response={200: MemberOut, **ERRORS},
    summary="How long somebody is a member",
)
def set_until(request: Caller, slug: str, uid: str, body: UntilIn) -> MemberOut:
    """Refused from that day on."""
    return member_out(members.set_until(acting_user=request.auth, slug=slug, uid=uid, until=body.until))


@router.put(
    "/platforms/{slug}/owners/{uid}", response={200: MemberOut, **ERRORS}, summary="Make a member an owner"
)
def hand_over(request: Caller, slug: str, uid: str) -> MemberOut:
    """Beside the owners that it has; guests own nothing."""
    return member_out(ownership.hand_over(acting_user=request.auth, slug=slug, uid=uid))


class OwnerOut(Out):
    uid: str
    member: bool = Field(description="Still a member of the platform.")


@router.delete(
    "/platforms/{slug}/owners/{uid}", response={200: OwnerOut, **ERRORS}, summary="Step down as an owner"
)
def step_down(request: Caller, slug: str, uid: str) -> OwnerOut:
    """Owners for themselves, administrators for anybody; never the last one. The person stays a member."""
    row: Membership | None = ownership.step_down(acting_user=request.auth, slug=slug, uid=uid)
    return OwnerOut(uid=uid, member=row is not None)


# --- who leaves ------------------------------------------------------------------------------------------------------


class PersonOut(Out):
    """Somebody with all that they have here."""

    uid: str
    name: str
    mail: str
    in_directory: bool | None = Field(description="null while the directory does not answer")
    guest: bool
    ends_on: date | None = Field(description="The day from which on a guest's account opens nothing.")
    member_of: list[str]
    manages: list[str]
    owns_projects: list[str]
    ssh_keys: int


@router.get("/people/{uid}", response={200: PersonOut, **ERRORS}, summary="Somebody (administrators)")
def show_person(request: Caller, uid: str) -> PersonOut:
    """Where they are a member, what they manage and own."""
    view = departures.person_view(acting_user=request.auth, uid=uid)
    return PersonOut(
        uid=view.uid,
        name=view.name,
        mail=view.person.mail if view.person else "",
        in_directory=None if view.silent else view.person is not None,
        guest=view.guest is not None,
        ends_on=view.guest.ends_on if view.guest else None,
        member_of=[row.platform.slug for row in view.memberships if row.wanted],
        manages=[platform.slug for platform in view.platforms],
        owns_projects=view.projects,
        ssh_keys=view.keys,
    )


class LeftOut(Out):
    uid: str
    platforms: list[str] = Field(description="Where the person is being removed.")


@router.post(
    "/people/{uid}/leave",
    response={200: LeftOut, **ERRORS},
    summary="Remove somebody from all platforms (administrators)",
)
def leave(request: Caller, uid: str) -> LeftOut:
    """As a member and an owner, with keys, tokens and invitations. Roles in the directory are taken away there."""
    return LeftOut(uid=uid, platforms=departures.leave(acting_user=request.auth, uid=uid))
