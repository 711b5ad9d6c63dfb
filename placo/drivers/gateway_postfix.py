"""The mail gateway on Postfix: one table in an SQLite file, which Postfix asks for each mail (sqlite_table(5)).

So nothing has to be running for a change, none is ever half made, and each is in force with the next mail: Postfix's other kinds
of tables are read anew some seconds after they have changed, and a platform that is just made would be unknown until then.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import astuple
from pathlib import Path
from urllib.parse import quote

from placo.drivers.checks import dns_label, mail_domains, platform_uuid
from placo.drivers.ports import DriverError, MailDomain, Rejected

TABLE = "platforms.sqlite"
QUEUES = ("maildrop", "incoming", "active", "deferred", "hold")
"""The folders of Postfix's queue in which mails wait, one a file (qmgr(8))."""
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS domains (domain TEXT PRIMARY KEY, address TEXT NOT NULL, port INTEGER NOT NULL,"
    " upstream_name TEXT NOT NULL, slug TEXT NOT NULL, uuid TEXT NOT NULL)"
)
_ANSWER_TIMEOUT_S = 3.0
_LOCK_TIMEOUT_S = 20.0


class PostfixGateway:
    """`ports.MailGateway`; safe from several threads and processes. `tables` and `queue` are folders."""

    def __init__(self, *, tables: Path, queue: Path, address: str, port: int) -> None:
        self._file = tables / TABLE
        self._queue = queue
        self._where = (address, port)

    def prepare(self) -> None:
        """The table, empty: before Postfix's first start. One that is there stays as it is."""
        with self._changing():
            pass

    def answers(self) -> bool:
        try:
            with socket.create_connection(self._where, timeout=_ANSWER_TIMEOUT_S) as connection:
                return connection.recv(64).startswith(b"220")
        except OSError:
            return False

    def queued(self) -> int | None:
        """Some of the folders are split into folders by the first digit of the mail's id."""
        if not os.access(self._queue / QUEUES[-1], os.R_OK | os.X_OK):
            return None
        return sum(len(files) for name in QUEUES for _, _, files in os.walk(self._queue / name))

    def ensure_domains(self, slug: str, uuid: str, domains: Iterable[MailDomain]) -> None:
        wanted = {(*astuple(domain), slug, platform_uuid(uuid)) for domain in mail_domains(slug, domains)}
        with self._changing() as table:
            rows = set(table.execute("SELECT * FROM domains WHERE slug = ?", (slug,)))
            others = {row[5] for row in rows} - {uuid}
            if others and wanted:
                raise Rejected(
                    f"the mail gateway already knows {slug!r} as another platform ({others.pop()})"
                )
            own = {row for row in rows if row[5] == uuid}
            table.executemany("DELETE FROM domains WHERE domain = ?", [(row[0],) for row in own - wanted])
            try:
                table.executemany("INSERT INTO domains VALUES (?, ?, ?, ?, ?, ?)", sorted(wanted - own))
            except sqlite3.IntegrityError as error:
                raise Rejected(f"a mail domain of {slug} is another platform's already: {error}") from error

    def remove_domains(self, slug: str, uuid: str) -> None:
        dns_label(slug, "slug")
        with self._changing() as table:
            table.execute("DELETE FROM domains WHERE slug = ? AND uuid = ?", (slug, uuid))

    def domains(self) -> Mapping[str, str]:
        with self._changing() as table:
            return dict(table.execute("SELECT DISTINCT slug, uuid FROM domains ORDER BY slug"))

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"file:{quote(str(self._file))}?mode={mode}"
        return sqlite3.connect(uri, uri=True, timeout=_LOCK_TIMEOUT_S, isolation_level=None)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: everything or nothing, also after a power cut.

        With a write-ahead log (https://www.sqlite.org/wal.html), for Postfix waits for nobody: a look at a table that is being
        written to, without one, is an error to it, and mails wait a minute.
        """
        try:
            self._file.touch()
            # No secret; Postfix reads it as a user of its own, and the files of its log, which get the same rights.
            self._file.chmod(0o644)
            with closing(self._connect("ro")) as reader, closing(self._connect("rw")) as table:
                table.execute("PRAGMA journal_mode = WAL")
                table.execute(_SCHEMA)
                # Who may write removes the log when it is the last to go, and Postfix cannot make another: a reader goes last.
                reader.execute("SELECT COUNT(*) FROM domains").fetchone()
                table.execute("BEGIN IMMEDIATE")
                try:
                    yield table
                except BaseException:
                    table.execute("ROLLBACK")
                    raise
                table.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise DriverError(f"the mail gateway's table cannot be used: {error}") from error
