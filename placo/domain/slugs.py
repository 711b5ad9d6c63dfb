"""The names of platforms: a label of the DNS, of the directory, and of every object on a host."""

from __future__ import annotations

import re

RESERVED_SLUGS = frozenset(
    [
        "www",
        "mail",
        "smtp",
        "imap",
        "pop",
        "ftp",
        "ns",
        "ns1",
        "ns2",
        "dns",
        "mx",
        "placo",
        "portal",
        "admin",
        "administrator",
        "root",
        "api",
        "edge",
        "directory",
        "ldap",
        "localhost",
        "test",
        "status",
        "help",
        "support",
        "static",
        "postmaster",
        "hostmaster",
        "webmaster",
        "abuse",
        "autoconfig",
        "autodiscover",
        "wpad",
    ]
)
SLUG_MAX = 32
"""A slug and its longest service suffix must fit a DNS label (63 octets, RFC 1035) and leave room for object names."""
_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def slug_problem(slug: str) -> str | None:
    """Why a slug cannot be used at all: "empty", "characters", "too-long", "reserved"; None if it can."""
    if not slug:
        return "empty"
    if len(slug) > SLUG_MAX:
        return "too-long"
    if not _SLUG.fullmatch(slug) or "--" in slug:
        return "characters"
    return "reserved" if slug in RESERVED_SLUGS else None
