"""The lab's DNS server: Knot with the zone of all platforms, in the portal's namespace alone."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

from deploy.lab.layout import EDGE_DOMAIN, PORTAL_ADDRESS, REPOSITORY, Lab
from deploy.lab.programs import in_portal
from deploy.lab.shell import render, run, write
from placo.drivers.zone_rfc2136 import Rfc2136Zone

PORT = 53
KEY_NAME = "portal"
TTL_S = 300
KEY_BYTES = 32


def prepare(lab: Lab) -> None:
    """Configuration, key and an empty zone; a zone that is there stays."""
    write_configuration(lab.names, zone=EDGE_DOMAIN, address=PORTAL_ADDRESS, port=PORT)


def write_configuration(folder: Path, *, zone: str, address: str, port: int) -> None:
    """All that a Knot needs in `folder`."""
    for name in ("data", "run"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    key = key_file(folder)
    if not key.exists():
        write(key, base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n", 0o600)
    configuration = render(
        "knot.conf.j2",
        zone=zone,
        address=address,
        port=port,
        data=folder / "data",
        run=folder / "run",
        key_name=KEY_NAME,
        secret=key.read_text().strip(),
    )
    write(folder / "knot.conf", configuration, 0o600)
    if not (folder / "data" / "zone").exists():
        write(folder / "data" / "zone", render("zone.j2", zone=zone, server_name=f"ns.{zone}."))


def key_file(folder: Path) -> Path:
    """Where the key is kept that the portal and the server share."""
    return folder / "key"


def is_answering(lab: Lab) -> bool:
    """Whether Knot has the zone and takes the key."""
    text = f"from deploy.lab import names; from pathlib import Path; print(names.driver(Path({str(lab.names)!r}), {EDGE_DOMAIN!r}, {PORTAL_ADDRESS!r}, {PORT}).complaint())"
    return not run(
        in_portal(lab, [lab.python, "-c", text]), accept=(0, 1), timeout=30, cwd=REPOSITORY
    ).strip()


def driver(folder: Path, zone: str, address: str, port: int) -> Rfc2136Zone:
    """The portal's side of it."""
    return Rfc2136Zone(
        zone, server=address, port=port, key_name=KEY_NAME, key_file=key_file(folder), ttl_s=TTL_S
    )
