"""What machines are told about themselves."""

from __future__ import annotations

import io
import re
import tarfile
from dataclasses import replace

from placo import wiring
from placo.domain.protocols import SMTP
from placo.platforms.models import Project, User
from placo.services import seeds
from tests.factories import ready_platform
from tests.fakes import World


def test_what_was_not_asked_yet_has_its_default(
    world: World, optics: Project, emmy: User, admin: User
) -> None:
    """A platform that is older than an option of the catalogue is told its default, and else what was chosen."""
    plan = ready_platform(world, emmy, admin, services=["web"], options={"web": {"php": False}}).plan
    old = replace(plan, options={"web": {"php": False}})
    assert seeds.context(old, old.machine("www"))["options"] == {"web": {"php": False, "owners_only": False}}
    older = replace(plan, options={})
    assert seeds.context(older, older.machine("www"))["options"]["web"]["php"] is True
    assert seeds.archive(older, older.machine("www"))


def test_a_machine_is_told_what_was_chosen(world: World, optics: Project, emmy: User, admin: User) -> None:
    services = ["chat", "gateway", "git"]
    usual = ready_platform(world, emmy, admin, services=services).plan
    chosen = {"chat": {"kept_days": 30}, "gateway": {"tunnels": False}, "git": {"members_make": True}}
    plans = {"usual": usual, "chosen": replace(usual, options=chosen)}
    told = {
        kind: {name: _files(seeds.archive(plan, plan.machine(name))) for name in services}
        for kind, plan in plans.items()
    }
    for kind, kept, tunnels, makers in (
        ("usual", "365d", "local", "owners"),
        ("chosen", "30d", "no", "members"),
    ):
        prosody = told[kind]["chat"]["root/etc/prosody/prosody.cfg.lua"]
        assert prosody.count(f'expires_after = "{kept}"') == 2
        assert f"AllowTcpForwarding {tunnels}\n" in told[kind]["gateway"]["root/etc/ssh/sshd_config"]
        assert told[kind]["git"]["root/etc/placo/git-makers"] == f"{makers}\n"


def test_a_machine_has_mail_of_its_own_name(world: World, optics: Project, emmy: User, admin: User) -> None:
    """Where several machines of a platform have mail, each is told its own domain and no other one's. With all services at once."""
    everything = list(wiring.catalogue().services)
    optics.quota_machines, optics.quota_vcpus, optics.quota_memory_mib = 20, 20, 20_000
    optics.save()
    plan = ready_platform(world, emmy, admin, services=everything).plan
    domains = {e.machine: e.host for e in plan.endpoints if e.protocol == SMTP}
    assert {"mail", "monitoring"} <= set(domains)
    for name, domain in domains.items():
        told = _files(seeds.archive(plan, plan.machine(name)))
        assert f"{domain}\n" in told["root/etc/postfix/main.cf"], name
        others = [other for other in domains.values() if other != domain]
        of_mail = {path: text for path, text in told.items() if _OF_MAIL.search(path)}
        for other in others:
            # A domain may be the end of another: only whole names count.
            wrong = re.compile(rf"(?<![\w.-]){re.escape(other)}(?![\w.-])")
            assert [path for path, text in of_mail.items() if wrong.search(text)] == [], name


_OF_MAIL = re.compile(r"postfix|opendkim|roundcube|dkim")


def _files(archive: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        opened = {entry.name: tar.extractfile(entry) for entry in tar}
        return {name: content.read().decode(errors="replace") for name, content in opened.items() if content}
