"""What only a real Postfix can show of the mail gateway: who may send what to whom, and what becomes of it."""

from __future__ import annotations

import contextlib
import pwd
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.rehearsal.process import short_folder, wait_for
from placo.drivers.gateway_postfix import TABLE, PostfixGateway
from placo.drivers.ports import MailDomain
from tests.contract.gateways import (
    ALPHA,
    BETA,
    FOREIGNER,
    MACHINE_A,
    MACHINE_B,
    OUTSIDE,
    PATIENCE_S,
    STRANGER,
    A,
    B,
    MailMachine,
    PostfixOutside,
    domain_of,
)

pytest_plugins = ("tests.contract.gateways",)

ADA, SOMEBODY = f"ada@{ALPHA}", f"somebody@{OUTSIDE}"


@pytest.fixture
def two(postfix_world: PostfixOutside) -> PostfixOutside:
    """Platforms alpha and beta, each with a machine."""
    postfix_world.gateway.ensure_domains("alpha", A, [domain_of(postfix_world)])
    postfix_world.gateway.ensure_domains("beta", B, [domain_of(postfix_world, BETA)])
    return postfix_world


def _arrives(machine: MailMachine, words: str) -> str:
    wait_for(lambda: any(words in mail for mail in machine.taken), f"{words!r} to arrive", PATIENCE_S)
    return next(mail for mail in machine.taken if words in mail)


def test_mail_from_outside_and_from_another_platform_arrives(two: PostfixOutside) -> None:
    assert two.refusal(ADA, text="Subject: from outside\n\ny\n") == ""
    assert _arrives(two.a, "Subject: from outside").startswith("Received: from")
    assert two.refusal(f"emmy@{BETA}", ADA, MACHINE_A, "Subject: from alpha\n\ny\n") == ""
    _arrives(two.b, "Subject: from alpha")
    assert not any("from alpha" in mail for mail in two.a.taken)


@pytest.mark.parametrize(
    ("to", "sender", "client", "why"),
    [
        (f"x@{OUTSIDE}", SOMEBODY, FOREIGNER, "554"),
        (f"ada%{OUTSIDE}@{OUTSIDE}", SOMEBODY, FOREIGNER, "554"),
        (f'"x@{OUTSIDE}"@gateway.placo.internal', SOMEBODY, FOREIGNER, "554"),
        (f"@{ALPHA}:x@{OUTSIDE}", SOMEBODY, FOREIGNER, "554"),
        (f"ada@sub.{ALPHA}", SOMEBODY, FOREIGNER, "554"),
        (ADA, f"emmy@{BETA}", FOREIGNER, "553"),
        (ADA, f"emmy@{ALPHA.upper()}", FOREIGNER, "553"),
        (ADA, f"emmy@{ALPHA}", MACHINE_B, "553"),
        (ADA, SOMEBODY, MACHINE_B, "553"),
        (f"x@{OUTSIDE}", f"emmy@{BETA}", MACHINE_B, "550"),
        (ADA, f"emmy@{BETA}", "127.0.1.77", "550"),
        (ADA, "", "127.0.1.77", "550"),
        (f"nobody@{ALPHA}", SOMEBODY, FOREIGNER, "550"),
        (f"nobody@{BETA}", ADA, MACHINE_A, "550"),
        (f"{'a' * 5000}@{ALPHA}", SOMEBODY, FOREIGNER, "5"),
        ("ada", SOMEBODY, FOREIGNER, "5"),
    ],
)
def test_what_is_refused_at_the_door(
    two: PostfixOutside, to: str, sender: str, client: str, why: str
) -> None:
    assert two.refusal(to, sender, client).startswith(why)
    assert two.a.taken == two.b.taken == []


def test_a_bounce_of_a_machine_has_no_sender(two: PostfixOutside) -> None:
    assert two.refusal(f"emmy@{BETA}", "", MACHINE_A) == ""
    _arrives(two.b, "Subject: x")


def test_a_mail_that_is_too_large_is_refused(two: PostfixOutside) -> None:
    assert two.refusal(ADA, text="Subject: large\n\n" + "x" * 80 * 400_000).startswith("552")


