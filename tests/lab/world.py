"""What the machine looks like around a lab: enough to tell whether a lab left something behind."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.lab import network, processes
from deploy.lab.layout import REPOSITORY, Lab
from deploy.lab.supervise import Row, Supervisor

#: A network and a machine with nothing in it: what libvirt needs to run a guest, without an image.
NETWORK_XML = """
<network>
  <name>{name}</name>
  <forward mode='open'/>
  <bridge name='{bridge}' stp='off' delay='0'/>
  <ip address='10.77.16.1' prefix='28'>
    <dhcp><host mac='52:54:00:77:16:02' name='empty' ip='10.77.16.2'/></dhcp>
  </ip>
</network>
"""
GUEST_XML = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os>
  <devices>
    <interface type='network'>
      <mac address='52:54:00:77:16:02'/>
      <source network='{network}'/>
      <model type='virtio'/>
      <filterref filter='clean-traffic'><parameter name='IP' value='10.77.16.2'/></filterref>
    </interface>
  </devices>
</domain>
"""


@dataclass(frozen=True)
class Done:
    """A finished command: exit status and everything it printed."""

    status: int
    output: str


def lab_command(lab: Lab, verb: str, *words: str) -> Done:
    """Run a verb the way people do."""
    command = [sys.executable, "-m", "deploy.lab", verb, "--root", str(lab.root), *words]
    return _run(command)


def start_lab_command(lab: Lab, verb: str, *words: str) -> subprocess.Popen[bytes]:
    """The same, not waited for; its words go to the lab's folder."""
    command = [sys.executable, "-m", "deploy.lab", verb, "--root", str(lab.root), *words]
    lab.root.mkdir(parents=True, exist_ok=True)
    with (lab.root / "started.log").open("ab") as said:
        return subprocess.Popen(command, stdout=said, stderr=said, cwd=REPOSITORY)


def inside(namespace: str, *command: str, env: dict[str, str] | None = None) -> Done:
    """Run a command in a network namespace."""
    return _run(["ip", "netns", "exec", namespace, *command], env=env)


def virsh(lab: Lab, *words: str) -> Done:
    """virsh on the lab's first host."""
    return _run(["virsh", "-q", "-c", lab.hosts[0].uri, *words])


def _run(command: list[str], env: dict[str, str] | None = None) -> Done:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=REPOSITORY, timeout=180, env=env, check=False
    )
    return Done(done.returncode, done.stdout + done.stderr)


def rows(lab: Lab) -> dict[str, Row]:
    """What the lab's supervisord says of each program."""
    return {row.name: row for row in Supervisor(lab).rows()}


def guests(lab: Lab) -> list[int]:
    """Pids of the lab's virtual machines."""
    return [process.pid for process in processes.of_lab(lab) if process.is_guest]


def traces(lab: Lab) -> dict[str, list[str]]:
    """Everything of one lab that the kernel or /run knows; all lists are empty for a lab that is down."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return {
        "processes": [f"{process.pid} {process.name}" for process in processes.of_lab(lab)],
        "namespaces": [name for name in lab.namespaces if network.namespace_file(name).exists()],
        "mounts": [line for line in mounts if lab.namespace in line or f" {lab.root}" in line],
        "run": [path.name for path in Path("/run").iterdir() if path.name.startswith(lab.namespace)],
        "sockets": [
            line for line in Path("/proc/net/unix").read_text().splitlines() if lab.namespace in line
        ],
        "loops": [line for line in _loop_devices() if f" {lab.root}/" in line],
    }


def _loop_devices() -> list[str]:
    return _run(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE"]).output.splitlines()


def links() -> set[str]:
    """The network links and addresses of the machine's own namespace."""
    described = json.loads(_run(["ip", "-json", "address", "show"]).output)
    return {
        f"{link['ifname']} {address.get('local')}"
        for link in described
        for address in link["addr_info"] or [{}]
    }
