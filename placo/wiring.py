"""Where drivers are made: the one place that knows which technology stands behind each contract."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from functools import cache
from uuid import UUID

from django.conf import settings

from placo.config import SiteConfig, read_secret
from placo.domain.catalogue import Catalogue, load_catalogue
from placo.domain.protocols import STREAMS
from placo.drivers import ports
from placo.drivers.certificates import SiteCertificateAuthority
from placo.drivers.doorman import EdgeDoorman
from placo.drivers.doors import Doorman
from placo.drivers.edge_nginx import NginxEdge
from placo.drivers.gateway_postfix import PostfixGateway
from placo.drivers.images import ImageCache
from placo.drivers.libvirt import LibvirtHypervisor
from placo.drivers.openldap import OpenLdapDirectory, is_unavailable
from placo.drivers.probe import EdgeProber
from placo.drivers.zone_rfc2136 import Rfc2136Zone


def site() -> SiteConfig:
    """The site configuration in force."""
    config: SiteConfig = settings.SITE
    return config


@cache
def catalogue() -> Catalogue:
    """The catalogue, read once; raises CatalogueError with every problem in it."""
    return load_catalogue(site().site.catalogue)


@cache
def hypervisor(name: str, uri: str, storage_pool: str, domain_type: str) -> ports.Hypervisor:
    """The host behind a libvirt URI; one connection per process."""
    return LibvirtHypervisor(name, uri, storage_pool=storage_pool, domain_type=domain_type)


@cache
def directory() -> ports.Directory:
    """The site's OpenLDAP."""
    c = site().directory
    return OpenLdapDirectory(c.uri, c.base, c.bind_dn, read_secret(c.password_file), ca_file=c.ca_file)


def directory_unavailable(error: BaseException) -> bool:
    """Whether an exception of the directory's client means that the directory does not answer."""
    return is_unavailable(error)


@cache
def edge() -> ports.Edge:
    """The site's reverse proxy."""
    c = site().edge
    return NginxEdge(
        sites_dir=c.sites_dir,
        certificates_dir=c.certificates_dir,
        pid_file=c.pid_file,
        config_file=c.config_file,
        ca_file=site().ca.certificate_file,
        listens=(
            f"unix:{c.socket} ssl",
            f"{c.address}:443 ssl",
            *([f"[{c.address6}]:443 ssl"] if c.address6 else []),
        ),
        addresses=(c.address, *([str(c.address6)] if c.address6 else [])),
        includes=c.includes,
    )


@cache
def gateway() -> ports.MailGateway | None:
    """The site's mail gateway, if it has one."""
    c = site().gateway
    if c is None:
        return None
    return PostfixGateway(tables=c.tables_dir, queue=c.queue_dir, address=c.address, port=c.port)


@cache
def zone() -> ports.Zone | None:
    """The zone with the names of platforms, if the site has the portal write it."""
    c = site().dns
    if c is None:
        return None
    return Rfc2136Zone(
        site().edge.domain,
        server=str(c.server),
        port=c.port,
        key_name=c.key_name,
        key_file=c.key_file,
        ttl_s=c.ttl_s,
    )


@cache
def authority() -> ports.CertificateAuthority:
    """Who signs certificates."""
    c = site().ca
    return SiteCertificateAuthority(c.certificate_file, c.key_file)


@cache
def prober() -> ports.Prober:
    """Asks services through the edge."""
    c = site().edge
    streams = {name: (c.address, port) for name, port in STREAMS.items()}
    return EdgeProber(c.socket, site().ca.certificate_file, c.port, streams=streams, address=c.address)


@cache
def doorman() -> Doorman:
    """Tries doors through the edge."""
    c = site().edge
    streams = {name: (c.address, port) for name, port in STREAMS.items()}
    return EdgeDoorman(c.socket, site().ca.certificate_file, c.port, streams=streams, address=c.address)


@cache
def images() -> ports.Images:
    """The images built on this machine."""
    return ImageCache(site().site.image_cache, catalogue())


def machine_secret(machine: str | UUID, purpose: str) -> str:
    """A machine's secret, derived from the site's key (HMAC-SHA256, RFC 2104): nothing is stored, a step may be repeated."""
    key = read_secret(site().site.secret_key_file).encode()
    digest = hmac.new(key, f"{purpose}|{machine}".encode(), hashlib.sha256).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
