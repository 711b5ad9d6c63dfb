"""PLACO's tables. Only `placo.services` writes them."""

from placo.platforms.models.drift import Drift
from placo.platforms.models.guests import (
    Attempt,
    Guest,
    Invitation,
    Mailed,
    PasswordReset,
    SshKey,
    SteppedDown,
)
from placo.platforms.models.notices import Notice, Reminder
from placo.platforms.models.people import ApiToken, AuditEvent, Project, ProjectOwner, User
from placo.platforms.models.platforms import (
    Host,
    LedgerEntry,
    Machine,
    Membership,
    Platform,
    Request,
    Template,
)
from placo.platforms.models.proofs import Proof, ProofCase
from placo.platforms.models.runs import JournalEntry, Run, Step

__all__ = [
    "ApiToken",
    "Attempt",
    "AuditEvent",
    "Drift",
    "Guest",
    "Host",
    "Invitation",
    "JournalEntry",
    "LedgerEntry",
    "Machine",
    "Mailed",
    "Membership",
    "Notice",
    "PasswordReset",
    "Platform",
    "Project",
    "ProjectOwner",
    "Proof",
    "ProofCase",
    "Reminder",
    "Request",
    "Run",
    "SshKey",
    "Step",
    "SteppedDown",
    "Template",
    "User",
]
