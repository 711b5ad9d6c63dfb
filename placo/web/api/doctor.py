"""The doctor: how every component of the site is."""

from __future__ import annotations

from ninja import Router
from pydantic import Field

from placo.services import doctor
from placo.web.api.auth import Caller
from placo.web.api.schemas import Out, Problem

router = Router()


class ResultOut(Out):
    """What was found at one component; `remedy` says what to do unless all is well."""

    component: str = Field(examples=["database"])
    level: str = Field(description="ok, warning or failure", examples=["ok"])
    text: str
    remedy: str


class ReportOut(Out):
    """Everything found, worst first. `level` is the worst, `status` the same as a number: 0, 1, 2."""

    level: str
    status: int
    seconds: float
    results: list[ResultOut]


@router.get(
    "/doctor",
    response={200: ReportOut, 401: Problem, 403: Problem},
    summary="How every component is (administrators)",
)
def examine(request: Caller) -> ReportOut:
    """Looks at every component now, which takes some seconds. 200 also when something is wrong: read `level`."""
    report = doctor.examine_for(acting_user=request.auth)
    results = [
        ResultOut(component=r.component, level=r.level.value, text=r.text, remedy=r.remedy)
        for r in report.results
    ]
    return ReportOut(
        level=report.level.value, status=report.status, seconds=round(report.seconds, 3), results=results
    )
