"""Clones of a host's templates, made with the drivers alone: many at once, each on a network of its own, and what they are."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from uuid import uuid4

from deploy.client import wait_for
from placo import wiring
from placo.domain.plan import Placement, Plan, PlannedMachine, make_plan, subnet_of
from placo.drivers.ports import DomainSpec, Hypervisor, Lease, NetworkSpec
from placo.services import seeds, templates

AT_ONCE = 3
FACTS = """
cat /etc/machine-id; sha256sum < /etc/ssh/ssh_host_ed25519_key; sha256sum < /etc/placo/tls/key.pem
sha256sum < /etc/placo/members.conf; cat /sys/class/net/eth0/address; busybox ip -4 -o addr show eth0 | awk '{print $4}'
blkid -s UUID -o value /dev/vdb; cat /proc/sys/kernel/hostname
"""
SESSION = """
import socket, ssl, sys, time
context = ssl.create_default_context(cafile=sys.argv[1])
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.check_hostname = False
def ask(address, name, session):
    with socket.create_connection((address, 443), 20) as plain:
        with context.wrap_socket(plain, server_hostname=name, session=session) as wire:
            wire.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            wire.recv(100)
            return wire.session, wire.session_reused
def patiently(*words):
    end = time.monotonic() + 30
    while True:  # Apache may be reading its settings still
        try:
            return ask(*words)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
