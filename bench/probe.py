"""Waits until a machine answers, from inside the lab's portal namespace: python -m bench.probe TARGET-AS-JSON.

Prints the reading of the machine's monotonic clock at the first full answer with status 200. That clock is the same in
every process of a machine, so whoever started the probe can subtract.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CONNECT_TIMEOUT_S = 0.3
ANSWER_TIMEOUT_S = 10.0
PAUSE_S = 0.1


class NoAnswerError(Exception):
    """The machine did not answer in time; the text says what came instead."""


@dataclass(frozen=True)
class Target:
    """Where to ask for `path`. With `ca_file` over TLS, the certificate checked for `name`; without it in the clear."""

    address: str
    port: int
    name: str
    path: str = "/"
    ca_file: str | None = None


def first_answer(target: Target, timeout_s: float) -> float:
    """Ask until the answer is 200; the monotonic time of that. NoAnswerError after `timeout_s`."""
    end = time.monotonic() + timeout_s
    last = "nothing"
    while time.monotonic() < end:
        try:
            status = _status(target)
        except (OSError, http.client.HTTPException) as error:
            last = str(error) or type(error).__name__
        else:
            if status == http.HTTPStatus.OK:
                return time.monotonic()
            last = f"status {status}"
        time.sleep(PAUSE_S)
    raise NoAnswerError(
        f"{target.address}:{target.port} did not answer within {timeout_s:.0f} s; last: {last}"
    )


def _status(target: Target) -> int:
    connection = http.client.HTTPConnection(target.name, timeout=ANSWER_TIMEOUT_S)
    plain = socket.create_connection((target.address, target.port), timeout=CONNECT_TIMEOUT_S)
    try:
        plain.settimeout(ANSWER_TIMEOUT_S)
        connection.sock = plain
        if target.ca_file is not None:
            context = ssl.create_default_context(cafile=target.ca_file)
            connection.sock = context.wrap_socket(plain, server_hostname=target.name)
        connection.request("GET", target.path)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()
        plain.close()


def first_answer_from(namespace: str, target: Target, timeout_s: float) -> float:
    """`first_answer` as seen from a network namespace of this machine."""
    command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "bench.probe"]
    done = subprocess.run(
        [*command, json.dumps(asdict(target)), str(timeout_s)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=timeout_s + 3 * ANSWER_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise NoAnswerError(done.stderr.strip())
    return float(done.stdout)


def main(target: str, timeout_s: str) -> int:
    """Returns the exit status."""
    try:
        print(first_answer(Target(**json.loads(target)), float(timeout_s)))
    except NoAnswerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
