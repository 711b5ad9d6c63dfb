"""The protocols in which the public speaks with machines, and the ports on which the edge takes them.

All but mail from outside are TLS from the first byte (RFC 8314, XEP-0368): the name that the client asks for (SNI) says
which platform is meant, so that all platforms share one port a protocol.
"""

from __future__ import annotations

HTTPS = "https"
SMTP = "smtp"
"""Mail for a platform's domain: the site's mail gateway passes it on."""

STREAMS = {"imaps": 993, "submissions": 465, "xmpps": 5223}
"""Protocols that the edge passes on without understanding them, and their ports (IANA)."""

PUBLIC = (HTTPS, *STREAMS, SMTP)
"""Every protocol that a route may have."""


def address(protocol: str, host: str, path: str, edge_port: int) -> str:
    """What people are told: a URL, a server with its port, or the ending of mail addresses. `edge_port` is that of HTTPS."""
    if protocol == SMTP:
        return f"@{host}"
    if protocol in STREAMS:
        return f"{protocol}://{host}:{STREAMS[protocol]}"
    return f"https://{host}{'' if edge_port == 443 else f':{edge_port}'}{path}"
