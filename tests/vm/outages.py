"""Servers of the lab that die at a chosen moment: while a worker is in the middle of a named step.

A step's claim and its result are both written under the lock of its run's row. Who holds that lock and sees the step claimed
knows that its result is not written, and will not be before the lock is given back: that is the middle of a step.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from deploy.client import Lab, wait_for
from deploy.lab import layout, processes, programs, report
from deploy.lab.supervise import Supervisor

BACK_S = 40
"""How long the supervisor and a server may take until it is back."""
PATIENCE_S = 90
"""How long a step may take until its turn has come."""


class Servers:
    """The lab's programs, by the names that its supervisor has for them."""

    def __init__(self, lab: Lab) -> None:
        self.here = layout.Lab.at(lab.root)
        self._supervisor = Supervisor(self.here)

    def pid(self, name: str) -> int | None:
        """The process that the supervisor started, if it runs."""
        rows = {row.name: row for row in self._supervisor.rows()}
        return rows[name].pid if rows[name].state == "RUNNING" else None

    def running(self, name: str) -> int:
        """The same, waited for."""
        return wait_for(lambda: self.pid(name), BACK_S, f"{name} to run", every_s=0.05)

    def strike(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a program by a signal to its first process; returns when the supervisor has started another one."""
        old = self.running(name)
        os.kill(old, number)
        self._await_another(name, old)

    def strike_group(self, name: str) -> None:
        """SIGKILL for all processes of a program at once."""
        old = self.running(name)
        os.killpg(int(processes.group_file(self.here, name).read_text()), signal.SIGKILL)
        self._await_another(name, old)

    def _await_another(self, name: str, old: int) -> None:
        wait_for(lambda: self.pid(name) not in (None, old), BACK_S, f"another {name}", every_s=0.05)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """A program that takes connections (its kernel does) and answers nobody; it goes on afterwards, if it still lives."""
        pid = self.running(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def go_on(self, name: str) -> None:
        """A frozen program goes on before its time."""
        os.kill(self.running(name), signal.SIGCONT)

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """A program that is not there meanwhile."""
        self._supervisor.stop([name])
        try:
            yield
        finally:
            every = programs.all_of(self.here, report.known_state(self.here), ())
            self._supervisor.start([program for program in every if program.name == name])
            self.running(name)

    def flush_redis(self) -> None:
        """Forget everything that Redis has."""
        command = ["redis-cli", "-s", str(self.here.redis_socket), "FLUSHALL"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "OK"

    def guests(self, slug: str) -> dict[str, list[int]]:
        """Domain -> the processes that are it, of a platform's machines."""
        found: dict[str, list[int]] = {}
        for process in processes.of_lab(self.here):
            if process.is_guest:
                line = Path(f"/proc/{process.pid}/cmdline").read_text()
                name = line.partition("guest=")[2].partition(",")[0]
                if name.startswith(f"placo-{slug}-"):
                    found.setdefault(name, []).append(process.pid)
        return found


class Journal:
    """The lab's own database: what its workers write."""

    def __init__(self, lab: Lab) -> None:
        database = tomllib.loads((lab.root / "placo.toml").read_text())["database"]
        self._words = {"host": database["host"], "dbname": database["name"], "user": database["user"]}

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query; none for a command."""
        with self._connected() as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def _connected(self) -> psycopg.Connection[Any]:
        """PostgreSQL may have to come back first."""

        def connected() -> psycopg.Connection[Any] | None:
            with suppress(psycopg.OperationalError):
                return psycopg.connect(**self._words)
            return None

        return wait_for(connected, BACK_S, "PostgreSQL", every_s=0.05)

    @contextmanager
    def middle_of(
        self, run_id: int, *steps: str, until: Callable[[], object] | None = None
    ) -> Iterator[None]:
        """While this lasts a worker is in the middle of one of the steps: claimed, and its result not written.

        Looks every millisecond or so: what is named in one call after the other has to depend on one another. A step that is
        over in no time may be missed on a busy machine: several that come together are not all missed.
        `until`: begin only when this shows that the effect has come so far. AssertionError if all ended unseen.
        """
        connection = self._connected()
        try:
            end = time.monotonic() + PATIENCE_S
            while not self._claimed(connection, run_id, steps):
                connection.rollback()
                assert time.monotonic() < end, f"{steps} were not begun"
                time.sleep(0.001)
            if until is not None:
                wait_for(until, PATIENCE_S, f"the effect of {steps}", every_s=0.005)
            yield
        finally:
            connection.close()  # gives the lock back, also when PostgreSQL is what died

    def _claimed(self, connection: psycopg.Connection[Any], run_id: int, steps: tuple[str, ...]) -> bool:
        connection.execute("SELECT 1 FROM platforms_run WHERE id = %s FOR UPDATE", [run_id])
        query = "SELECT state, fence IS NOT NULL AND lease_until > now() FROM platforms_step WHERE run_id = %s AND name = ANY(%s)"
        rows = connection.execute(query, [run_id, list(steps)]).fetchall()
        assert len(rows) == len(steps), f"run {run_id} has not all of {steps}"
        assert {state for state, _ in rows} - {"done", "undone"}, f"{steps} ended before they were caught"
        return any(claimed for _, claimed in rows)

    def end_leases(self, run_id: int) -> None:
        """What time does after a worker's death: nobody holds a step any more."""
        self.ask(
            "UPDATE platforms_step SET lease_until = now() WHERE lease_until IS NOT NULL AND run_id = %s",
            run_id,
        )
        self.ask("UPDATE platforms_run SET due_at = now() WHERE ended_at IS NULL AND id = %s", run_id)

    def attempts(self, run_id: int, step: str) -> int:
        """How often a step was begun."""
        query = "SELECT attempts FROM platforms_step WHERE run_id = %s AND name = %s"
        return int(self.ask(query, run_id, step)[0][0])

    def endings(self, run_id: int) -> dict[str, int]:
        """Step -> how often the journal has it as done."""
        query = """SELECT s.name, count(j.id) FROM platforms_step s LEFT JOIN platforms_journalentry j
            ON j.step_id = s.id AND j.event = 'done' WHERE s.run_id = %s GROUP BY s.name"""
        return dict(self.ask(query, run_id))
