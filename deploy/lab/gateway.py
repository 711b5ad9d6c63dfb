"""The lab's mail gateway: a Postfix of its own that takes mail for all platforms. There is no relay host: nothing leaves the lab."""

from __future__ import annotations

from deploy.lab import identity
from deploy.lab.layout import GATEWAY_HOST, PLATFORM_POOL, PORTAL_ADDRESS, REPOSITORY, Lab
from deploy.lab.programs import in_portal
from deploy.lab.shell import render, run, write
from placo.drivers.gateway_postfix import PostfixGateway

_POLICY = REPOSITORY / "deploy" / "gateway" / "policy.py"
_HOME = "/var/lib/postfix"
PORT = 25
MESSAGE_BYTES = 26_214_400
MESSAGES_A_MINUTE = 60
_GREETING = "import socket; print(socket.create_connection(('{}', {}), 2).recv(3).decode())"


def prepare(lab: Lab) -> None:
    """Configuration and folders; tables and queue stay as they are."""
    for name in ("etc", "tables", "queue", "data"):
        (lab.gateway / name).mkdir(parents=True, exist_ok=True)
    identity.owned_by(lab.gateway / "data", "postfix")
    write(lab.gateway / "etc" / "policy.py", _POLICY.read_bytes())
    for name in ("main.cf", "master.cf"):
        configuration = render(
            f"{name}.j2",
            host=GATEWAY_HOST,
            address=PORTAL_ADDRESS,
            port=PORT,
            pool=PLATFORM_POOL,
            tables=f"{_HOME}/tables",
            queue=f"{_HOME}/queue",
            data=f"{_HOME}/data",
            policy=f"{_HOME}/etc/policy.py",
            certificate=f"{_HOME}/tls/certificate.pem",
            key=f"{_HOME}/tls/key.pem",
            ca=f"{_HOME}/tls/ca.pem",
            log="/dev/stdout",
            relay_host="",
            message_size=MESSAGE_BYTES,
            messages_a_minute=MESSAGES_A_MINUTE,
        )
        write(lab.gateway / "etc" / name, configuration)
    driver = PostfixGateway(
        tables=lab.gateway / "tables",
        config=lab.gateway / "etc",
        queue=lab.gateway / "queue",
        address=PORTAL_ADDRESS,
        port=PORT,
    )
    driver.publish()


def is_answering(lab: Lab) -> bool:
    """Whether Postfix greets."""
    ask = [lab.python, "-c", _GREETING.format(PORTAL_ADDRESS, PORT)]
    return "220" in run(in_portal(lab, ask), accept=(0, 1), timeout=10)
