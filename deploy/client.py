"""A lab as its users see it: the portal's API, the public addresses at the edge, and Subversion. For the demo and tests."""

from __future__ import annotations

import json
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

T = TypeVar("T")


@dataclass(frozen=True)
class Account:
    """Somebody of the lab's directory."""

    uid: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Lab:
    """What `credentials.json` says."""

    root: Path
    portal: str
    edge: str
    ca: Path
    project: str
    accounts: dict[str, Account]

    @classmethod
    def read(cls, root: Path) -> Lab:
        """The lab below this folder; FileNotFoundError if there is none."""
        data = json.loads((root / "credentials.json").read_text())
        accounts = {role: Account(a["uid"], a["password"]) for role, a in data["accounts"].items()}
        return cls(root, data["portal"], data["edge"], Path(data["ca"]), data["project"], accounts)

    def api(self, role: str) -> Api:
        """The API, logged in as one of the accounts."""
        return Api(self.portal, self.accounts[role])

    def get(self, url: str, role: str | None = None, **options: Any) -> httpx.Response:
        """GET a public address through the edge, checking its certificate; `*.localhost` needs no resolver here."""
        return self.request("GET", url, role, **options)

    def request(
        self,
        method: str,
        url: str,
        role: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """The same with any method; `auth` among the options replaces the account of `role`."""
        with self.visitor(url, role) as client:
            return client.request(method, httpx.URL(url).raw_path.decode(), headers=headers, **options)

    @contextmanager
    def visitor(self, url: str, role: str | None = None) -> Iterator[httpx.Client]:
        """Somebody who stays at the public address of `url`, with cookies, and asks for paths there."""
        target = httpx.URL(url)
        host, _, port = self.edge.partition(":")

        def name(request: httpx.Request) -> None:
            request.extensions["sni_hostname"] = target.host

        with httpx.Client(
            base_url=target.copy_with(host=host, port=int(port), raw_path=b"/"),
            headers={"Host": f"{target.host}:{port}"},
            verify=ssl.create_default_context(cafile=str(self.ca)),
            auth=(self.accounts[role].uid, self.accounts[role].password) if role else None,
            event_hooks={"request": [name]},
            timeout=60,
            trust_env=False,
        ) as client:
            yield client


class Api:
    """`/api/v1` with a bearer token of its own."""

    def __init__(self, portal: str, account: Account) -> None:
        self.account = account
        self.client = httpx.Client(base_url=f"{portal}/api/v1", timeout=30, trust_env=False)
        answer = self.client.post("/tokens", auth=(account.uid, account.password))
        answer.raise_for_status()
        self.client.headers["Authorization"] = f"Bearer {answer.json()['token']}"

    def __call__(self, method: str, path: str, **json_body: Any) -> Any:
        """The JSON of a successful answer; RuntimeError with the problem document otherwise."""
        answer = self.client.request(method, path, json=json_body or None)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def status(self, method: str, path: str, **json_body: Any) -> int:
        """The HTTP status alone."""
        return self.client.request(method, path, json=json_body or None).status_code

    def wait_for_run(
        self, run_id: int, timeout_s: float = 600, seen: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Follow a run to its end; TimeoutError if it takes too long, RuntimeError if it is stuck."""

        def ended() -> dict[str, Any] | None:
            run: dict[str, Any] = self("GET", f"/runs/{run_id}")
            if seen:
                seen(run)
            if run["state"] == "stuck":
                raise RuntimeError(f"run {run_id} is stuck: {[s for s in run['steps'] if s['error']]}")
            return run if run["state"] in ("done", "undone") else None

        return wait_for(ended, timeout_s, f"run {run_id} to end")

    def wait_for_templates(
        self,
        timeout_s: float,
        seen: Callable[[int, int], None] | None = None,
        machines: Collection[str] | None = None,
    ) -> tuple[int, int]:
        """Until every host's templates are ready, or nobody is making them: how many are, of how many. Administrators only.

        `machines`: only the templates of these kinds; a host makes those first that open requests are about. `seen` is called with these two numbers each time they are asked for. TimeoutError if it takes too long.
        """

        def settled() -> tuple[int, int] | None:
            states = template_states(self("GET", "/hosts"), machines)
            ready = states.count("ready")
            if seen:
                seen(ready, len(states))
            return None if UNSETTLED & set(states) else (ready, len(states))

        return wait_for(settled, timeout_s, "the hosts' templates", every_s=1)


UNSETTLED = {"planned", "making", "broken"}
"""States of templates that are, or will soon be, being made; a failed one is tried again only after minutes."""


def template_states(hosts: list[dict[str, Any]], machines: Collection[str] | None = None) -> list[str]:
    """The states of the templates that the hosts are to have, of these kinds of machine or of all."""
    usable = [host for host in hosts if host["warm"] and host["enabled"] and host["reachable"]]
    templates = [template for host in usable for template in host["templates"]]
    return [t["state"] for t in templates if machines is None or t["machine"] in machines]


def wait_for(look: Callable[[], T | None], timeout_s: float, what: str, every_s: float = 0.5) -> T:
    """Look again and again until there is something; TimeoutError naming what was waited for."""
    end = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(every_s)


@contextmanager
def name_resolution(names: list[str]) -> Iterator[list[str]]:
    """A command prefix under which `names` are this machine: glibc does not resolve `*.localhost` by itself."""
    with tempfile.NamedTemporaryFile("w", suffix=".hosts") as hosts:
        hosts.write("127.0.0.1 localhost " + " ".join(names) + "\n")
        hosts.flush()
        bind = 'mount --bind "$0" /etc/hosts && exec "$@"'
        yield ["unshare", "--mount", "sh", "-c", bind, hosts.name]


def svn(lab: Lab, role: str, url: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Subversion's client in `folder` on the repository at `url`; the password goes through standard input."""
    account = lab.accounts[role]
    options = [
        "--non-interactive",
        "--no-auth-cache",
        "--username",
        account.uid,
        "--password-from-stdin",
        "--config-dir",
        str(folder / ".svn-config"),
        "--config-option",
        f"servers:global:ssl-authority-files={lab.ca}",
    ]
    with name_resolution([httpx.URL(url).host]) as prefix:
        return subprocess.run(
            [*prefix, "svn", *arguments, *options],
            input=account.password,
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=120,
            check=False,
        )
