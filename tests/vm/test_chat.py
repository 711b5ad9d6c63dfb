"""The chat of a platform, with a client of XMPP through the edge: who talks to whom, and who is put out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from slixmpp import JID, ClientXMPP, Message

from deploy.client import Account, Lab, wait_for
from tests.lab_world import Made, World
from tests.vm.streams import port_of

PATIENCE_S = 40
REFUSED_WITHIN_S = 5


class Talker(ClientXMPP):
    """Somebody who logs in, and hears."""

    def __init__(self, lab: Lab, account: Account, host: str, password: str | None = None) -> None:
        super().__init__(JID(f"{account.uid}@{host}"), password or account.password)
        self.register_plugin("xep_0045")
        self.ca_certs = str(lab.ca)
        self.enable_starttls, self.enable_direct_tls, self.enable_plaintext = False, True, False
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard: asyncio.Queue[Message] = asyncio.Queue()
        self.add_event_handler("session_start", lambda _event: self._came("in"))
        self.add_event_handler("failed_all_auth", lambda _event: self._came("refused"))
        self.add_event_handler("disconnected", lambda _event: self._went())
        self.add_event_handler("message", self.heard.put_nowait)

    def _came(self, how: str) -> None:
        if not self.outcome.done():
            self.outcome.set_result(how)

    def _went(self) -> None:
        self._came("cut off")
        if not self.gone.done():
            self.gone.set_result(None)


@asynccontextmanager
async def talking(
    lab: Lab, port: int, role: str, host: str, password: str | None = None
) -> AsyncIterator[Talker]:
    """Somebody who has tried to log in; `outcome` says with what success."""
    talker = Talker(lab, lab.accounts[role], host, password)
    talker.connect("127.0.0.1", port)
    try:
        await asyncio.wait_for(asyncio.shield(talker.outcome), PATIENCE_S)
        yield talker
    finally:
        await asyncio.wait_for(talker.disconnect(wait=1.0, ignore_send_queue=True), 10)


async def outcome(lab: Lab, port: int, role: str, host: str, password: str | None = None) -> str:
    async with talking(lab, port, role, host, password) as talker:
        return talker.outcome.result()


@pytest.fixture(scope="module")
def talk(world: World) -> Iterator[Made]:
    """A platform with a chat, of which `member` is a member."""
    world.ask("talk", "chat")
    made = world.ready("talk")
    member = world.lab.accounts["member"].uid
    run = made.owner("PUT", f"/platforms/talk/members/{member}")
    made.owner.wait_for_run(run["run_id"])
    yield made
    world.retire("talk")


@pytest.fixture
def port(lab: Lab) -> Iterator[int]:
    with port_of(lab, "xmpps") as number:
        yield number


@pytest.fixture
def host(talk: Made) -> str:
    """The name after the @."""
    return talk.url("chat").removeprefix("xmpps://").partition(":")[0]


def test_members_know_each_other_and_talk(lab: Lab, port: int, host: str) -> None:
    async def story() -> None:
        async with talking(lab, port, "owner", host) as owner, talking(lab, port, "member", host) as member:
            assert (owner.outcome.result(), member.outcome.result()) == ("in", "in")
            roster = await owner.get_roster()
            assert member.boundjid.bare in {str(jid) for jid in roster["roster"]["items"]}
            for each in (owner, member):
                each.send_presence()
            owner.send_message(member.boundjid.bare, "The proof of lemma 3 is wrong.")
            heard = await asyncio.wait_for(member.heard.get(), PATIENCE_S)
            assert (heard["body"], heard["from"].bare) == (
                "The proof of lemma 3 is wrong.",
                owner.boundjid.bare,
            )

    asyncio.run(story())


def test_a_room_is_made_by_entering_it(lab: Lab, port: int, host: str) -> None:
    async def story() -> str:
        room = JID(f"seminar@rooms.{host}")
        async with talking(lab, port, "owner", host) as owner, talking(lab, port, "member", host) as member:
            for each in (owner, member):
                each.send_presence()
                await each.plugin["xep_0045"].join_muc_wait(room, each.boundjid.user, timeout=PATIENCE_S)
            owner.send_message(room, "Who brings the coffee?", mtype="groupchat")
            said = ""
            while not said:  # the room's subject comes first, and has no body
                said = (await asyncio.wait_for(member.heard.get(), PATIENCE_S))["body"]
            return said

    assert asyncio.run(story()) == "Who brings the coffee?"


def test_who_is_no_member_is_refused(lab: Lab, port: int, host: str) -> None:
    assert asyncio.run(outcome(lab, port, "outsider", host)) == "refused"
    assert asyncio.run(outcome(lab, port, "member", host, "not the password")) == "refused"


def test_who_is_removed_is_put_out_and_refused(lab: Lab, port: int, host: str, talk: Made) -> None:
    member = lab.accounts["member"].uid

    async def story() -> float:
        async with talking(lab, port, "member", host) as talker:
            assert talker.outcome.result() == "in"
            run = await asyncio.to_thread(talk.owner, "DELETE", f"/platforms/talk/members/{member}")
            await asyncio.to_thread(talk.owner.wait_for_run, run["run_id"])
            removed = time.monotonic()
            await asyncio.wait_for(talker.gone, PATIENCE_S)
            return time.monotonic() - removed

    took = asyncio.run(story())
    assert took < REFUSED_WITHIN_S
    assert asyncio.run(outcome(lab, port, "member", host)) == "refused"
    again = talk.owner("PUT", f"/platforms/talk/members/{member}")
    talk.owner.wait_for_run(again["run_id"])
    wait_for(
        lambda: asyncio.run(outcome(lab, port, "member", host)) == "in" or None, 20, "the member is back"
    )
