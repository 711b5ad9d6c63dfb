"""Who may send what to whom by the mail gateway."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from deploy.gateway import policy

CLIENTS = {"10.77.16.2": ["alpha.test"], "10.77.16.18": ["beta.test", "lists.beta.test"]}
POOL = IPv4Network("10.77.16.0/20")
IN, OUT, OTHER_MACHINE = "10.77.16.2", "192.0.2.1", "10.77.16.3"


@pytest.mark.parametrize(
    ("client", "sender", "recipient", "relay", "action"),
    [
        (OUT, "x@out.org", "ada@alpha.test", False, policy.KNOWN_THERE),
        (OUT, "", "ada@alpha.test", False, policy.KNOWN_THERE),
        (OUT, "x@out.org", "ada@ALPHA.test", False, policy.KNOWN_THERE),
        (OUT, "x@out.org", "y@out.org", False, policy.NOT_OURS),
        (OUT, "x@out.org", "y@out.org", True, policy.NOT_OURS),
        (OUT, "x@out.org", "y@sub.alpha.test", True, policy.NOT_OURS),
        (OUT, "x@out.org", "ada%alpha.test@out.org", True, policy.NOT_OURS),
        (OUT, "ada@alpha.test", "emmy@beta.test", True, policy.FORGED_SENDER),
        (OUT, "ada@Alpha.Test", "emmy@beta.test", True, policy.FORGED_SENDER),
        (IN, "ada@alpha.test", "emmy@beta.test", False, policy.KNOWN_THERE),
        (IN, "", "emmy@beta.test", False, policy.KNOWN_THERE),
        (IN, "ada@alpha.test", "x@out.org", True, "OK"),
        (IN, "ada@alpha.test", "x@out.org", False, policy.NO_WAY_OUT),
        (IN, "emmy@beta.test", "ada@alpha.test", True, policy.FOREIGN_SENDER),
        (IN, "x@out.org", "x@out.org", True, policy.FOREIGN_SENDER),
        ("10.77.16.18", "x@lists.beta.test", "ada@alpha.test", False, policy.KNOWN_THERE),
        (OTHER_MACHINE, "ada@alpha.test", "ada@alpha.test", True, policy.UNKNOWN_MACHINE),
        (OTHER_MACHINE, "", "ada@alpha.test", True, policy.UNKNOWN_MACHINE),
    ],
)
def test_decisions(client: str, sender: str, recipient: str, relay: bool, action: str) -> None:
    request = {"client_address": client, "sender": sender, "recipient": recipient}
    assert policy.decide(request, CLIENTS, POOL, relay) == action


def test_it_reads_the_table_anew_for_each_request(tmp_path: Path) -> None:
    table = tmp_path / "table"
    with sqlite3.connect(table) as rows:
        rows.execute("CREATE TABLE domains (domain, address)")
    command = [sys.executable, "-I", policy.__file__, str(table), str(POOL)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asked:
        assert asked.stdin and asked.stdout

        def answer() -> str:
            asked.stdin.write(f"client_address={OUT}\nsender=x@out.org\nrecipient=ada@alpha.test\n\n")
            asked.stdin.flush()
            return asked.stdout.readline() + asked.stdout.readline()

        assert answer() == f"action={policy.NOT_OURS}\n\n"
        with sqlite3.connect(table) as rows:
            rows.execute("INSERT INTO domains VALUES ('alpha.test', '10.77.16.2')")
        assert answer() == f"action={policy.KNOWN_THERE}\n\n"
        asked.stdin.close()
