"""The contracts between PLACO and the outside world.

A driver implements one of these protocols. Every ``ensure_*`` and ``remove_*`` is idempotent: "already there" and
"already gone" are successes, and a call that was interrupted at any line may be repeated. What is there under the right
name but with another content is brought to the asked content where that destroys nothing, else `Rejected` is raised.

Drivers know neither Django nor the database: they get frozen values and return frozen values. Names of the objects they
make come from the plan, so that a driver never invents one.
"""

from placo.drivers.ports.certificates import CertificateAuthority, KeyPair, SshKey
from placo.drivers.ports.directory import Directory, DirectoryStatus, MachineAccount, Person, StandIns
from placo.drivers.ports.edge import Edge, EdgeRoute, EdgeStatus
from placo.drivers.ports.errors import DriverError, PasswordRefused, Rejected, TemplateBroken, Unavailable
from placo.drivers.ports.hypervisor import (
    DomainEvent,
    DomainInfo,
    DomainSpec,
    HostStatus,
    Hypervisor,
    Inventory,
    Lease,
    NetworkSpec,
    Power,
    TemplateSpec,
    TemplateState,
    Watch,
)
from placo.drivers.ports.images import ImageFiles, Images
from placo.drivers.ports.mail import MailDomain, MailGateway
from placo.drivers.ports.prober import Prober, ProbeResult
from placo.drivers.ports.zone import PlatformNames, Zone

__all__ = [
    "CertificateAuthority",
    "Directory",
    "DirectoryStatus",
    "DomainEvent",
    "DomainInfo",
    "DomainSpec",
    "DriverError",
    "Edge",
    "EdgeRoute",
    "EdgeStatus",
    "HostStatus",
    "Hypervisor",
    "ImageFiles",
    "Images",
    "Inventory",
    "KeyPair",
    "Lease",
    "MachineAccount",
    "MailDomain",
    "MailGateway",
    "NetworkSpec",
    "PasswordRefused",
    "Person",
    "PlatformNames",
    "Power",
    "ProbeResult",
    "Prober",
    "Rejected",
    "SshKey",
    "StandIns",
    "TemplateBroken",
    "TemplateSpec",
    "TemplateState",
    "Unavailable",
    "Watch",
    "Zone",
]
