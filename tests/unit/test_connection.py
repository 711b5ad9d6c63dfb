"""A shared connection: nobody waits long for a far side that hangs, nobody at all for one that just failed."""

from __future__ import annotations

import threading
import time

import pytest

from placo.drivers import connection
from placo.drivers.connection import Patience, SharedConnection
from placo.drivers.ports import Unavailable


class Far:
    """A far side: `refuse` makes it say no, a `gate` that is closed makes it hang."""

    def __init__(self) -> None:
        self.refuse, self.alive, self.opened = False, True, 0
        self.gate = threading.Event()
        self.gate.set()

    def open(self) -> int:
        self.opened += 1
        self.gate.wait(30)
        if self.refuse:
            raise OSError("refused")
        return self.opened

    def shared(self, timeout_s: float = 0.2) -> SharedConnection[int]:
        return SharedConnection("far", self.open, lambda _number: self.alive, timeout_s)


def test_one_connection_for_all_until_it_dies() -> None:
    far = Far()
    shared = far.shared()
    assert [shared.get(), shared.get()] == [1, 1]
    far.alive = False
    assert shared.is_dead()
    assert shared.get() == 2


def test_who_was_refused_is_not_asked_again_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    far = Far()
    far.refuse = True
    shared = far.shared()
    for _turn in range(5):
        with pytest.raises(Unavailable, match="refused"):
            shared.get()
    assert far.opened == 1
    far.refuse = False
    monkeypatch.setattr(connection, "PAUSE_S", 0)
    assert shared.get() == 2


def test_only_the_first_waits_for_one_that_hangs() -> None:
    far = Far()
    far.gate.clear()
    shared = far.shared(timeout_s=0.3)
    with pytest.raises(Unavailable):
        shared.get()
    began = time.monotonic()
    for _turn in range(20):
        with pytest.raises(Unavailable, match=r"within 0.3 s"):
            shared.get()
    assert time.monotonic() - began < 0.3
    assert far.opened == 1
    far.gate.set()
    while shared._attempt is not None and not shared._attempt.done():
        pass
    assert shared.get() == 1, "it answered after all"


def test_an_attempt_that_hangs_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    far = Far()
    far.gate.clear()
    shared = far.shared(timeout_s=0.05)
    with pytest.raises(Unavailable):
        shared.get()
    hanging, far.gate = far.gate, threading.Event()
    far.gate.set()
    monkeypatch.setattr(connection, "GIVEN_UP_S", 0)
    assert shared.get() == 2
    hanging.set()


def test_a_call_that_hangs_is_left_alone() -> None:
    patience, gate = Patience("far", 0.05), threading.Event()
    with pytest.raises(TimeoutError):
        patience.call(lambda: gate.wait(30))
    assert patience.call(lambda: "there") == "there"
    with pytest.raises(OSError, match="no"):
        patience.call(_no)
    gate.set()


def _no() -> None:
    raise OSError("no")
