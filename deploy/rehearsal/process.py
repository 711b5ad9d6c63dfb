"""Processes that a rehearsal or a test starts, stops, freezes, kills and starts again; and the folders that they live in."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from deploy.rehearsal import guardian


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Poll until the condition holds; TimeoutError naming what was waited for."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what} did not happen within {seconds:g} s")
        pause.wait(0.02)


def free_port() -> int:
    """A TCP port of the loopback that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A private folder with a short path, for the paths of UNIX sockets are short."""
    folder = Path(tempfile.mkdtemp(prefix="placo-t-"))
    guardian.folder_made(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        guardian.folder_removed(folder)


class Server:
    """One process (the head of a group of its own). `answers` says whether it can be used.

    `farewell` is the signal that stops it; it also gets this one when the process that started it dies.
    """

    def __init__(
        self,
        command: Sequence[str],
        answers: Callable[[], bool],
        log: Path,
        *,
        farewell: signal.Signals = signal.SIGTERM,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        patience_s: float = 10.0,
    ) -> None:
        self._command = list(command)
        self._answers = answers
        self._log = log
        self._farewell = farewell
        self._environment = dict(environment) if environment is not None else None
        self._folder = folder
        self._patience_s = patience_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs; RuntimeError when none does."""
        if self._process is None:
            raise RuntimeError(f"{self._command[0]} does not run")
        return self._process.pid

    @property
    def ended(self) -> bool:
        """It was started, nobody stopped it, and it runs no more."""
        return self._process is not None and self._process.poll() is not None

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it answers."""
        if self._process is not None and self.ended:
            guardian.process_ended(self._process.pid)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
            )
        guardian.process_began(self._process.pid, self._farewell)
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it answers; RuntimeError with the end of its log when it has ended instead."""

        def ready() -> bool:
            if self._process is not None and self._process.poll() is not None:
                said = self._log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{' '.join(self._command)} ended with {self._process.returncode}: {said}")
            return self._answers()

        wait_for(ready, f"{self._command[0]} answering", self._patience_s)

    def stop(self, number: signal.Signals | None = None) -> None:
        """End it by its farewell, or by another signal; it is gone afterwards."""
        if self._process is None:
            return
        process, self._process = self._process, None
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number or self._farewell)
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        guardian.process_ended(process.pid)

    def kill(self) -> None:
        """As the kernel does when memory is short: no farewell."""
        self.stop(signal.SIGKILL)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Down in the block, up after it."""
        self.stop()
        yield
        self.start()

    @contextlib.contextmanager
    def frozen(self, *, wait: bool = True) -> Iterator[None]:
        """There, but saying nothing; as if nothing had been afterwards. Its threads stop a moment later than they are told to."""
        os.kill(self.pid, signal.SIGSTOP)
        tasks = Path(f"/proc/{self.pid}/task")
        try:
            if wait:
                wait_for(lambda: all(_state(task) == "T" for task in tasks.iterdir()), "freezing")
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


def _state(task: Path) -> str:
    """A thread's state as in proc(5): T is stopped."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]
