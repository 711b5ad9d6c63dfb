"""The doorman's contract: what he says of each way in which a door can let somebody in, refuse, or be no door at all."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from placo.domain.doors import KEY, Login, LoginKind
from placo.domain.doors import PASSWORD as BY_PASSWORD
from placo.drivers.certificates import create_root
from placo.drivers.doorman import EdgeDoorman
from placo.drivers.doors import Answer, Door, Doorman
from placo.drivers.fake_doorman import FakeDoorman
from placo.drivers.ssh import new_key
from tests.contract.door_servers import DoorServer
from tests.contract.door_ssh_server import SshDoorServer

ROOT = create_root("PLACO test root")
HOST = "alpha-any.placo.localhost"
UID, PASSWORD = "g-0-17-member", "très secret: <&> %s / +"
PROTOCOLS = {
    "basic": "https",
    "form": "https",
    "imap": "imaps",
    "smtp": "submissions",
    "xmpp": "xmpps",
    "ssh": "ssh",
}


def login(kind: str) -> Login:
    if kind == "form":
        return Login(LoginKind.FORM, user="_user", password="_pass", inside='id="inside"')
    if kind == "ssh":
        return Login(LoginKind.SSH, ways=(BY_PASSWORD,))
    return Login(LoginKind(kind))


class Outside:
    """A door of one kind, whoever stands before it."""

    def __init__(self, kind: str) -> None:
        self.door = Door(HOST, PROTOCOLS[kind], "/", login(kind))
        self.people: dict[str, str] = {}
        self.doorman: Doorman

    def hush(self) -> None:
        raise AssertionError("each kind says how")

    def stop(self) -> None:
        """Nothing to stop."""


class FakeOutside(Outside):
    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.doorman = self.fake = FakeDoorman(
            lambda door, uid, password: door == self.door and self.people.get(uid) == password
        )

    def hush(self) -> None:
        self.fake.silent.add(HOST)


class RealOutside(Outside):
    def __init__(self, kind: str, folder: Path) -> None:
        super().__init__(kind)
        self.server = SshDoorServer() if kind == "ssh" else DoorServer(kind, ROOT, HOST, folder)
        if isinstance(self.server, SshDoorServer):
            self.door = replace(self.door, port=self.server.port, host_key=self.server.host_key)
        self.people = self.server.people
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(ROOT.certificate)
        self.doorman = doorman_at(self.server.port, self.ca)

    def hush(self) -> None:
        self.server.mood = "mute"

    def stop(self) -> None:
        self.server.stop()


def doorman_at(port: int, ca: Path) -> EdgeDoorman:
    streams = dict.fromkeys(("imaps", "submissions", "xmpps"), ("127.0.0.1", port))
    return EdgeDoorman("127.0.0.1", ca, port, streams=streams)


@pytest.fixture(params=PROTOCOLS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["fake", "real"])
def outside(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Iterator[Outside]:
    made = FakeOutside(kind) if request.param == "fake" else RealOutside(kind, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def real(kind: str, tmp_path: Path) -> Iterator[RealOutside]:
    made = RealOutside(kind, tmp_path)
    yield made
    made.stop()


# --- what both keep ----------------------------------------------------------------------------------------------------


def test_who_is_known_comes_in_and_nobody_else(outside: Outside) -> None:
    outside.people[UID] = PASSWORD
    asked = outside.doorman.try_door
    assert asked(outside.door, UID, PASSWORD, 5).answer is Answer.ADMITTED
    assert asked(outside.door, UID, PASSWORD + "x", 5).answer is Answer.REFUSED
    assert asked(outside.door, "g-0-17-outsider", PASSWORD, 5).answer is Answer.REFUSED
    assert asked(outside.door, UID, PASSWORD, 5).answer is Answer.ADMITTED, "a refusal is not remembered"
    del outside.people[UID]
    assert asked(outside.door, UID, PASSWORD, 5).answer is Answer.REFUSED, "nor is a visit"


def test_a_door_that_says_nothing_is_given_up_in_time(outside: Outside) -> None:
    outside.people[UID] = PASSWORD
    outside.hush()
    began = time.monotonic()
    outcome = outside.doorman.try_door(outside.door, UID, PASSWORD, 0.5)
    assert time.monotonic() - began < 5
    assert (outcome.answer, outcome.said) == (Answer.SILENT, "no answer within 0.5 s")


def test_without_a_name_nobody_comes_in_where_a_name_is_asked_for(outside: Outside) -> None:
    outside.people[UID] = PASSWORD
    answer = outside.doorman.try_door(outside.door, None, "", 5).answer
    assert answer is not Answer.ADMITTED
    if outside.door.protocol == "https":
        assert answer is Answer.REFUSED


# --- what servers may do -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mood", ["garbage", "broken", "gone", "drip", "loud"])
def test_an_answer_that_is_none_is_silence_and_is_not_repeated(
    real: RealOutside, mood: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    real.people[UID] = PASSWORD
    real.server.mood = mood
    began = time.monotonic()
    outcome = real.doorman.try_door(real.door, UID, PASSWORD, 1)
    assert time.monotonic() - began < 5
    assert outcome.answer is Answer.SILENT, outcome
    assert outcome.said
    assert "secret" not in outcome.said + caplog.text
    assert UID not in outcome.said


def test_nobody_is_told_a_password_under_a_wrong_certificate(real: RealOutside, tmp_path: Path) -> None:
    real.people[UID] = PASSWORD
    if isinstance(real.server, SshDoorServer):
        stranger = replace(real.door, host_key=new_key()[1])
        assert real.doorman.try_door(stranger, UID, PASSWORD, 5).said == "the host key is not right"
        assert real.server.seen == []
        return
    stranger = Door("beta-any.placo.localhost", real.door.protocol, "/", real.door.login)
    assert "certificate" in real.doorman.try_door(stranger, UID, PASSWORD, 5).said
    (tmp_path / "other.pem").write_bytes(create_root("somebody else").certificate)
    outcome = doorman_at(real.server.port, tmp_path / "other.pem").try_door(real.door, UID, PASSWORD, 5)
    assert (outcome.answer, "certificate" in outcome.said) == (Answer.SILENT, True)
    assert doorman_at(real.server.port, tmp_path / "none.pem").try_door(
        real.door, UID, PASSWORD, 5
    ).answer is (Answer.SILENT)
    assert real.server.seen == []


def test_a_door_that_is_not_there_is_silent(real: RealOutside) -> None:
    real.server.stop()
    outcome = real.doorman.try_door(real.door, UID, PASSWORD, 5)
    assert (outcome.answer, outcome.said) == (Answer.SILENT, "the connection is refused or cut off")


def test_a_password_follows_no_form_to_another_server(tmp_path: Path) -> None:
    real = RealOutside("form", tmp_path)
    real.server.mood = "elsewhere"
    assert real.doorman.try_door(real.door, UID, PASSWORD, 5).said == "it leads elsewhere"
    real.stop()


def test_what_everybody_may_see_is_no_door(tmp_path: Path) -> None:
    real = RealOutside("form", tmp_path)
    everywhere = Login(LoginKind.FORM, user="_user", password="_pass", inside="<html>")
    open_ = Door(HOST, "https", "/", everywhere)
    assert real.doorman.try_door(open_, None, "", 5).answer is Answer.ADMITTED
    public = Door(HOST, "https", "/", Login(LoginKind.NONE))
    assert real.doorman.try_door(public, None, "", 5).answer is Answer.ADMITTED
    real.stop()


def test_a_public_door_that_asks_for_a_password_is_not_open(tmp_path: Path) -> None:
    real = RealOutside("basic", tmp_path)
    public = Door(HOST, "https", "/", Login(LoginKind.NONE))
    assert real.doorman.try_door(public, None, "", 5).answer is Answer.SILENT
    real.stop()


# --- ssh, by keys and by several ways --------------------------------------------------------------------------------------


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[RealOutside]:
    made = RealOutside("ssh", tmp_path)
    yield made
    made.stop()


def by(outside: RealOutside, *ways: str, user: str = "") -> Door:
    return replace(outside.door, login=Login(LoginKind.SSH, ways=ways), user=user)


def test_a_key_is_tried_and_a_wrong_one_refused(ssh: RealOutside) -> None:
    assert isinstance(ssh.server, SshDoorServer)
    private, ssh.server.keys[UID] = new_key()
    asked, door = ssh.doorman.try_door, by(ssh, KEY)
    assert asked(door, UID, PASSWORD, 5, key=private).answer is Answer.ADMITTED
    assert asked(door, UID, PASSWORD, 5, key=new_key()[0]).answer is Answer.REFUSED
    assert asked(door, "g-0-17-outsider", PASSWORD, 5, key=private).answer is Answer.REFUSED
    ssh.server.people[UID] = PASSWORD
    assert asked(door, UID, PASSWORD, 5, key=new_key()[0]).answer is Answer.REFUSED, "no password is given"


def test_everybody_is_the_user_whom_the_door_names(ssh: RealOutside) -> None:
    assert isinstance(ssh.server, SshDoorServer)
    private, ssh.server.keys["root"] = new_key()
    assert ssh.doorman.try_door(by(ssh, KEY, user="root"), UID, "", 5, key=private).answer is Answer.ADMITTED
    assert set(ssh.server.seen) == {"root"}


@pytest.mark.parametrize("ways", [(KEY, BY_PASSWORD), (BY_PASSWORD, KEY)])
def test_who_comes_in_by_one_way_alone_is_neither_in_nor_refused(
    ssh: RealOutside, ways: tuple[str, str]
) -> None:
    assert isinstance(ssh.server, SshDoorServer)
    private, public = new_key()
    asked, door = ssh.doorman.try_door, by(ssh, *ways)
    assert asked(door, UID, PASSWORD, 5, key=private).answer is Answer.REFUSED
    for people, keys in (({UID: PASSWORD}, {}), ({}, {UID: public})):
        ssh.server.people, ssh.server.keys = people, keys
        outcome = asked(door, UID, PASSWORD, 5, key=private)
        assert (outcome.answer, outcome.said.partition(",")[2]) == (Answer.SILENT, " but not by every way")
    ssh.server.people, ssh.server.keys = {UID: PASSWORD}, {UID: public}
    assert asked(door, UID, PASSWORD, 5, key=private).answer is Answer.ADMITTED


def test_a_platform_without_a_port_is_silent(ssh: RealOutside) -> None:
    assert ssh.doorman.try_door(replace(ssh.door, port=None), UID, PASSWORD, 5).answer is Answer.SILENT
