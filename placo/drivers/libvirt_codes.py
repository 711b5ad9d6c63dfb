"""Numbers of libvirt's stable ABI and what they mean to PLACO; libvirt itself is not imported here.

Sources: virterror.h (virErrorNumber), libvirt-domain.h (virDomainState and flags), libvirt-network.h (virNetworkUpdateCommand,
virNetworkUpdateSection).
"""

from __future__ import annotations

from enum import IntEnum

from placo.drivers.ports import DriverError, Power, Rejected, Unavailable


class ErrorCode(IntEnum):
    """virErrorNumber, as far as this driver tells errors apart."""

    NO_SUPPORT = 3
    NO_CONNECT = 5
    INVALID_CONN = 6
    INVALID_ARG = 8
    XML_ERROR = 27
    OPERATION_DENIED = 29
    XML_DETAIL = 35
    RPC = 39
    GNUTLS_ERROR = 40
    NO_DOMAIN = 42
    NO_NETWORK = 43
    NO_STORAGE_VOL = 50
    OPERATION_INVALID = 55
    CONFIG_UNSUPPORTED = 67
    ARGUMENT_UNSUPPORTED = 74
    NO_DOMAIN_METADATA = 80
    OPERATION_UNSUPPORTED = 84
    AGENT_UNRESPONSIVE = 86
    ACCESS_DENIED = 88
    XML_INVALID_SCHEMA = 92


class DomainFlag(IntEnum):
    """virDomainModificationImpact and virDomainSaveRestoreFlags."""

    AFFECT_LIVE = 1
    SAVE_PAUSED = 4


class NetworkUpdateCommand(IntEnum):
    """virNetworkUpdateCommand."""

    DELETE = 2
    ADD_LAST = 3


class NetworkSection(IntEnum):
    """virNetworkUpdateSection."""

    IP_DHCP_HOST = 4
    DNS_HOST = 10


_UNAVAILABLE = frozenset(
    (ErrorCode.NO_CONNECT, ErrorCode.INVALID_CONN, ErrorCode.RPC, ErrorCode.GNUTLS_ERROR)
)
_REJECTED = frozenset(
    (
        ErrorCode.NO_SUPPORT,
        ErrorCode.INVALID_ARG,
        ErrorCode.XML_ERROR,
        ErrorCode.OPERATION_DENIED,
        ErrorCode.XML_DETAIL,
        ErrorCode.CONFIG_UNSUPPORTED,
        ErrorCode.ARGUMENT_UNSUPPORTED,
        ErrorCode.OPERATION_UNSUPPORTED,
        ErrorCode.ACCESS_DENIED,
        ErrorCode.XML_INVALID_SCHEMA,
    )
)
_POWERS = {
    1: Power.RUNNING,
    2: Power.RUNNING,  # blocked on a resource
    3: Power.PAUSED,
    4: Power.RUNNING,  # being shut down: on its way, but not there
    7: Power.PAUSED,  # suspended by its own power management
}


def contract_error(code: int | None) -> type[DriverError]:
    """Which error of the contract an error number is."""
    if code in _UNAVAILABLE:
        return Unavailable
    return Rejected if code in _REJECTED else DriverError


def power_of(state: int) -> Power:
    """virDomainState; crashed and shut off are both stopped."""
    return _POWERS.get(state, Power.STOPPED)


class _FineIf:
    def __init__(self, codes: tuple[ErrorCode, ...]) -> None:
        self._codes = codes

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        number_of = getattr(error, "get_error_code", None)  # what libvirtError has
        return number_of is not None and number_of() in self._codes


def fine_if(*codes: ErrorCode) -> _FineIf:
    """A `with` that leaves at libvirt's errors of these codes: somebody was faster, or there is nothing to do."""
    return _FineIf(codes)
