"""Looks at what is outside of the portal: directory, hosts, edge, certificates, images."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from cryptography import x509
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from placo import wiring
from placo.drivers.ports import DriverError
from placo.platforms.models import Host
from placo.services.doctor.report import Level, Result, site_file
from placo.services.work import hypervisor_of

DISK_LOW_GIB, DISK_OUT_GIB = 10, 2
MEMORY_LOW = 0.05
QUEUE_LONG = 500
CERTIFICATE_LEFT = timedelta(days=30)


def look_at_directory() -> Iterator[Result]:
    where = _(
        "Check that slapd runs and [directory] in %(file)s. Platforms go on running, and runs that need it wait."
    ) % {"file": site_file()}
    try:
        status = wiring.directory().status()
    except DriverError as error:
        yield Result("directory", Level.FAILURE, str(error), where)
        return
    if status.missing:
        yield Result(
            "directory",
            Level.FAILURE,
            _("The directory lacks overlays: %(names)s.") % {"names": ", ".join(status.missing)},
            _(
                "Load them (deploy/lab/templates/slapd.ldif.j2 shows how): memberships and lockout depend on them."
            ),
        )
        return
    text = ngettext(
        "It answers and knows %(count)d person.", "It answers and knows %(count)d people.", status.people
    ) % {"count": status.people}
    if status.unseen:
        text += " " + _("Overlays that cannot be seen from here: %(names)s.") % {
            "names": ", ".join(status.unseen)
        }
    yield Result("directory", Level.OK, text)


def look_at_host(host: Host) -> Iterator[Result]:
    component = f"host {host.name}"
    try:
        status = hypervisor_of(host).status()
    except DriverError as error:
        if host.lost:
            yield Result(
                component,
                Level.OK,
                _("Declared lost on %(day)s: nothing waits for it.") % {"day": _day(host)},
            )
            return
        yield Result(
            component,
            Level.FAILURE,
            str(error),
            _(
                "Check that the machine is up and its libvirt answers: virsh -c %(uri)s version. Its platforms' runs wait meanwhile. If it is gone for good: placo host lost %(host)s."
            )
            % {"uri": host.uri, "host": host.name},
        )
        return
    if host.lost:
        yield Result(
            component,
            Level.WARNING,
            _("Declared lost on %(day)s, but it answers again. Nothing is placed on it.")
            % {"day": _day(host)},
            _(
                "Look at what is left there (Operations / Drift), then take it back: placo host take-back %(host)s."
            )
            % {"host": host.name},
        )
        return
    room = _("%(memory)d of %(all)d MiB of memory and %(disk)d of %(whole)d GiB of disk are free.") % {
        "memory": status.memory_free_mib,
        "all": status.memory_mib,
        "disk": status.disk_free_gib,
        "whole": status.disk_gib,
    }
    level, remedy = Level.OK, ""
    if status.disk_free_gib < DISK_LOW_GIB:
        level = Level.FAILURE if status.disk_free_gib < DISK_OUT_GIB else Level.WARNING
        remedy = _("Make room in the pool %(pool)s: machines stop when their disks cannot grow.") % {
            "pool": host.storage_pool
        }
    elif status.memory_free_mib < status.memory_mib * MEMORY_LOW:
        level, remedy = (
            Level.WARNING,
            _("Stop what does not belong there, or retire platforms: new machines will not start."),
        )
    yield Result(component, level, f"{status.hypervisor} {status.version}. {room}", remedy)


def _day(host: Host) -> str:
    return host.lost_at.date().isoformat() if host.lost_at else ""


def look_at_edge() -> Iterator[Result]:
    try:
        status = wiring.edge().status()
    except DriverError as error:
        yield Result(
            "edge", Level.FAILURE, str(error), _("Check [edge] in %(file)s.") % {"file": site_file()}
        )
        return
    if status.complaint:
        yield Result(
            "edge",
            Level.FAILURE,
            _("nginx would not accept its configuration: %(why)s") % {"why": status.complaint},
            _(
                "Mend that file, then nginx -t: until then no platform can be made or removed, and a restart would fail."
            ),
        )
    if not status.running:
        yield Result(
            "edge",
            Level.FAILURE,
            _("nginx is not running: nobody reaches any platform, and runs that need it wait."),
            _("Start it, and check pid_file below [edge] in %(file)s.") % {"file": site_file()},
        )
    elif status.complaint is None:
        yield Result(
            "edge",
            Level.OK,
            _("nginx runs. Whether its configuration is valid, manage.py doctor can tell when root runs it."),
        )
    elif not status.complaint:
        yield Result("edge", Level.OK, _("nginx runs and its configuration is valid."))


def look_at_zone() -> Iterator[Result]:
    zone = wiring.zone()
    if zone is None:
        yield Result(
            "names", Level.OK, _("The portal writes no DNS zone: others make the names of platforms known.")
        )
        return
    complaint = zone.complaint()
    if complaint:
        yield Result(
            "names",
            Level.FAILURE,
            _("The DNS zone cannot be used: %(why)s. Platforms can neither be made nor removed.")
            % {"why": complaint},
            _(
                "Look at the DNS server; it has to allow updates and transfers to the key of [dns] in %(file)s."
            )
            % {"file": site_file()},
        )
    else:
        yield Result("names", Level.OK, _("The DNS server answers, and takes the portal's key."))


def look_at_gateway() -> Iterator[Result]:
    gateway = wiring.gateway()
    if gateway is None:
        yield Result("mail gateway", Level.OK, _("This site has none: no platform has mail addresses."))
        return
    queued = gateway.queued()
    if not gateway.answers():
        yield Result(
            "mail gateway",
            Level.FAILURE,
            _(
                "Postfix does not greet: no mail reaches a platform, none leaves one. Senders keep it and try again."
            ),
            _("Start it and read its log; check [gateway] in %(file)s.") % {"file": site_file()},
        )
    elif queued is None:
        yield Result(
            "mail gateway",
            Level.OK,
            _("Postfix answers. How many mails wait, manage.py doctor can tell when root runs it."),
        )
    else:
        text = ngettext(
            "Postfix answers; %(count)d mail waits.", "Postfix answers; %(count)d mails wait.", queued
        ) % {"count": queued}
        many = queued > QUEUE_LONG
        yield Result(
            "mail gateway",
            Level.WARNING if many else Level.OK,
            text,
            _(
                "postqueue -p says for whom and why: platforms that are stopped, or somebody who sends too much."
            )
            if many
            else "",
        )


def look_at_authority() -> Iterator[Result]:
    try:
        root = x509.load_pem_x509_certificate(wiring.authority().root())
    except (DriverError, OSError, ValueError) as error:
        yield Result(
            "certificates",
            Level.FAILURE,
            _("The root certificate cannot be read: %(why)s") % {"why": error},
            _("Check [ca] in %(file)s; restore the file from a backup rather than making a new root.")
            % {"file": site_file()},
        )
        return
    left = root.not_valid_after_utc - timezone.now()
    until = root.not_valid_after_utc.date().isoformat()
    if left < CERTIFICATE_LEFT:
        yield Result(
            "certificates",
            Level.FAILURE if left < timedelta() else Level.WARNING,
            _("The root certificate is valid until %(day)s only.") % {"day": until},
            _(
                "Make a new root, install it where the old one is trusted, and have every platform's certificate issued again."
            ),
        )
        return
    yield Result("certificates", Level.OK, _("The root certificate is valid until %(day)s.") % {"day": until})


def look_at_images() -> Iterator[Result]:
    missing = []
    names = sorted(wiring.catalogue().machines)
    for name in names:
        try:
            wiring.images().files(wiring.images().name_for(name))
        except DriverError:
            missing.append(name)
    if missing:
        yield Result(
            "images",
            Level.WARNING,
            _("Not built: the images of %(names)s. Requests that need them cannot be approved.")
            % {"names": ", ".join(missing)},
            _(
                "Build them: make images, or python -m placo.drivers.images build. This also names what is to be imported."
            ),
        )
        return
    text = ngettext(
        "The image of %(count)d machine is built.", "The images of %(count)d machines are built.", len(names)
    )
    yield Result("images", Level.OK, text % {"count": len(names)})
