"""Who may send what to whom by the mail gateway: asked by its Postfix before every recipient (SMTPD_POLICY_README).

Run by Postfix's spawn(8) as nobody, with Debian's own Python: `policy.py TABLE POOL [relay]`. TABLE is the SQLite file that the
portal writes (placo/drivers/gateway_postfix.py), POOL the addresses of all platforms' machines; `relay` says that mail leaves the site by
a relay host.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from ipaddress import IPv4Network, ip_address

UNKNOWN_MACHINE = "550 5.7.1 No mail is taken from this machine"
FOREIGN_SENDER = "553 5.7.1 A platform sends as its own domain alone"
FORGED_SENDER = "553 5.7.1 Mail of this domain comes from its platform alone"
NO_WAY_OUT = "550 5.7.1 Mail does not leave this site: it has no relay host"
KNOWN_THERE = "reject_unverified_recipient, permit"
NOT_OURS = "554 5.7.1 Relay access denied"


def decide(
    request: Mapping[str, str], clients: Mapping[str, Sequence[str]], pool: IPv4Network, relay: bool
) -> str:
    """The action of access(5) for a request (attribute -> value).

    `clients`: address of a machine -> the domains that it may send as.
    """
    client = ip_address(request["client_address"])
    sender, recipient = (_domain(request.get(name, "")) for name in ("sender", "recipient"))
    platforms = {domain for domains in clients.values() for domain in domains}
    inside = client in pool
    own = clients.get(str(client), ())
    if inside and not own:
        return UNKNOWN_MACHINE
    if inside and request.get("sender") and sender not in own:
        return FOREIGN_SENDER
    if not inside and sender in platforms:
        return FORGED_SENDER
    if recipient in platforms:
        return KNOWN_THERE
    if inside:
        return "OK" if relay else NO_WAY_OUT
    return NOT_OURS


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()


def _clients(table: str) -> dict[str, list[str]]:
    """Asked anew each time: platforms come and go."""
    with closing(sqlite3.connect(f"file:{table}?mode=ro", uri=True, timeout=5)) as opened:
        found: dict[str, list[str]] = {}
        for address, domain in opened.execute("SELECT address, domain FROM domains"):
            found.setdefault(address, []).append(domain)
        return found


def main(table: str, pool: str, relay: str = "") -> None:
    """Answer requests, name=value a line with an empty line behind each, until Postfix closes the connection."""
    network = IPv4Network(pool)
    request: dict[str, str] = {}
    for line in sys.stdin:
        name, _, value = line.rstrip("\n").partition("=")
        if name:
            request[name] = value
            continue
        sys.stdout.write(f"action={decide(request, _clients(table), network, relay == 'relay')}\n\n")
        sys.stdout.flush()
        request = {}


if __name__ == "__main__":
    main(*sys.argv[1:])
