"""The head of a saved memory: what is whole is read and written to the byte, what is damaged is refused with a reason."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placo.drivers import save_image
from placo.drivers.ports import TemplateBroken
from placo.drivers.save_image import HEAD_LENGTH, LIBVIRT_MAGIC, SEALED_MAGIC, SaveHead

XML, COOKIE = b"<domain type='qemu'><name>a</name></domain>", b"<qemu><slirp/></qemu>"
HEAD = SaveHead(LIBVIRT_MAGIC, 4096, True, 0, XML, COOKIE)
FIELDS = struct.Struct("<16s5I")


def damaged(**fields: object) -> bytes:
    """A whole head, but for some numbers at its beginning."""
    names = ("magic", "version", "room", "running", "compressed", "cookie")
    data = save_image.build(HEAD)
    found = dict(zip(names, FIELDS.unpack(data[: FIELDS.size]), strict=True)) | fields
    return FIELDS.pack(*found.values()) + data[FIELDS.size :]


def test_the_format_is_libvirts() -> None:
    """Offsets of struct _virQEMUSaveHeader, written out by hand."""
    data = save_image.build(HEAD)
    assert data[:16] == b"LibvirtQemudSave"
    assert struct.unpack_from("<5I", data, 16) == (2, 4096, 1, 0, len(XML) + 1)
    assert data[36:92] == bytes(56)
    assert (HEAD_LENGTH, len(data)) == (92, 92 + 4096)
    assert data[92:].startswith(XML + b"\0" + COOKIE + b"\0")
    assert not data[92 + len(XML) + len(COOKIE) + 2 :].strip(b"\0")


@given(
    room=st.integers(len(XML) + len(COOKIE) + 2, 70_000),
    running=st.booleans(),
    compressed=st.integers(0, 2**32 - 1),
    cookie=st.sampled_from([b"", COOKIE]),
    magic=st.sampled_from([LIBVIRT_MAGIC, SEALED_MAGIC]),
    memory=st.binary(max_size=50),
)
def test_what_is_written_is_read_back(
    room: int, running: bool, compressed: int, cookie: bytes, magic: bytes, memory: bytes
) -> None:
    head = SaveHead(magic, room, running, compressed, XML, cookie)
    data = save_image.build(head)
    assert len(data) == head.length == HEAD_LENGTH + room
    assert save_image.parse(data + memory) == head
    assert save_image.room_of(data[:HEAD_LENGTH]) == room


def test_another_description_never_moves_the_memory() -> None:
    for length in range(0, HEAD.room - len(COOKIE) - 20, 97):
        other = HEAD.with_xml(b"<d>" + b"x" * length + b"</d>")
        assert len(save_image.build(other)) == HEAD.length
        assert save_image.parse(save_image.build(other)).cookie == COOKIE


@pytest.mark.parametrize("cookie", [b"", COOKIE])
def test_a_description_has_exactly_its_room(cookie: bytes) -> None:
    most = HEAD.room - 1 - (len(cookie) + 1 if cookie else 0)
    fits = replace(HEAD, cookie=cookie, xml=b"<d>" + b"x" * (most - 7) + b"</d>")
    assert save_image.parse(save_image.build(fits)) == fits
    with pytest.raises(TemplateBroken, match=f"takes {HEAD.room + 1} bytes, there is room for {HEAD.room}"):
        save_image.build(fits.with_xml(b"<d>" + b"x" * (most - 6) + b"</d>"))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut off in its header"),
        (save_image.build(HEAD)[: HEAD_LENGTH - 1], "cut off in its header"),
        (damaged(magic=b"LibvirtQemudPart"), "not written to its end"),
        (damaged(magic=bytes(16)), "not written to its end"),
        (damaged(version=1), "format version 1"),
        (damaged(version=3), "format version 3"),
        (damaged(version=0x02000000), "format version"),  # the bytes of a big-endian host
        (damaged(room=0), "0 bytes long"),
        (damaged(room=save_image.MAX_DATA + 1), "bytes long"),
        (damaged(room=2**32 - 1), "bytes long"),
        (save_image.build(HEAD)[:-1], "cut off in its description"),
        (damaged(room=4097), "cut off in its description"),
        (damaged(room=len(XML)), "description is damaged"),  # its NUL is outside
        (damaged(cookie=HEAD.room), "description is damaged"),
        (damaged(cookie=2**32 - 1), "description is damaged"),
        (damaged(cookie=1), "description is damaged"),  # in the middle of the XML
        (damaged(cookie=len(XML)), "description is damaged"),
        (damaged(cookie=len(XML) + 2), "description is damaged"),  # in the middle of the cookie
        (save_image.build(HEAD)[:HEAD_LENGTH] + b"x" * 4096, "description is damaged"),  # no NUL
        (save_image.build(HEAD)[:HEAD_LENGTH] + bytes(4096), "description is damaged"),
        (save_image.build(replace(HEAD, xml=XML[:-3])), "description is damaged"),
        (save_image.build(replace(HEAD, cookie=b"<qemu>")), "description is damaged"),
    ],
)
def test_what_is_damaged_is_refused_with_its_reason(data: bytes, why: str) -> None:
    with pytest.raises(TemplateBroken, match=why):
        save_image.parse(data)


def test_random_bytes_are_refused_and_nothing_else() -> None:
    for seed in range(500):
        chance = random.Random(seed)
        for start in (b"", LIBVIRT_MAGIC, SEALED_MAGIC, save_image.build(HEAD)[: chance.randrange(92)]):
            with pytest.raises(TemplateBroken):
                save_image.parse(start + chance.randbytes(chance.randrange(400)))


def test_single_wrong_bytes_are_refused_or_harmless() -> None:
    """Whatever is changed: either TemplateBroken, or a head that is written and read again as it is."""
    whole = save_image.build(replace(HEAD, room=256))
    for at in range(len(whole)):
        for value in (0, 1, 0x3C, 0x7F, 0xFF):
            data = whole[:at] + bytes([value]) + whole[at + 1 :]
            try:
                found = save_image.parse(data)
            except TemplateBroken:
                continue
            assert found.room == 256
            assert save_image.parse(save_image.build(found)) == found


def test_a_description_that_wants_a_file_of_the_portal_is_refused() -> None:
    hostile = b"<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><d>&e;</d>"
    with pytest.raises(TemplateBroken, match="Entity 'e' not defined"):
        save_image.parse(save_image.build(replace(HEAD, xml=hostile)))


def test_a_sealed_head_differs_in_its_magic_alone() -> None:
    sealed, plain = save_image.build(replace(HEAD, magic=SEALED_MAGIC)), save_image.build(HEAD)
    assert sealed[16:] == plain[16:]
    assert len({LIBVIRT_MAGIC, SEALED_MAGIC}) == 2
    assert {len(LIBVIRT_MAGIC), len(SEALED_MAGIC)} == {save_image.MAGIC_LENGTH}
