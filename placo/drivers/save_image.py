"""The head of a file that libvirt saves a running domain to: read, and written anew for another domain.

Format: libvirt's src/qemu/qemu_saveimage.h (``virQEMUSaveData``), as libvirt 9.0 writes it. All numbers are unsigned, 32 bits, in the
order of the host's bytes (x86-64: little-endian)::

    magic[16]  version  data_len  was_running  compressed  cookie_offset  unused[14]
    data_len bytes: domain XML, NUL, [at cookie_offset: cookie XML, NUL,] zeros
    QEMU's migration stream

A template's file is *sealed*: it has a magic of our own, which libvirt refuses, and says in the XML how long it is. So neither a
template nor a copy of it can be resumed by mistake; only a copy that was made whole gets libvirt's magic back, last of all.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from lxml import etree

from placo.drivers.ports import TemplateBroken

LIBVIRT_MAGIC = b"LibvirtQemudSave"
SEALED_MAGIC = b"PlacoTemplateSav"
MAGIC_LENGTH = 16
VERSION = 2
MAX_DATA = 4 * 1024 * 1024
"""More than any description of a domain takes: libvirt leaves 64 KiB of room for it to grow."""

_HEAD = struct.Struct("<16s5I56x")
HEAD_LENGTH = _HEAD.size


@dataclass(frozen=True)
class SaveHead:
    """What stands before the memory. `room` is data_len: XML and cookie must fit into it, or the memory would move."""

    magic: bytes
    room: int
    running: bool
    compressed: int
    xml: bytes
    cookie: bytes

    @property
    def length(self) -> int:
        """Bytes before the memory."""
        return HEAD_LENGTH + self.room

    def with_xml(self, xml: bytes) -> SaveHead:
        """The same for another description of the domain."""
        return replace(self, xml=xml)


def room_of(head: bytes) -> int:
    """How many bytes follow the first `HEAD_LENGTH` ones before the memory; TemplateBroken if that is no such head."""
    if len(head) < HEAD_LENGTH:
        raise TemplateBroken("the saved memory is cut off in its header")
    magic, version, room, _running, _compressed, _cookie = _HEAD.unpack(head[:HEAD_LENGTH])
    if magic not in (LIBVIRT_MAGIC, SEALED_MAGIC):
        raise TemplateBroken(f"the saved memory begins with {magic!r}: it was not written to its end")
    if version != VERSION:
        raise TemplateBroken(f"the saved memory has format version {version}, not {VERSION}")
    if not 0 < room <= MAX_DATA:
        raise TemplateBroken(f"the saved memory's description would be {room} bytes long")
    return int(room)


def parse(data: bytes) -> SaveHead:
    """Head and description; `data` is at least as long as both. TemplateBroken if something is wrong with them."""
    room = room_of(data)
    magic, _version, _room, running, compressed, cookie_at = _HEAD.unpack(data[:HEAD_LENGTH])
    body = data[HEAD_LENGTH : HEAD_LENGTH + room]
    if len(body) < room:
        raise TemplateBroken("the saved memory is cut off in its description")
    xml, end, _rest = body.partition(b"\0")
    if not end or not xml.startswith(b"<") or (cookie_at and not len(xml) < cookie_at < room):
        raise TemplateBroken("the saved memory's description is damaged")
    cookie = body[cookie_at:].partition(b"\0")[0] if cookie_at else b""
    for part in filter(None, (xml, cookie)):
        try:
            etree.fromstring(part)
        except etree.XMLSyntaxError as error:
            raise TemplateBroken(f"the saved memory's description is damaged: {error}") from error
    return SaveHead(magic, room, bool(running), compressed, xml, cookie)


def build(head: SaveHead) -> bytes:
    """The bytes of a head, exactly as long as it was; TemplateBroken when the description has outgrown its room."""
    xml = head.xml + b"\0"
    body = xml + (head.cookie + b"\0" if head.cookie else b"")
    if len(body) > head.room:
        raise TemplateBroken(f"the new description takes {len(body)} bytes, there is room for {head.room}")
    cookie_at = len(xml) if head.cookie else 0
    fields = _HEAD.pack(head.magic, VERSION, head.room, head.running, head.compressed, cookie_at)
    return fields + body.ljust(head.room, b"\0")
