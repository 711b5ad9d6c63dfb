"""Doing things inside a guest and on its host, as root of the lab may: through the guest agent and the host's namespace."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import tomllib
from dataclasses import dataclass
from typing import Any

from deploy.client import Lab, wait_for


@dataclass(frozen=True)
class Output:
    """What a command left: its exit status and what it printed."""

    status: int
    text: str


@dataclass(frozen=True)
class Guest:
    """One running machine; `namespace` is its host's, `uri` the host's libvirt."""

    domain: str
    uri: str
    namespace: str

    def _agent(self, command: str, **arguments: Any) -> Any:
        """The agent starts after the services: right after a boot it has to be waited for."""
        return wait_for(lambda: self._asked(command, arguments), 120, f"the agent of {self.domain}")["return"]

    def _asked(self, command: str, arguments: dict[str, Any]) -> Any:
        text = json.dumps({"execute": command, "arguments": arguments})
        answer = subprocess.run(
            ["virsh", "-c", self.uri, "qemu-agent-command", self.domain, text],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if answer.returncode and "agent" not in answer.stderr:
            raise RuntimeError(answer.stderr)
        return json.loads(answer.stdout) if answer.returncode == 0 else None

    def run(self, script: str, timeout_s: float = 90) -> Output:
        """Run a bash script as root in the guest."""
        pid = self._agent("guest-exec", path="/bin/bash", arg=["-c", script], **{"capture-output": True})[
            "pid"
        ]

        def ended() -> Any:
            state = self._agent("guest-exec-status", pid=pid)
            return state if state["exited"] else None

        state = wait_for(ended, timeout_s, f"a script in {self.domain}")
        out = base64.b64decode(state.get("out-data", "")) + base64.b64decode(state.get("err-data", ""))
        return Output(state.get("exitcode", -1), out.decode(errors="replace"))

    def boot_id(self) -> str | None:
        """Which boot this is; None while the guest is not up. Never waits."""
        opened = self._asked("guest-file-open", {"path": "/proc/sys/kernel/random/boot_id", "mode": "r"})
        if opened is None:
            return None
        read = self._asked("guest-file-read", {"handle": opened["return"], "count": 100})
        return base64.b64decode(read["return"]["buf-b64"]).decode() if read else None

    def reaches(self, address: str, port: int) -> bool:
        """Whether anything at all answers at this TCP address: a refusal is an answer too."""
        script = f"timeout 4 bash -c 'exec 3<>/dev/tcp/{address}/{port}'; echo status=$?"
        text = self.run(script).text
        assert "status=" in text, text
        return "status=0" in text or "refused" in text.lower()

    def on_host(self, *command: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in the network namespace of the guest's host."""
        return subprocess.run(
            ["ip", "netns", "exec", self.namespace, *command],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def guest(lab: Lab, slug: str, machine: dict[str, Any]) -> Guest:
    """The guest behind a machine as the API describes it."""
    config = tomllib.loads((lab.root / "placo.toml").read_text())
    host = next(h for h in config["hosts"] if h["name"] == machine["host"])
    namespace = f"{portal_namespace(lab)}-{machine['host']}"
    return Guest(f"placo-{slug}-{machine['name']}", host["uri"], namespace)


def portal_namespace(lab: Lab) -> str:
    """The namespace of the lab's portal."""
    return f"placo-{hashlib.sha256(str(lab.root.resolve()).encode()).hexdigest()[:6]}"
