"""Health probes as a user would make them: through the edge, with the certificate checked."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path

import httpx

from placo.domain.protocols import SSH, STREAMS
from placo.drivers.ports import ProbeResult

_AGENT = "placo-probe"
_GREETINGS = {"imaps": b"* OK", "submissions": b"220", "xmpps": b"<stream:stream", SSH: b"SSH-2.0-"}
"""How a server begins that may be used: RFC 9051 (7.1.1), RFC 5321 (4.2), RFC 6120 (4.7), RFC 4253 (4.2)."""
_GREETING_MAX = 4096
_XMPP_OPENING = (
    "<?xml version='1.0'?><stream:stream to='{host}' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)


class EdgeProber:
    """`ports.Prober`. `edge` is the edge's UNIX socket, or an IP address to which the public names need not resolve yet.

    `port` is the public one; it goes into the Host header, as in the addresses that users have. `streams` says where the edge
    takes each of the other protocols; `address`, where it opens platforms' own ports.
    """

    def __init__(
        self,
        edge: Path | str,
        ca_file: Path,
        port: int = 443,
        *,
        streams: Mapping[str, tuple[str, int]] | None = None,
        address: str | None = None,
    ) -> None:
        self._edge = edge if isinstance(edge, Path) else str(ip_address(edge))
        self._ca_file = ca_file
        self._port = port
        self._streams = streams or {name: (str(self._edge), number) for name, number in STREAMS.items()}
        self._address = address or str(self._edge)

    def https(self, host: str, path: str, expect_status: Iterable[int], timeout_s: float) -> ProbeResult:
        """One GET, no redirects followed, the body not read; never raises for what the other side does or does not do."""
        expected = sorted(set(expect_status))
        try:
            status = self._get(host, path, timeout_s)
        except httpx.TimeoutException:
            return ProbeResult(False, f"no answer within {timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, UnicodeError) as error:
            return ProbeResult(False, _words(error))
        if status in expected:
            return ProbeResult(True, f"answers {_phrase(status)}")
        return ProbeResult(False, f"answers {_phrase(status)} instead of {' or '.join(map(str, expected))}")

    def greeting(
        self, host: str, protocol: str, timeout_s: float, edge_port: int | None = None
    ) -> ProbeResult:
        """TLS, then what the server says first (a client of XMPP speaks first); never raises for what the other side does.

        ssh is not in TLS, and is asked for at the platform's own `edge_port`.
        """
        expected = _GREETINGS[protocol]
        try:
            said = self._first_words(host, protocol, timeout_s, edge_port)
        except TimeoutError:
            return ProbeResult(False, f"no greeting within {timeout_s:g} s")
        except (ssl.SSLError, OSError, UnicodeError) as error:
            return ProbeResult(False, _words(error))
        if expected in said:
            return ProbeResult(True, "greets")
        if not said:
            return ProbeResult(False, "the connection is closed without a greeting")
        return ProbeResult(False, f"says {said[:60].decode('ascii', 'replace').strip()!r}")

    def _first_words(self, host: str, protocol: str, timeout_s: float, edge_port: int | None) -> bytes:
        if protocol == SSH:
            if edge_port is None:
                return b""
            with socket.create_connection((self._address, edge_port), timeout=timeout_s) as plain:
                return _heard(plain, _GREETINGS[protocol])
        trusted = ssl.create_default_context(cafile=str(self._ca_file))
        with (
            socket.create_connection(self._streams[protocol], timeout=timeout_s) as plain,
            trusted.wrap_socket(plain, server_hostname=host) as secured,
        ):
            if protocol == "xmpps":
                secured.sendall(_XMPP_OPENING.format(host=host).encode("ascii"))
            return _heard(secured, _GREETINGS[protocol])

    def _get(self, host: str, path: str, timeout_s: float) -> int:
        trusted = ssl.create_default_context(cafile=str(self._ca_file))
        uds = str(self._edge) if isinstance(self._edge, Path) else None
        target = host if uds else str(self._edge)
        transport = httpx.HTTPTransport(verify=trusted, uds=uds, trust_env=False)
        url = httpx.URL(scheme="https", host=target, port=self._port, raw_path=path.encode("ascii"))
        authority = host if self._port == 443 else f"{host}:{self._port}"
        headers = {"Host": authority, "User-Agent": _AGENT}
        with (
            httpx.Client(transport=transport, timeout=timeout_s, trust_env=False) as client,
            client.stream("GET", url, headers=headers, extensions={"sni_hostname": host}) as answer,
        ):
            return answer.status_code


def _heard(server: socket.socket, expected: bytes) -> bytes:
    """What a server says until the words that are expected, the end of its line, or too much."""
    said = b""
    while expected not in said and len(said) < _GREETING_MAX and b"\r\n" not in said:
        more = server.recv(_GREETING_MAX)
        if not more:
            break
        said += more
    return said


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _words(error: Exception) -> str:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is not right: {cause.verify_message}"
    if isinstance(error, httpx.ConnectError | ConnectionError):
        return "the edge does not answer"
    return f"no usable answer: {error}" if str(error) else f"no usable answer: {type(error).__name__}"