session, _ = patiently(*sys.argv[2:4], None)
patiently(*sys.argv[4:6], None)
print(ask(*sys.argv[4:6], session)[1])
"""
NAMES = (
    "machine id",
    "SSH key",
    "TLS key",
    "secret",
    "MAC (the DHCP client's id)",
    "address",
    "data volume's UUID",
)
"""What two clones never share, in the order of FACTS; random bytes come on top."""


@dataclass(frozen=True)
class Clone:
    """One clone: its plan is that of a platform with a web site, which nobody asked for."""

    plan: Plan
    machine: PlannedMachine

    @property
    def spec(self) -> DomainSpec:
        """As its host shall see it."""
        m = self.machine
        return DomainSpec(
            name=m.domain,
            uuid=m.uuid,
            title=m.domain,
            memory_mib=m.memory_mib,
            vcpus=m.vcpus,
            image=m.image,
            system_volume=m.system_volume,
            data_volume=m.data_volume,
            seed_volume=None,
            network=self.plan.network.name,
            mac=m.mac,
            address=m.address,
            platform_uuid=self.plan.uuid,
        )


class Nursery:
    """Makes clones on one host of the lab, from the end of its pool of addresses, and takes all of them away again."""

    def __init__(self, host_name: str) -> None:
        host = next(h for h in wiring.site().hosts if h.name == host_name)
        self.uri = host.uri
        self.hypervisor: Hypervisor = wiring.hypervisor(
            host.name, host.uri, host.storage_pool, host.domain_type
        )
        self.prefix = f"placo-clones--{uuid4().hex[:6]}"
        self.made: list[Clone] = []
        self.image = wiring.images().name_for("www")
        self.template = ""

    def find_template(self) -> None:
        """The template that the lab's workers keep there; waited for, since a fresh lab is still making it."""
        spec = templates.spec_of(self.plan(0).machine("www"))
        prefix = f"{self.image}--{self.hypervisor.template_key(spec)}"

        def found() -> str | None:
            volumes = self.hypervisor.inventory().volumes
            names = [v.removesuffix(".save") for v in volumes if v.startswith(prefix) and v.endswith(".save")]
            return next((name for name in names if self.hypervisor.template(name)), None)

        self.template = wait_for(found, 300, f"a template {prefix}")

    def plan(self, number: int) -> Plan:
        """The plan of clone `number`: addresses that platforms get last."""
        site = wiring.site()
        count = 2 ** (site.network.prefix - site.network.pool.prefixlen)
        return make_plan(
            wiring.catalogue(),
            platform_uuid=uuid4(),
            slug=f"{self.prefix.removeprefix('placo-')}-{number}",
            title="Clone",
            project="tests",
            owners=(),
            services=("web",),
            options={"web": wiring.catalogue().services["web"].defaults()},
            days=1,
            placement=Placement(
                host="",
                subnet=subnet_of(site.network.pool, site.network.prefix, count - 20 - number),
                edge_domain=site.edge.domain,
                edge_port=site.edge.port,
                dns_domain=site.network.dns_domain,
            ),
            images={"www": self.image},
        )

    def resumed(self, number: int) -> Clone:
        """A clone that runs and has not been told anything."""
        plan = self.plan(number)
        clone = Clone(plan, plan.machine("www"))
        self.made.append(clone)
        host, m, network = self.hypervisor, clone.machine, plan.network
        directory = wiring.site().directory
        host.ensure_network(
            NetworkSpec(
                name=network.name,
                uuid=network.uuid,
                bridge=network.bridge,
                mac=network.mac,
                gateway=network.gateway,
                prefix=int(network.subnet.split("/")[1]),
                dns_domain=network.dns_domain,
                leases=(Lease(m.mac, m.address, m.hostname),),
                dns_hosts=((directory.guest_address, directory.guest_host),),
            )
        )
        host.ensure_clone_disk(m.system_volume, self.template, m.system_disk_gib)
        host.ensure_clone_data(m.data_volume, self.template)
        host.ensure_domain(clone.spec)
        host.ensure_clone_memory(m.memory_volume, self.template, clone.spec)
        host.resume_clone(clone.spec, m.memory_volume)
        return clone

    def personalised(self, clone: Clone) -> Clone:
        """The same, being the machine that its plan says."""
        archive = seeds.archive(clone.plan, clone.machine)
        wait_for(lambda: self.hypervisor.personalise(clone.spec, archive, 5), 120, "the clone's settings", 0)
        self.hypervisor.remove_volume(clone.machine.memory_volume)
        return clone

    def many(self, count: int) -> list[Clone]:
        """So many personalised clones, made side by side."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda number: self.personalised(self.resumed(number)), range(count)))

    def close(self) -> None:
        """Everything away."""
        for clone in self.made:
            self.hypervisor.remove_domain(clone.machine.uuid)
            for volume in clone.machine.volumes:
                self.hypervisor.remove_volume(volume)
            self.hypervisor.remove_network(clone.plan.network.name)
        left = self.hypervisor.inventory()
        names = (*(d.name for d in left.domains), *left.volumes, *left.networks)
        assert not [name for name in names if name.startswith(self.prefix)]

    # --- asking guests -----------------------------------------------------------------------------------------------

    def agent(self, clone: Clone, command: str, **arguments: Any) -> Any:
        """One command of the guest agent, past the driver."""

        virsh = ["virsh", "-q", "-c", self.uri, "qemu-agent-command", clone.machine.domain]

        def asked() -> Any:
            done = subprocess.run(
                [*virsh, json.dumps({"execute": command, "arguments": arguments})],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            if done.returncode and "agent is not" not in done.stderr:
                raise RuntimeError(done.stderr)
            return None if done.returncode else [json.loads(done.stdout)["return"]]

        return wait_for(asked, 60, f"the agent of {clone.machine.domain}", 0.1)[0]

    def random_bytes(self, clone: Clone) -> str:
        """64 bytes that the guest's kernel gives to the first who asks (/dev/urandom is getrandom's source)."""
        handle = self.agent(clone, "guest-file-open", path="/dev/urandom", mode="r")
        return str(self.agent(clone, "guest-file-read", handle=handle, count=64)["buf-b64"])

    def run(self, clone: Clone, script: str) -> str:
        """What a script printed in the guest."""
        pid = self.agent(
            clone, "guest-exec", path="/bin/bash", arg=["-c", script], **{"capture-output": True}
        )["pid"]

        def ended() -> Any:
            state = self.agent(clone, "guest-exec-status", pid=pid)
            return state if state["exited"] else None

        return base64.b64decode(wait_for(ended, 90, "a script", 0.1).get("out-data", "")).decode()

    def session_reused(self, one: Clone, other: Clone, namespace: str) -> bool:
        """Whether `other` takes a TLS session that `one` gave: only who has its ticket key could (RFC 5077)."""
        command = ["ip", "netns", "exec", namespace, sys.executable, "-c", SESSION]
        words = [str(wiring.site().ca.certificate_file)]
        for clone in (one, other):
            words += [clone.machine.address, clone.machine.fqdn]
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip() == "True"

    def identity(self, clone: Clone) -> dict[str, str]:
        """Everything by which a machine is told from another one."""
        random = self.random_bytes(clone)
        lines = self.run(clone, FACTS).splitlines()
        found = dict(zip(NAMES, lines, strict=False))
        return {"random bytes": hashlib.sha256(random.encode()).hexdigest(), **found}


def check_all_differ(identities: Iterable[dict[str, str]]) -> None:
    """AssertionError naming what two of them share."""
    for one, other in combinations(identities, 2):
        shared = [name for name in one if one[name] == other.get(name)]
        assert not shared, f"two clones share their {', '.join(shared)}"
        assert all(one.values())
        assert len(one) == len(NAMES) + 1, one
