"""What a proof of a platform tries at each door, and what has to come of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from placo.domain.doors import Access, LoginKind
from placo.domain.protocols import HTTPS
from placo.domain.stand_ins import Role

BOUND_S = 5.0
"""Within so many seconds a removed member is refused everywhere."""


class Case(StrEnum):
    """What is tried. INSIDER: who may come in, gets in. MEMBER: one who is no owner, where only owners may come in."""

    INSIDER = "insider"
    ANYBODY = "anybody"
    OUTSIDER = "outsider"
    STRANGER = "stranger"
    EXPIRED = "expired"
    PASSWORD = "password"  # noqa: S105 - the name of a case
    MEMBER = "member"
    REMOVED = "removed"


@dataclass(frozen=True)
class Trial:
    """One try: as whom (None: without a name), with the right password or another, and whether that is to be let in."""

    case: Case
    role: Role | None
    right: bool
    admitted: bool


def insider(access: Access) -> Role:
    """Who is let in where these may come in."""
    return Role.OWNER if access is Access.OWNERS else Role.MEMBER


def trials(access: Access, login: LoginKind, protocol: str) -> tuple[Trial, ...]:
    """What is tried at a door before a member is removed, in this order; nothing where nobody can be tried."""
    anybody = Trial(Case.ANYBODY, None, right=True, admitted=access is Access.PUBLIC)
    if login is LoginKind.UNTRIED or (protocol != HTTPS and login is LoginKind.NONE):
        return ()
    if login is LoginKind.NONE:
        return (anybody,)
    found = [Trial(Case.INSIDER, insider(access), right=True, admitted=True)]
    if protocol == HTTPS:
        found.append(anybody)
    if access is Access.OWNERS:
        found.append(Trial(Case.MEMBER, Role.MEMBER, right=True, admitted=False))
    found += [
        Trial(Case.OUTSIDER, Role.OUTSIDER, right=True, admitted=False),
        Trial(Case.STRANGER, Role.STRANGER, right=True, admitted=False),
        Trial(Case.EXPIRED, Role.EXPIRED, right=True, admitted=False),
        Trial(Case.PASSWORD, Role.CARELESS, right=False, admitted=False),
    ]
    return tuple(found)


def removes(login: LoginKind) -> bool:
    """Whether it is measured at such a door when a removed member is refused."""
    return login not in (LoginKind.NONE, LoginKind.UNTRIED)
