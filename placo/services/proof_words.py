"""The words of proofs, in the language that is in force: what was found out, in plain sentences."""

from __future__ import annotations

from django.utils.formats import number_format
from django.utils.translation import get_language, gettext_lazy, ngettext
from django.utils.translation import gettext as _

from placo import wiring
from placo.domain.doors import Access
from placo.domain.proofs import BOUND_S, Case
from placo.drivers.doors import Answer
from placo.platforms.models import Proof, ProofCase
from placo.services.selectors import title_of

TRIED = {
    Case.INSIDER: gettext_lazy("a member"),
    Case.ANYBODY: gettext_lazy("somebody without a name"),
    Case.OUTSIDER: gettext_lazy("somebody who is no member"),
    Case.STRANGER: gettext_lazy("a member of another platform"),
    Case.EXPIRED: gettext_lazy("a guest whose time is over"),
    Case.PASSWORD: gettext_lazy("a member with a wrong password"),
    Case.MEMBER: gettext_lazy("a member who is no owner"),
    Case.REMOVED: gettext_lazy("a member who was removed"),
}
"""Who stood before the door."""


def who(case: ProofCase) -> str:
    """Who stood before the door."""
    if case.case == Case.INSIDER and case.access == Access.OWNERS:
        return _("an owner")
    return str(TRIED[Case(case.case)])


def found(case: ProofCase) -> str:
    """What happened at a door, as a sentence."""
    values = {
        "who": who(case),
        "seconds": number_format(case.seconds or 0.0, decimal_pos=1),
        "said": case.said,
        "bound": number_format(BOUND_S, decimal_pos=0),
    }
    if case.case == Case.REMOVED:
        if case.answer == Answer.REFUSED and not case.passed:
            text = _("%(who)s was still let in for %(seconds)s s; %(bound)s s are allowed")
        elif case.answer == Answer.REFUSED:
            text = _("%(who)s was refused after %(seconds)s s")
        elif case.answer == Answer.ADMITTED:
            text = _("%(who)s was still let in after %(seconds)s s")
        else:
            text = _("%(who)s got no answer: %(said)s")
    elif case.answer == Answer.ADMITTED:
        text = _("%(who)s got in")
    elif case.answer == Answer.REFUSED:
        text = _("%(who)s was refused")
    else:
        text = _("%(who)s got no answer: %(said)s")
    sentence = text % values
    return sentence[:1].upper() + sentence[1:]


def service(case: ProofCase) -> str:
    """The service of a door."""
    return title_of(case.service).get(get_language() or "en")


def door(case: ProofCase) -> str:
    """The service and the address that a case is about."""
    known = wiring.catalogue().services.get(case.service)
    endpoint = next((e for e in known.endpoints if e.name == case.endpoint), None) if known else None
    title = endpoint.title.get(get_language() or "en") if endpoint else case.endpoint
    return title if title == service(case) else f"{service(case)}: {title}"


def verdict(proof: Proof, failed: int, tried: int) -> str:
    """What came of a proof, in one sentence."""
    if proof.state == Proof.PASSED:
        text = ngettext(
            "Everything is as it should be: %(count)d attempt to come in.",
            "Everything is as it should be: %(count)d attempts to come in.",
            tried,
        )
        return text % {"count": tried}
    if proof.state == Proof.FAILED:
        text = ngettext(
            "%(failed)d of %(count)d attempts to come in did not end as it should.",
            "%(failed)d of %(count)d attempts to come in did not end as they should.",
            failed,
        )
        return text % {"failed": failed, "count": tried}
    if proof.state == Proof.BROKEN:
        return _("It was broken off: %(why)s.") % {"why": proof.get_reason_display()}
    return _("It is under way.")
