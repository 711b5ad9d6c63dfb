"""PLACO's own network filter: what ties a machine's card to its MAC and address, in as few rules as possible.

libvirt starts one ebtables process a rule and several a chain, one after the other on a host; its own `clean-traffic`
takes three times as long (docs/adr/0008-a-slim-nwfilter.md). Every NIC refers to the filter by name, with its address
as $IP; $MAC is libvirt's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxml import etree
from lxml.builder import E

from placo.drivers.libvirt_codes import ErrorCode, fine_if
from placo.drivers.libvirt_xml import FILTER

if TYPE_CHECKING:
    import libvirt

# Two workers that define the filter at once must mean the same one: libvirt refuses a name under a second UUID.
_UUID = "0f0f2d5c-5b0e-5c5c-9d8e-7a3c1d6e4b52"
_ANY = "0.0.0.0"  # noqa: S104 - nothing is bound: who has no address yet sends from this one


def filter_xml(uuid: str = _UUID) -> str:
    """Lets out IPv4 and ARP of this MAC and address, ARP probes and DHCP requests; nothing else.

    A frame with a VLAN tag is neither IPv4 nor ARP to ebtables. What comes in is not filtered: the machines of a bridge
    are all bound in this way, and a rule for it would cost a second set of chains.
    """
    mac = {"srcmacaddr": "$MAC"}
    arp = mac | {"arpsrcmacaddr": "$MAC"}
    dhcp = {"dstipaddr": "255.255.255.255", "protocol": "udp", "srcportstart": "68", "dstportstart": "67"}
    allowed = (
        E.ip(mac, srcipaddr="$IP"),
        E.arp(arp, arpsrcipaddr="$IP"),
        E.arp(arp, arpsrcipaddr=_ANY),  # whether an address is free (RFC 5227)
        E.ip(mac | dhcp, srcipaddr=_ANY),
    )
    document = E.filter(
        E.uuid(uuid),
        *(
            E.rule(match, action="accept", direction="out", priority=str(100 * number))
            for number, match in enumerate(allowed, 1)
        ),
        E.rule(action="drop", direction="out", priority="1000"),
        name=FILTER,
        chain="root",
    )
    return str(etree.tostring(document, pretty_print=True, encoding="unicode"))


def available(connection: libvirt.virConnect) -> bool:
    """Whether the host has network filters at all."""
    with fine_if(ErrorCode.NO_SUPPORT):
        connection.listNWFilters()
        return True
    return False


class OwnFilter:
    """Sees to it that a host has PLACO's filter; asks once per connection."""

    def __init__(self) -> None:
        self._seen_on: libvirt.virConnect | None = None

    def ensure(self, connection: libvirt.virConnect) -> None:
        """Define the filter if it is missing or says something else; no other filter is touched.

        libvirt puts a changed definition into force on running machines too.
        """
        if connection is self._seen_on:
            return
        if FILTER not in connection.listNWFilters():
            connection.nwfilterDefineXML(filter_xml())
        else:
            found = connection.nwfilterLookupByName(FILTER)
            if not same(found.XMLDesc(), filter_xml()):
                connection.nwfilterDefineXML(filter_xml(found.UUIDString()))
        self._seen_on = connection


def same(one: str, other: str) -> bool:
    """Whether two definitions say the same, whatever their UUIDs and layout."""
    return _canonical(one) == _canonical(other)


def _canonical(xml: str) -> bytes:
    document = etree.fromstring(xml, etree.XMLParser(remove_blank_text=True, remove_comments=True))
    for uuid in document.findall("uuid"):
        document.remove(uuid)
    return bytes(etree.tostring(document, method="c14n"))
