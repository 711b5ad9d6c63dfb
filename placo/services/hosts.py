"""Keeping what the portal knows of its hosts fresh."""

from __future__ import annotations

import logging

from django.utils import timezone

from placo.drivers.ports import DriverError
from placo.platforms.models import Host
from placo.services.work import hypervisor_of

log = logging.getLogger("placo.hosts")


def refresh_hosts() -> None:
    """Ask every host for its size and free space; one that does not answer is marked unreachable."""
    for host in Host.objects.all():
        host.checked_at = timezone.now()
        try:
            status = hypervisor_of(host).status()
        except DriverError as error:
            log.warning("host=%s unreachable: %s", host.name, error)
            host.reachable = False
            host.save(update_fields=["checked_at", "reachable"])
            continue
        host.reachable, host.version = True, status.version
        host.memory_mib, host.disk_free_gib = status.memory_mib, status.disk_free_gib
        host.save(update_fields=["checked_at", "reachable", "version", "memory_mib", "disk_free_gib"])
