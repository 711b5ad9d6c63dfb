"""The names of a platform in the DNS, as this site wants them."""

from __future__ import annotations

from collections.abc import Iterable

from placo import wiring
from placo.domain.names import Record, records_of
from placo.domain.plan import Plan
from placo.domain.protocols import SMTP
from placo.services import signing


def make_keys(plan: Plan) -> None:
    """The machines that a mail domain belongs to have their key from now on, so that the DNS has it before they sign."""
    for machine in _signers(plan):
        signing.private_key(plan.machine(machine).uuid)


def _signers(plan: Plan) -> set[str]:
    return {e.machine for e in plan.endpoints if e.protocol == SMTP}


def names_of(plan: Plan) -> frozenset[Record]:
    """All records of a platform; none where the portal writes no zone."""
    return names_of_all([plan])[plan.slug]


def names_of_all(plans: Iterable[Plan]) -> dict[str, frozenset[Record]]:
    """Slug -> all records of a platform, of many in one query."""
    if wiring.site().dns is None:
        return {plan.slug: frozenset() for plan in plans}
    return wanted_of_all(plans)


def wanted_of_all(plans: Iterable[Plan]) -> dict[str, frozenset[Record]]:
    """Slug -> what the DNS has to have of a platform, whoever writes it; without addresses where the portal does not know them."""
    plans, site = list(plans), wiring.site()
    exchanger = (site.dns and site.dns.mail_exchanger) or (
        site.gateway.host if site.gateway else site.edge.domain
    )
    signers = {plan.slug: {name: plan.machine(name).uuid for name in _signers(plan)} for plan in plans}
    keys = signing.known_keys(uuid for machines in signers.values() for uuid in machines.values())
    return {
        plan.slug: records_of(
            plan,
            addresses=map(str, site.dns.addresses if site.dns else ()),
            port=site.edge.port,
            mail_exchanger=exchanger,
            keys={name: keys[uuid] for name, uuid in signers[plan.slug].items() if uuid in keys},
        )
        for plan in plans
    }
