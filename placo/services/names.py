"""The names of a platform in the DNS, as this site wants them."""

from __future__ import annotations

from placo import wiring
from placo.domain.names import Record, records_of
from placo.domain.plan import Plan


def names_of(plan: Plan) -> frozenset[Record]:
    """All records of a platform; none where the portal writes no zone."""
    site = wiring.site()
    if site.dns is None:
        return frozenset()
    exchanger = site.dns.mail_exchanger or (site.gateway.host if site.gateway else site.edge.domain)
    return records_of(plan, addresses=map(str, site.dns.addresses), mail_exchanger=exchanger)
