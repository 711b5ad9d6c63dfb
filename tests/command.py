"""The `placo` command as a person runs it, in this process, against any portal."""

from __future__ import annotations

import io
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from placo.cli import client, follow, main


@dataclass(frozen=True)
class Result:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


class Command:
    """`placo(*arguments)`; `home` is where its configuration goes."""

    def __init__(
        self,
        transport: httpx.BaseTransport,
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.home = home
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.delenv("PLACO_PORTAL", raising=False)
        monkeypatch.setattr(follow, "EVERY_S", 0.0)
        monkeypatch.setattr(
            logging, "raiseExceptions", False
        )  # the portal's log may go to an older, closed capture
        made = httpx.Client

        def over_transport(**options: Any) -> httpx.Client:
            return made(**{**options, "transport": transport})

        monkeypatch.setattr(client.httpx, "Client", over_transport)

    @property
    def token_file(self) -> Path:
        """Where the login is kept."""
        return self.home / "placo" / "token.json"

    def logged_in(self, uid: str, token: str) -> None:
        """As after `placo login`."""
        client.keep_login(client.Login("http://127.0.0.1:8000", uid, token))

    def __call__(self, *arguments: str, typed: str = "") -> Result:
        """Run it with these arguments, `typed` on standard input."""
        self._monkeypatch.setattr(sys, "argv", ["placo", *arguments])
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._capsys.readouterr()
        code = ended.value.code
        return Result(code if isinstance(code, int) else int(code is not None), printed.out, printed.err)