def test_a_machine_that_is_down_gets_its_mail_when_it_is_back(two: PostfixOutside) -> None:
    assert two.refusal(ADA) == ""
    _arrives(two.a, "Subject: x")
    two.a.stop()
    assert two.refusal(ADA, text="Subject: while you were away\n\ny\n") == ""
    assert two.refusal(f"emmy@{ALPHA}").startswith("450"), "whether she is there cannot be asked"
    wait_for(lambda: two.gateway.queued() == 1, "the mail to wait", PATIENCE_S)
    with two.server.stopped():
        assert two.gateway.queued() == 1
    two.a.start()
    wait_for(
        lambda: any("while you were away" in mail for mail in two.a.taken),
        "the mail to arrive",
        3 * PATIENCE_S,
    )


def test_mail_goes_to_no_machine_with_another_certificate(two: PostfixOutside) -> None:
    impostor = MailMachine("127.0.1.3", two.folder, root=STRANGER)
    misnamed = MailMachine("127.0.1.4", two.folder, name="mail.beta.placo.internal")
    for number, machine in enumerate((impostor, misnamed)):
        domain = domain_of(two, f"gamma{number}.placo.localhost")
        wrong = type(domain)(domain.domain, machine.address, machine.port, domain.upstream_name)
        two.gateway.ensure_domains(f"gamma{number}", A, [wrong])
        assert two.refusal(f"ada@{wrong.domain}").startswith("450")
        assert machine.taken == []
        machine.stop()


@pytest.fixture
def strict() -> Iterator[PostfixOutside]:
    """A gateway that takes three mails a minute from each client."""
    with short_folder() as folder:
        world = PostfixOutside(folder, messages_a_minute=3)
        world.gateway.ensure_domains("alpha", A, [domain_of(world)])
        yield world
        world.stop()


def test_who_sends_too_much_has_to_wait_and_nobody_else(strict: PostfixOutside) -> None:
    said = [strict.refusal(ADA, text=f"Subject: bomb {number}\n\ny\n") for number in range(5)]
    assert said[:3] == ["", "", ""] and said[3].startswith("45") and said[4].startswith("45")
    assert strict.refusal(ADA, client="127.0.0.9") == ""
    assert len(strict.a.taken) <= 4


def _looks(table: Path, uid: int) -> subprocess.CompletedProcess[str]:
    """What somebody finds in the table who waits for nobody and may write nothing."""
    look = (
        "import sqlite3, sys;"
        "table = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True, timeout=0);"
        "print(*sorted(row[0] for row in table.execute('SELECT domain FROM domains')))"
    )
    python = Path(sys.base_prefix, "bin/python3")  # everybody may run the system's
    return subprocess.run(
        [python, "-c", look, table], check=False, capture_output=True, text=True, user=uid, cwd="/"
    )


def test_who_looks_at_the_table_while_it_changes_waits_for_nobody(tmp_path: Path) -> None:
    """Postfix takes a locked table for a broken one: mails would wait a minute."""
    with short_folder() as folder:
        folder.chmod(0o755)
        gateway = PostfixGateway(tables=folder, queue=tmp_path, address="127.0.0.1", port=1)
        gateway.ensure_domains("alpha", A, [MailDomain(ALPHA, "127.0.1.1", 25, "mail.alpha.internal")])
        postfix, table = pwd.getpwnam("postfix").pw_uid, folder / TABLE
        found = _looks(table, postfix)
        assert (found.stdout.split(), found.stderr) == ([ALPHA], "")
        with contextlib.closing(sqlite3.connect(f"file:{table}?mode=ro", uri=True)) as reader:
            looking = reader.execute("SELECT domain FROM domains UNION ALL SELECT 'more'")
            assert looking.fetchone() == (ALPHA,)
            gateway.ensure_domains("beta", B, [MailDomain(BETA, "127.0.1.2", 25, "mail.beta.internal")])
            found = _looks(table, postfix)
            assert (found.stdout.split(), found.stderr) == ([ALPHA, BETA], "")
        gateway.remove_domains("alpha", A)
        assert _looks(table, postfix).stdout.split() == [BETA]
