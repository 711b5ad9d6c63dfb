"""The mail exchanger in front of all platforms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class MailDomain:
    """A domain of mail addresses. Its mail goes to `port` of a machine, in TLS from the first byte, with the machine's certificate
    checked for `upstream_name`; of all machines only the one at `address` may send as this domain."""

    domain: str
    address: str
    port: int
    upstream_name: str


class MailGateway(Protocol):
    """The mail exchanger of all platforms' domains, and the only way out for their mail. Knows a platform's domains and nothing
    else of it: which addresses there are is asked of the machine."""

    def answers(self) -> bool:
        """Whether it greets. Takes a few seconds at most."""

    def queued(self) -> int | None:
        """How many mails wait to go on; None when this process may not look. Asks nobody."""

    def ensure_domains(self, slug: str, uuid: str, domains: Iterable[MailDomain]) -> None:
        """Exactly these; none is as good as removing them. Rejected for a domain or a slug that another platform has."""

    def remove_domains(self, slug: str, uuid: str) -> None: ...

    def domains(self) -> Mapping[str, str]:
        """slug -> platform uuid of all that have any."""
