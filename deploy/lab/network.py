"""The lab's wires: one namespace for the portal's machine, one for each host, a bridge between them, and the walls.

    portal namespace                          host namespace (one for each)
    lan0 (bridge) 10.77.0.1, 10.77.0.2  <-->  uplink0 10.77.0.11, answers ARP for its platforms' subnets
                                              pl..... (bridges made by libvirt, one a platform)

Nothing is connected to the machine's own network.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from deploy.lab.layout import DIRECTORY_ADDRESS, LAN_PREFIX, PLATFORM_POOL, PORTAL_ADDRESS, Host, Lab
from deploy.lab.shell import render, run

NETNS_FOLDER = Path("/run/netns")
LAN = "lan0"
UPLINK = "uplink0"

_PORTAL_SYSCTLS = {
    "net.ipv4.ip_forward": "0",
    "net.ipv6.conf.all.disable_ipv6": "1",
    "net.ipv6.conf.default.disable_ipv6": "1",
}
# A platform that moves to another host is found again after a few seconds, not after minutes.
_PORTAL_LAN_SYSCTLS = {f"net.ipv4.neigh.{LAN}.base_reachable_time_ms": "5000"}
_HOST_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "1",
    "net.ipv4.conf.default.rp_filter": "1",
    "net.ipv6.conf.all.disable_ipv6": "1",
    "net.ipv6.conf.default.disable_ipv6": "1",
}
# Machines of one platform talk across its bridge; the wall is for what is routed. (The kernel has these once br_netfilter is there.)
_HOST_BRIDGE_SYSCTLS = {
    f"net.bridge.bridge-nf-call-{name}": "0" for name in ("iptables", "ip6tables", "arptables")
}
# proxy_arp: this host answers for the subnets it routes to one of its own bridges, and for no others.
_HOST_UPLINK_SYSCTLS = {f"net.ipv4.conf.{UPLINK}.proxy_arp": "1", f"net.ipv4.neigh.{UPLINK}.proxy_delay": "0"}


def namespace_file(name: str) -> Path:
    """Where `ip netns` pins a namespace."""
    return NETNS_FOLDER / name


def inode(name: str) -> int | None:
    """What identifies a namespace in the kernel; None when there is none of that name."""
    path = namespace_file(name)
    if not path.exists() or not os.path.ismount(path):
        return None
    return path.stat().st_ino


def ensure(lab: Lab) -> None:
    """Make what is missing of namespaces, links, addresses, sysctls and walls; harmless when all is there."""
    _ensure_namespace(lab.namespace)
    _sysctl(lab.namespace, _PORTAL_SYSCTLS)
    if not _has_link(lab.namespace, LAN):
        _ip(lab.namespace, f"link add {LAN} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
    _sysctl(lab.namespace, _PORTAL_LAN_SYSCTLS)
    _ip(
        lab.namespace,
        "link set lo up",
        f"link set {LAN} up",
        f"address replace {PORTAL_ADDRESS}/{LAN_PREFIX} dev {LAN}",
        f"address replace {DIRECTORY_ADDRESS}/{LAN_PREFIX} dev {LAN}",
        f"route replace {PLATFORM_POOL} dev {LAN} src {PORTAL_ADDRESS}",
    )
    _load_rules(
        lab.namespace,
        render(
            "portal.nft.j2",
            card=LAN,
            input_policy="drop",
            portal_address=PORTAL_ADDRESS,
            directory_address=DIRECTORY_ADDRESS,
        ),
    )
    for host in lab.hosts:
        ensure_host(lab, host)


def ensure_host(lab: Lab, host: Host) -> None:
    """The same for one host's namespace and its cable to the portal's bridge."""
    _ensure_namespace(host.namespace)
    _sysctl(host.namespace, _HOST_SYSCTLS)
    if Path("/proc/sys/net/bridge").is_dir():
        _sysctl(host.namespace, _HOST_BRIDGE_SYSCTLS)
    if not _has_link(host.namespace, UPLINK):
        if _has_link(lab.namespace, host.name):
            _ip(lab.namespace, f"link delete {host.name}")
        _ip(lab.namespace, f"link add {host.name} type veth peer name {UPLINK} netns {host.namespace}")
    _ip(lab.namespace, f"link set {host.name} master {LAN} up")
    _sysctl(host.namespace, _HOST_UPLINK_SYSCTLS)
    _ip(
        host.namespace,
        "link set lo up",
        f"address replace {host.address}/{LAN_PREFIX} dev {UPLINK}",
        f"link set {UPLINK} up",
        f"route replace default via {PORTAL_ADDRESS}",
    )
    _load_rules(
        host.namespace,
        render(
            "wall.nft.j2",
            uplink=UPLINK,
            input_policy="drop",
            portal_address=PORTAL_ADDRESS,
            directory_address=DIRECTORY_ADDRESS,
        ),
    )


def intact(lab: Lab) -> bool:
    """Whether every namespace is there, with its own end of the wires."""
    if any(inode(name) is None for name in lab.namespaces):
        return False
    return _has_link(lab.namespace, LAN) and all(_has_link(host.namespace, UPLINK) for host in lab.hosts)


def remove(name: str) -> None:
    """Delete a namespace and with it every link inside; then the folder `ip netns` made, once nobody uses it."""
    path = namespace_file(name)
    if inode(name) is not None:
        run(["ip", "netns", "delete", name])
    path.unlink(missing_ok=True)
    if NETNS_FOLDER.is_dir() and not any(NETNS_FOLDER.iterdir()):
        # `ip netns add` mounted the folder on itself, sometimes more than once; a lab leaves no mount behind.
        while os.path.ismount(NETNS_FOLDER) or _listed_as_mount(NETNS_FOLDER):
            run(["umount", NETNS_FOLDER])
        # Another lab may be making its first namespace at this very moment: then the folder is its own.
        with suppress(OSError):
            NETNS_FOLDER.rmdir()


def _listed_as_mount(path: Path) -> bool:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(path) for line in mounts)


def _ensure_namespace(name: str) -> None:
    if inode(name) is None:
        namespace_file(name).unlink(missing_ok=True)
        run(["ip", "netns", "add", name])


def _has_link(namespace: str, link: str) -> bool:
    return f": {link}" in run(["ip", "-n", namespace, "-o", "link", "show"])


def _ip(namespace: str, *commands: str) -> None:
    run(["ip", "-n", namespace, "-batch", "-"], stdin="\n".join(commands) + "\n")


def _sysctl(namespace: str, values: dict[str, str]) -> None:
    words = [f"{key}={value}" for key, value in values.items()]
    run(["ip", "netns", "exec", namespace, "sysctl", "-q", "-w", *words])


def _load_rules(namespace: str, rules: str) -> None:
    run(["ip", "netns", "exec", namespace, "nft", "-f", "-"], stdin=rules)
