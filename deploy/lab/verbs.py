"""What can be done with a lab: up, down, adopt, restart, destroy, configure."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from deploy.lab import (
    application,
    directory,
    gateway,
    hosts,
    identity,
    names,
    network,
    pools,
    processes,
    programs,
    report,
    services,
    site,
    state,
)
from deploy.lab.layout import Lab
from deploy.lab.programs import Program
from deploy.lab.shell import LabError, say, step, wait_until
from deploy.lab.state import Choices, State
from deploy.lab.supervise import Row, Supervisor

GUESTS_SHUTDOWN_SECONDS = 25.0
KEPT = Choices()
"""As it was the last time."""
APPLICATION = ("web", "worker", "beat", "watch")
_NEEDED = (
    "ip",
    "nft",
    "nsenter",
    "unshare",
    "setpriv",
    "virsh",
    "slapd",
    "slapadd",
    "ldapadd",
    "redis-server",
    "nginx",
    "postfix",
)


@contextmanager
def exclusively(lab: Lab, *, create: bool) -> Iterator[None]:
    """Hold the lab's lock: two verbs that change the same lab wait for one another."""
    if create:
        lab.root.mkdir(parents=True, exist_ok=True)
    elif not lab.root.is_dir():
        raise LabError(f"there is no lab in {lab.root}", "start one with `make up`")
    descriptor = os.open(lab.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another command is at work on {lab.root}; waiting for it ...")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def up(lab: Lab, *, without: Sequence[str] = (), choices: Choices = KEPT) -> None:
    """Bring the lab up from whatever state it is in; harmless when it is up."""
    started = time.monotonic()
    _check_machine()
    with exclusively(lab, create=True):
        say(f"lab {lab.id} in {lab.root}: going up")
        supervisor = Supervisor(lab)
        _link(lab)
        running = supervisor.is_running()
        if running and not network.intact(lab):
            with step("its network is damaged: stopping everything first"):
                supervisor.shutdown()
            running = False
        if not running:
            _recover(lab)
        settled = state.settle(lab, choices, ports_in_use_are_ours=running)
        wanted, changed = _prepare(lab, settled, without)
        if running:
            supervisor.reread()
            supervisor.stop(changed)
        else:
            with step("supervisord"):
                supervisor.launch()
        _start_infrastructure(lab, settled, supervisor, wanted)
        _start_hosts(lab, supervisor, wanted)
        _start_application(lab, supervisor, wanted)
        say(f"up after {time.monotonic() - started:.1f} s")
        report.addresses(lab, settled, without)


def configure(lab: Lab) -> None:
    """Write secrets, certificates and placo.toml of a lab that is not started: enough for checks of the code."""
    with exclusively(lab, create=True):
        identity.ensure(lab)
        site.write_files(lab, state.load(lab) or State(8000, 8443))
    say(f"configuration {lab.configuration}")


def down(lab: Lab, *, grace: float = GUESTS_SHUTDOWN_SECONDS) -> None:
    """Bring everything down and leave no process, namespace, link or mount; what is on disk stays.

    Guests get `grace` seconds to shut down by themselves; their autostart flags stay, so `up` brings them back.
    """
    started = time.monotonic()
    if not lab.root.is_dir() and not _anything_runs(lab):
        say(f"there is no lab in {lab.root}: nothing to bring down")
        return
    # Without its folder, too: a lab that somebody deleted while it ran.
    with exclusively(lab, create=True):
        say(f"lab {lab.id} in {lab.root}: going down")
        _down(lab, grace)
        say(f"down after {time.monotonic() - started:.1f} s; everything on disk is kept")


def destroy(lab: Lab, *, grace: float = GUESTS_SHUTDOWN_SECONDS) -> None:
    """Bring the lab down and delete its root folder: databases, disks, directory, secrets."""
    if not lab.root.is_dir() and not _anything_runs(lab):
        say(f"there is no lab in {lab.root}: nothing to destroy")
        return
    down(lab, grace=grace)
    if not (lab.root / "state.json").exists() and any(p.name != "lock" for p in lab.root.iterdir()):
        raise LabError(f"{lab.root} does not look like a lab: nothing deleted")
    with step(f"deleting {lab.root}"):
        shutil.rmtree(lab.root)


def adopt(lab: Lab, *, without: Sequence[str] = ()) -> None:
    """Take over what a killed supervisord left running: guests go on, services are started anew."""
    if Supervisor(lab).is_running():
        say("the lab's supervisord is running: nothing to adopt")
        return
    if not _anything_runs(lab):
        raise LabError(f"nothing of lab {lab.id} is running", "start it with `make up`")
    up(lab, without=without)


def restart(lab: Lab, names: Sequence[str]) -> None:
    """Restart programs by name (web, worker, beat, watch when none is named)."""
    supervisor = Supervisor(lab)
    if not supervisor.is_running():
        raise LabError("the lab is down", "start it with `make up`")
    with exclusively(lab, create=False):
        known = {row.name for row in supervisor.rows()}
        chosen = list(names) or [name for name in APPLICATION if name in known]
        unknown = set(chosen) - known
        if unknown:
            raise LabError(
                f"no program {', '.join(sorted(unknown))}", f"there are {', '.join(sorted(known))}"
            )
        with step(f"restarting {', '.join(chosen)}"):
            supervisor.stop(chosen)
            settled = report.known_state(lab)
            supervisor.start([p for p in programs.all_of(lab, settled, ()) if p.name in chosen])
            if "web" in chosen:
                _await(lab, "web", lambda: services.portal_answers(lab), seconds=60)


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise LabError("a lab makes network namespaces and mounts: it needs root", "run it as root")
    missing = [name for name in _NEEDED if shutil.which(name, path=programs.SYSTEM_PATH) is None]
    if missing or not (programs.POSTGRES / "postgres").exists():
        raise LabError(f"not installed: {', '.join(missing) or 'PostgreSQL 15'}", "run `make setup`")


def _link(lab: Lab) -> None:
    lab.run.mkdir(parents=True, exist_ok=True)
    if lab.link.is_symlink() and lab.link.readlink() == lab.run:
        return
    if lab.link.exists() and not lab.link.is_symlink():
        raise LabError(f"{lab.link} is in the way and no symbolic link", "look what it is, and move it away")
    lab.link.unlink(missing_ok=True)
    lab.link.symlink_to(lab.run)


def _anything_runs(lab: Lab) -> bool:
    return bool(processes.of_lab(lab)) or any(network.inode(name) for name in lab.namespaces)


def _recover(lab: Lab) -> None:
    """Without a supervisord: end the services that a killed run left, keep its guests, forget dead hosts."""
    left = processes.of_lab(lab)
    orphans = [process for process in left if not process.outlives_libvirt]
    if orphans:
        with step(f"ending {len(orphans)} processes that a killed run left behind"):
            processes.end(orphans)
    services.forget_stale_postgres(lab)
    for host in lab.hosts:
        own = [process for process in processes.alive(left) if process.host == host.name]
        kept = host.folder.is_dir() and network.inode(host.namespace) is not None
        if kept and any(process.is_guest for process in own):
            guests = sum(process.is_guest for process in own)
            say(f"  {host.name}: {guests} guest(s) still run and are taken over")
            continue
        processes.end(own)
        hosts.forget_run(host)
        network.remove(host.namespace)


def _prepare(lab: Lab, settled: State, without: Sequence[str]) -> tuple[list[Program], list[str]]:
    lab.logs.mkdir(parents=True, exist_ok=True)
    with step("files, certificates, configuration"):
        identity.ensure(lab)
        site.write_files(lab, settled)
        services.prepare(lab, settled)
        directory.prepare(lab)
        gateway.prepare(lab)
        names.prepare(lab)
        for host in lab.hosts:
            hosts.prepare(host)
        wanted = programs.all_of(lab, settled, without)
        changed = programs.write_scripts(lab, wanted)
    with step("network namespaces, bridge, walls"):
        network.ensure(lab)
    return wanted, changed


def _start_infrastructure(lab: Lab, settled: State, supervisor: Supervisor, wanted: list[Program]) -> None:
    infrastructure = [program for program in wanted if program.part == "infra"]
    with step("PostgreSQL, Redis, directory, edge, mail gateway, DNS"):
        supervisor.start(infrastructure)
        _await(lab, "postgres", lambda: services.postgres_answers(lab))
        _await(lab, "redis", lambda: services.redis_answers(lab))
        _await(lab, "directory", lambda: directory.is_answering(lab))
        _await(lab, "edge", lambda: services.edge_answers(lab))
        _await(lab, "gateway", lambda: gateway.is_answering(lab))
        _await(lab, "names", lambda: names.is_answering(lab))
        _await(lab, "front", lambda: services.front_answers(settled))
        services.ensure_database(lab)
    with step("people, groups, projects in the directory"):
        directory.seed(lab)


def _start_hosts(lab: Lab, supervisor: Supervisor, wanted: list[Program]) -> None:
    chosen = [program for program in wanted if program.part == "hosts"]
    if not chosen:
        return
    with step("hypervisors " + ", ".join(program.name for program in chosen)):
        supervisor.start(chosen)
        for host in lab.hosts:
            hosts.check(host)
            hosts.ensure_pool(host)
    with (
        step("what their QEMU can do (some seconds the first time, then cached)"),
        ThreadPoolExecutor() as both,
    ):
        list(both.map(hosts.learn_capabilities, lab.hosts))


def _start_application(lab: Lab, supervisor: Supervisor, wanted: list[Program]) -> None:
    chosen = [program for program in wanted if program.part == "app"]
    if not chosen:
        return
    application.prepare(lab)
    with step(", ".join(("portal", *APPLICATION[1:]))):
        supervisor.start(chosen)
        _await(lab, "web", lambda: services.portal_answers(lab), seconds=60)
        for name in APPLICATION[1:]:
            _await(lab, name, lambda name=name: _state_of(supervisor, name) == "RUNNING")  # type: ignore[misc]


def _down(lab: Lab, grace: float) -> None:
    supervisor = Supervisor(lab)
    if supervisor.is_running():
        with step(", ".join(("portal", *APPLICATION[1:]))):
            supervisor.stop(["web", "watch", "beat", "worker"])
        if any(process.outlives_libvirt for process in processes.of_lab(lab)):
            with step("guests and their networks"):
                hosts.stop_guests(lab, seconds=grace)
        with step("everything else"):
            supervisor.shutdown()
    left = processes.of_lab(lab)
    if left:
        with step(f"ending {len(left)} processes left behind"):
            # QEMU closes its disks properly on TERM.
            processes.end(left)
    with step("namespaces, links, sockets"):
        for name in lab.namespaces:
            network.remove(name)
        lab.link.unlink(missing_ok=True)
        shutil.rmtree(lab.run, ignore_errors=True)
        services.forget_stale_postgres(lab)
    left = processes.of_lab(lab)
    if left:
        pids = ", ".join(f"{process.pid} ({process.name})" for process in left)
        raise LabError(
            f"processes that would not end: {pids}", "end them by hand, then run `make down` again"
        )
    pools.await_release(lab)


def _await(lab: Lab, name: str, condition: Callable[[], bool], *, seconds: float = 30) -> None:
    if not wait_until(condition, seconds=seconds, interval=0.15):
        raise LabError(f"{name} does not answer after {seconds:.0f} s", f"read {lab.logs / name}.log")


def _state_of(supervisor: Supervisor, name: str) -> str:
    rows: list[Row] = [row for row in supervisor.rows() if row.name == name]
    return rows[0].state if rows else "UNKNOWN"
