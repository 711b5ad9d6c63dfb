"""The protocols in which the public speaks with machines, and the ports on which the edge takes them.

Most are TLS from the first byte (RFC 8314, XEP-0368): the name that the client asks for (SNI) says which platform is meant,
so that all platforms share one port a protocol. A client of ssh says no name: each platform has ports of its own for it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

HTTPS = "https"
SMTP = "smtp"
"""Mail for a platform's domain: the site's mail gateway passes it on."""

STREAMS = {"imaps": 993, "submissions": 465, "xmpps": 5223}
"""Protocols that the edge passes on without understanding them, and their ports (IANA)."""

SSH = "ssh"
"""Passed on as it comes, by the port: nothing of it is TLS."""

SSH_PORTS = 4
"""How many ports of the edge a platform has for ssh."""

FOUND = ("caldavs", "carddavs")
"""What an endpoint of HTTPS may be to programs that look for it in the DNS: calendars, address books (RFC 6764)."""

PUBLIC = (HTTPS, *STREAMS, SSH, SMTP)
"""Every protocol that a route may have."""


def ssh_ports(first: int, index: int) -> tuple[int, ...]:
    """The ports of the platform that has the `index`-th subnet, the site's being from `first` on; none where ports have an end."""
    start = first + SSH_PORTS * index
    ports = tuple(range(start, start + SSH_PORTS))
    return ports if ports[-1] < 65536 else ()


def ssh_command(url: str, uid: str) -> str:
    """What is typed to get to an address of ssh, by `uid` where the address names nobody."""
    parts = urlsplit(url)
    return f"ssh -p {parts.port} {parts.username or uid}@{parts.hostname}"


def address(protocol: str, host: str, path: str, port: int | None, user: str = "") -> str:
    """What people are told: a URL, a server with its port, or the ending of mail addresses.

    `port` is the edge's for HTTPS, or a platform's own for ssh, None as long as it has none; the others' are known. `user` is as
    whom everybody logs in by ssh, nobody where people do so with their own names.
    """
    if protocol == SMTP:
        return f"@{host}"
    if protocol in STREAMS:
        return f"{protocol}://{host}:{STREAMS[protocol]}"
    if protocol == SSH:
        return f"ssh://{f'{user}@' if user else ''}{host}{'' if port is None else f':{port}'}"
    return f"https://{host}{'' if port == 443 else f':{port}'}{path}"
