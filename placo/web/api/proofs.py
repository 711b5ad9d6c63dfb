"""Proofs: who is let in to a platform, tried from outside."""

from __future__ import annotations

from datetime import datetime

from ninja import Router, Status
from pydantic import Field

from placo.platforms.models import Proof, ProofCase
from placo.services import proof_words, proofs
from placo.web.api.auth import Caller
from placo.web.api.schemas import Out, Problem

router = Router()
ERRORS = {401: Problem, 403: Problem, 404: Problem, 409: Problem, 429: Problem}


class ProofCaseOut(Out):
    """One try to come in at one address."""

    service: str = Field(examples=["wiki"])
    endpoint: str
    case: str = Field(
        description="insider, anybody, outsider, stranger, expired, password, member (where only owners may come in) or removed"
    )
    answer: str = Field(description="admitted, refused or silent")
    passed: bool
    seconds: float | None = Field(
        description="How long it took; of `removed`, from the removal until the door refused."
    )
    text: str = Field(description="The same in words.")


class ProofOut(Out):
    """What came of trying who is let in."""

    id: int
    platform: str
    state: str = Field(description="asked, going, passed, failed, or broken (it says nothing then)")
    reason: str = Field(description="Why it is broken: directory, changed, died or error.")
    text: str
    asked_by: str | None = Field(description="Nobody where it was the schedule.")
    asked_at: datetime
    ended_at: datetime | None
    cases: list[ProofCaseOut]


def _case(row: ProofCase) -> ProofCaseOut:
    return ProofCaseOut(
        service=row.service,
        endpoint=row.endpoint,
        case=row.case,
        answer=row.answer,
        passed=row.passed,
        seconds=round(row.seconds, 2) if row.seconds is not None else None,
        text=f"{proof_words.door(row)}: {proof_words.found(row)}",
    )


def _proof(row: Proof) -> ProofOut:
    cases = list(row.cases.all())
    return ProofOut(
        id=row.pk,
        platform=row.platform.slug,
        state=row.state,
        reason=row.reason,
        text=proof_words.verdict(row, sum(not case.passed for case in cases), len(cases)),
        asked_by=row.asked_by.username if row.asked_by else None,
        asked_at=row.asked_at,
        ended_at=row.ended_at,
        cases=[_case(case) for case in cases],
    )


@router.get(
    "/platforms/{slug}/proofs",
    response={200: list[ProofOut], **ERRORS},
    summary="Who was let in to a platform, and who was not",
)
def list_proofs(request: Caller, slug: str) -> list[ProofOut]:
    """For those who manage the platform, the latest first."""
    return [_proof(row) for row in proofs.listed(acting_user=request.auth, slug=slug)]


@router.post(
    "/platforms/{slug}/proofs", response={202: ProofOut, **ERRORS}, summary="Try who is let in to a platform"
)
def prove(request: Caller, slug: str) -> Status[ProofOut]:
    """Stand-ins come to every address of the platform: a member, an outsider, a guest whose time is over ... The proof that is under
    way, if there is one."""
    return Status(202, _proof(proofs.ask(acting_user=request.auth, slug=slug)))
