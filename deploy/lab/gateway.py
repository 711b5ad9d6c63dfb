"""The lab's mail gateway: a Postfix of its own that takes mail for all platforms. There is no relay host: nothing leaves the lab."""

from __future__ import annotations

from pathlib import Path

from deploy.lab import identity
from deploy.lab.layout import GATEWAY_HOST, PLATFORM_POOL, PORTAL_ADDRESS, REPOSITORY, Lab
from deploy.lab.programs import GATEWAY_HOME, in_portal
from deploy.lab.shell import render, run, write
from placo.drivers.gateway_postfix import TABLE, PostfixGateway

PORT = 25
MESSAGE_BYTES = 26_214_400
_POLICY = REPOSITORY / "deploy" / "gateway" / "policy.py"
_GREETING = "import socket; print(socket.create_connection(('{}', {}), 2).recv(3).decode())"


def prepare(lab: Lab) -> None:
    """Configuration and folders; tables and queue stay as they are."""
    write_configuration(
        lab.gateway, GATEWAY_HOME, host=GATEWAY_HOST, address=PORTAL_ADDRESS, port=PORT, pool=PLATFORM_POOL
    )
    driver(lab.gateway, PORTAL_ADDRESS, PORT).prepare()


def write_configuration(
    folder: Path,
    home: str,
    *,
    host: str,
    address: str,
    port: int,
    pool: str,
    messages_a_minute: int = 60,
    relay_host: str = "",
    address6: str = "",
) -> None:
    """All that a Postfix needs in `folder`, which it will see as `home`; `tls` is made by somebody else. `address6`: where it listens
    as well, at a site that has IPv6; machines have none."""
    for name in ("etc", "tables", "queue", "data"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    identity.owned_by(folder / "data", "postfix")
    write(folder / "etc" / "policy.py", _POLICY.read_bytes())
    for name in ("main.cf", "master.cf", "transport.cf", "tls.cf"):
        configuration = render(
            f"{name}.j2",
            host=host,
            address=address,
            address6=address6,
            port=port,
            pool=pool,
            table=f"{home}/tables/{TABLE}",
            etc=f"{home}/etc",
            queue=f"{home}/queue",
            data=f"{home}/data",
            certificate=f"{home}/tls/certificate.pem",
            key=f"{home}/tls/key.pem",
            ca=f"{home}/tls/ca.pem",
            log="/dev/stdout",
            relay_host=relay_host,
            message_size=MESSAGE_BYTES,
            messages_a_minute=messages_a_minute,
        )
        write(folder / "etc" / name, configuration)


def driver(folder: Path, address: str, port: int) -> PostfixGateway:
    """The portal's side of it."""
    return PostfixGateway(tables=folder / "tables", queue=folder / "queue", address=address, port=port)


def is_answering(lab: Lab) -> bool:
    """Whether Postfix greets."""
    ask = [lab.python, "-c", _GREETING.format(PORTAL_ADDRESS, PORT)]
    return "220" in run(in_portal(lab, ask), accept=(0, 1), timeout=10)
