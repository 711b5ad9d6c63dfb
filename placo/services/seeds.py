"""What a machine is told about itself: its settings archive on a seed disk."""

from __future__ import annotations

from typing import Any

from placo import wiring
from placo.domain.plan import Plan, PlannedMachine
from placo.drivers.archive import Tls, render_archive
from placo.drivers.seed import build_seed

DIRECTORY_PURPOSE = "directory"
"""What the derived secret of a machine's directory account is for."""
TLS_DIR = "/etc/placo/tls"


def context(plan: Plan, machine: PlannedMachine) -> dict[str, Any]:
    """What the catalogue's file templates may use (docs/adding-a-brick.md). Holds the machine's directory password."""
    site, directory = wiring.site(), wiring.directory()
    base = site.directory.base
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
        "directory": {
            "uri": f"ldaps://{site.directory.guest_host}:{site.directory.guest_port}",
            "host": site.directory.guest_host,
            "port": site.directory.guest_port,
            "base": base,
            "people_base": f"ou=people,{base}",
            "members_dn": directory.group_dn(plan.slug, "members"),
            "owners_dn": directory.group_dn(plan.slug, "owners"),
            "bind_dn": directory.machine_dn(plan.slug, machine.name),
            "bind_password": wiring.machine_secret(machine.uuid, DIRECTORY_PURPOSE),
            "ca_file": f"{TLS_DIR}/ca.pem",
        },
        "endpoints": [
            {"service": e.service, "url": e.url, "host": e.host, "path": e.path, "machine": e.machine}
            for e in plan.endpoints
        ],
        "options": {service: dict(values) for service, values in plan.options.items()},
        "tls": {
            "key_file": f"{TLS_DIR}/key.pem",
            "certificate_file": f"{TLS_DIR}/certificate.pem",
            "ca_file": f"{TLS_DIR}/ca.pem",
        },
    }


def seed(plan: Plan, machine: PlannedMachine) -> bytes:
    """The seed disk of a machine, with a new TLS key each time it is made."""
    authority = wiring.authority()
    pair = authority.issue([machine.fqdn])
    catalogue = wiring.catalogue()
    archive = render_archive(
        catalogue,
        machine.name,
        context(plan, machine),
        Tls(key=pair.key, certificate=pair.certificate, ca=authority.root()),
    )
    return build_seed(archive, instance_id=machine.uuid, hostname=machine.hostname)
