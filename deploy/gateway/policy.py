"""Who may send what to whom by the mail gateway: asked by its Postfix before every recipient (SMTPD_POLICY_README).

Run by Postfix's spawn(8) as nobody, with Debian's own Python: `policy.py CLIENTS POOL [relay]`. CLIENTS is the file that the portal
writes (address of a machine -> the domains that it may send as), POOL the addresses of all platforms' machines; `relay` says
that mail leaves the site by a relay host.
"""

import json
import sys
from ipaddress import IPv4Network, ip_address

UNKNOWN_MACHINE = "550 5.7.1 No mail is taken from this machine"
FOREIGN_SENDER = "553 5.7.1 A platform sends as its own domain alone"
FORGED_SENDER = "553 5.7.1 Mail of this domain comes from its platform alone"
NO_WAY_OUT = "550 5.7.1 Mail does not leave this site: it has no relay host"
KNOWN_THERE = "reject_unverified_recipient"
NO_OPINION = "DUNNO"


def decide(request, clients, pool, relay):
    """The action of access(5) for a request (attribute -> value); what nobody decides is refused by `reject_unauth_destination`."""
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
    return NO_OPINION


def _domain(address):
    return address.rpartition("@")[2].lower()


def main(clients_file, pool, relay=""):
    """Answer requests, name=value a line with an empty line behind each, until Postfix closes the connection."""
    network = IPv4Network(pool)
    request = {}
    for line in sys.stdin:
        name, _, value = line.rstrip("\n").partition("=")
        if name:
            request[name] = value
            continue
        with open(clients_file, encoding="utf-8") as file:  # anew: platforms come and go
            clients = json.load(file)
        sys.stdout.write(f"action={decide(request, clients, network, relay == 'relay')}\n\n")
        sys.stdout.flush()
        request = {}


if __name__ == "__main__":
    main(*sys.argv[1:])
