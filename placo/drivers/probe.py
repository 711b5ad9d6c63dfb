"""Health probes as a user would make them: HTTPS through the edge, with the certificate checked."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path

import httpx

from placo.drivers.ports import ProbeResult

_AGENT = "placo-probe"


class EdgeProber:
    """`ports.Prober`. `edge` is the edge's UNIX socket, or an IP address to which the public names need not resolve yet.

    `port` is the public one; it goes into the Host header, as in the addresses that users have.
    """

    def __init__(self, edge: Path | str, ca_file: Path, port: int = 443) -> None:
        self._edge = edge if isinstance(edge, Path) else str(ip_address(edge))
        self._ca_file = ca_file
        self._port = port

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
    if isinstance(error, httpx.ConnectError):
        return "the edge does not answer"
    return f"no usable answer: {error}" if str(error) else f"no usable answer: {type(error).__name__}"
