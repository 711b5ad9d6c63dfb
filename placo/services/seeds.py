"""What a machine is told about itself: its settings archive, and the seed disk that brings it to a cold machine."""

from __future__ import annotations

import secrets
from typing import Any

from django.utils.translation import gettext as _

from placo import wiring
from placo.domain.catalogue import OptionValue
from placo.domain.plan import Plan, PlannedMachine
from placo.domain.stock import is_stock
from placo.drivers.archive import Identity, render_archive, stock_archive
from placo.drivers.ports import SshKey
from placo.drivers.seed import build_seed
from placo.drivers.ssh import fingerprint, host_key
from placo.services import signing

DIRECTORY_PURPOSE = "directory"
"""What the derived secret of a machine's directory account is for."""
HOST_KEY_PURPOSE = "ssh-host-key"
"""What the secret is for of which a machine's SSH host key is made: it stays the same whatever becomes of the machine's disks."""
TLS_DIR = "/etc/placo/tls"
ENTROPY_BYTES = 64
"""What the kernel's generator takes in; it works with 256 bits."""


def untellable(machine: PlannedMachine) -> str | None:
    """Why a machine that runs cannot be told other settings, in words; None where it can."""
    if is_stock(machine.image):
        return _("%(machine)s runs a stock image: such a machine takes its settings once.") % {
            "machine": machine.name
        }
    if machine.image != wiring.images().name_for(machine.name):
        return _(
            "%(machine)s runs an older image, which today's settings may not fit: have it rebuilt first."
        ) % {"machine": machine.name}
    return None


def context(plan: Plan, machine: PlannedMachine) -> dict[str, Any]:
    """What the catalogue's file templates may use (docs/adding-a-brick.md). Holds the machine's directory password."""
    site, directory = wiring.site(), wiring.directory()
    base, gateway = site.directory.base, site.gateway
    return {
        "platform": {
            "slug": plan.slug,
            "uuid": plan.uuid,
            "title": plan.title,
            "project": plan.project,
            "domain": plan.network.dns_domain,
        },
        "machine": {
            "name": machine.name,
            "hostname": machine.hostname,
            "fqdn": machine.fqdn,
            "uuid": machine.uuid,
            "address": machine.address,
        },
        "network": {
            "gateway": plan.network.gateway,
            "prefix": int(plan.network.subnet.split("/")[1]),
        },
        "directory": {
            "uri": f"ldaps://{site.directory.guest_host}:{site.directory.guest_port}",
            "host": site.directory.guest_host,
            "port": site.directory.guest_port,
            "base": base,
            "people_base": f"ou=people,{base}",
            "keys_base": f"ou=keys,{base}",
            "members_dn": directory.group_dn(plan.slug, "members"),
            "owners_dn": directory.group_dn(plan.slug, "owners"),
            "bind_dn": directory.machine_dn(plan.slug, machine.name),
            "bind_password": wiring.machine_secret(machine.uuid, DIRECTORY_PURPOSE),
            "ca_file": f"{TLS_DIR}/ca.pem",
        },
        "gateway": gateway and {"host": gateway.host, "address": gateway.address, "port": gateway.port},
        "endpoints": [
            {name: getattr(e, name) for name in ("service", "protocol", "url", "host", "path", "machine")}
            for e in plan.endpoints
        ],
        "options": _options(plan),
        "keys": signing.Keys(machine.uuid),
        "tls": {
            "key_file": f"{TLS_DIR}/key.pem",
            "certificate_file": f"{TLS_DIR}/certificate.pem",
            "ca_file": f"{TLS_DIR}/ca.pem",
        },
    }


def _host_key(machine: PlannedMachine) -> SshKey:
    return host_key(wiring.machine_secret(machine.uuid, HOST_KEY_PURPOSE), machine.fqdn)


def host_key_line(machine: PlannedMachine) -> str:
    """A machine's public SSH host key, without a comment."""
    kind, body, *_comment = _host_key(machine).public.decode().split()
    return f"{kind} {body}"


def known_by(machine: PlannedMachine) -> str:
    """The fingerprint of a machine's SSH host key."""
    return fingerprint(_host_key(machine).public)


def _options(plan: Plan) -> dict[str, dict[str, OptionValue]]:
    """What was chosen, service -> option -> value; the default of what the catalogue did not ask yet when the plan was made."""
    known = wiring.catalogue().services
    defaults = {service: known[service].defaults() for service in plan.services if service in known}
    return {
        service: defaults.get(service, {}) | dict(plan.options.get(service, {})) for service in plan.services
    }


def archive(plan: Plan, machine: PlannedMachine) -> bytes:
    """The settings archive of a machine, with a new key of TLS and random bytes each time it is made."""
    authority = wiring.authority()
    pair, server = authority.issue([machine.fqdn]), _host_key(machine)
    return render_archive(
        wiring.catalogue(),
        machine.name,
        context(plan, machine),
        Identity(
            tls_key=pair.key,
            tls_certificate=pair.certificate,
            ca=authority.root(),
            ssh_host_key=server.private,
            ssh_host_key_public=server.public,
            entropy=secrets.token_bytes(ENTROPY_BYTES),
        ),
    )


def seed(plan: Plan, machine: PlannedMachine) -> bytes:
    """The seed disk of a machine."""
    guest = stock_archive(wiring.catalogue(), machine.name) if is_stock(machine.image) else None
    return build_seed(archive(plan, machine), machine.uuid, machine.hostname, guest)
