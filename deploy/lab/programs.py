"""The supervised processes of a lab: their start scripts and supervisord's configuration.

Each start script is a small shell file in `<root>/programs` that ends in `exec`, so that signals reach the program
itself. Programs that insist on a user of their own get a mount namespace in which a private folder stands at a path
of the system (/var/lib/postgresql, /run ...): it works when the checkout lies below /root, and keeps socket paths short.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.lab.layout import (
    DIRECTORY_ADDRESS,
    MARKER,
    REPOSITORY,
    SOCKET_PATH_LIMIT,
    Host,
    Lab,
)
from deploy.lab.network import namespace_file
from deploy.lab.pools import MOUNT_OPTIONS
from deploy.lab.shell import LabError, render, write
from deploy.lab.state import State

POSTGRES = Path("/usr/lib/postgresql/15/bin")
GATEWAY_HOME = "/var/lib/postfix"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What `--without` can leave out.
PARTS = ("app", "hosts")

Binds = tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class Program:
    """One supervised process. `part` is infra, hosts or app; `priority` orders start and (reversed) stop."""

    name: str
    part: str
    script: str
    priority: int
    stop_signal: str = "TERM"
    stop_seconds: int = 15
    folder: Path = Path("/")


def postgres_binds(lab: Lab) -> Binds:
    """What PostgreSQL sees: its cluster at its Debian home, its socket folder as /run."""
    return (lab.root / "postgres", "/var/lib/postgresql"), (lab.run / "postgres", "/run")


def redis_binds(lab: Lab) -> Binds:
    """The same for Redis."""
    return (lab.root / "redis", "/var/lib/redis"), (lab.run / "redis", "/run")


def slapd_binds(lab: Lab) -> Binds:
    """The same for slapd: config, data and tls below /var/lib/ldap."""
    return (lab.root / "directory", "/var/lib/ldap"), (lab.run / "slapd", "/run")


def gateway_binds(lab: Lab) -> Binds:
    """The same for the mail gateway's Postfix."""
    return ((lab.gateway, GATEWAY_HOME),)


def private_command(binds: Binds, user: str | None, command: Sequence[object]) -> list[str]:
    """`command` in a mount namespace with `binds` (folder, where it is seen), as a system user or as root."""
    mounts = "; ".join(f"mount --bind {shlex.quote(str(source))} {target}" for source, target in binds)
    become = f"setpriv --reuid={user} --regid={user} --init-groups -- " if user else ""
    script = f'{mounts}; exec {become}"$@"'
    words = [str(word) for word in command]
    return ["unshare", "--mount", "--propagation", "slave", "sh", "-euc", script, "sh", *words]


def all_of(lab: Lab, state: State, without: Sequence[str]) -> list[Program]:
    """The programs of this start, in starting order."""
    programs = [_postgres(lab), _redis(lab), _directory(lab), _edge(lab), _gateway(lab), _names(lab)]
    programs += [_front(lab)]
    programs += [_host(state, host) for host in lab.hosts]
    programs += [_web(lab), _celery(lab, "worker", 60), _celery(lab, "beat", 61), _watch(lab)]
    return [program for program in programs if program.part not in without]


def write_scripts(lab: Lab, programs: Sequence[Program]) -> list[str]:
    """Write the start scripts and supervisord's configuration; returns the programs whose script changed."""
    _check_socket_paths(lab)
    changed = [p.name for p in programs if write(lab.programs / p.name, p.script, 0o755)]
    write(
        lab.root / "supervisor.conf",
        render(
            "supervisor.conf.j2",
            lab=lab,
            programs=programs,
            marker=MARKER,
            path=SYSTEM_PATH,
            # supervisord expands %(name)s; a path may hold a percent sign of its own.
            escape=lambda text: str(text).replace("%", "%%"),
        ),
    )
    return changed


def environment(lab: Lab) -> dict[str, str]:
    """What the portal's programs, management commands and one-off tools get; never a secret."""
    return {
        "PATH": SYSTEM_PATH,
        "LANG": "C.UTF-8",
        "HOME": "/root",
        "PYTHONUNBUFFERED": "1",
        "PLACO_CONFIG": str(lab.configuration),
        MARKER: lab.id,
    }


def in_portal(lab: Lab, command: Sequence[object]) -> list[str]:
    """`command` in the portal's network namespace."""
    return ["nsenter", f"--net={namespace_file(lab.namespace)}", *(str(word) for word in command)]


def _script(lab: Lab, name: str, why: str, command: Sequence[str], *, sockets: Sequence[Path] = ()) -> str:
    reap = [
        str(lab.python),
        "-m",
        "deploy.lab.reap",
        str(lab.root),
        name,
        *(str(socket) for socket in sockets),
    ]
    return render(
        "program.sh.j2",
        why=why,
        repository=shlex.quote(str(REPOSITORY)),
        reap=shlex.join(reap),
        command=shlex.join(command),
    )


def _postgres(lab: Lab) -> Program:
    server = [POSTGRES / "postgres", "-D", "/var/lib/postgresql/data"]
    command = in_portal(lab, private_command(postgres_binds(lab), "postgres", server))
    # INT is PostgreSQL's fast shutdown: TERM would wait for every client to leave.
    script = _script(lab, "postgres", "PostgreSQL 15, UNIX socket only.", command)
    return Program("postgres", "infra", script, 10, stop_signal="INT", stop_seconds=30)


def _redis(lab: Lab) -> Program:
    server = ["/usr/bin/redis-server", "/var/lib/redis/redis.conf"]
    command = in_portal(lab, private_command(redis_binds(lab), "redis", server))
    return Program("redis", "infra", _script(lab, "redis", "Redis 7, UNIX socket only.", command), 10)


def _directory(lab: Lab) -> Program:
    listen = f"ldaps://{DIRECTORY_ADDRESS}:636/ ldapi://%2Frun%2Fldapi/"
    server = ["/usr/sbin/slapd", "-d", "none", "-F", "/var/lib/ldap/config", "-h", listen]
    server += ["-u", "openldap", "-g", "openldap"]
    # slapd makes a table with a row for each descriptor it may open, and glibc would keep argon2's 19 MiB for each
    # thread: without these two, 1 GB and 95 MB where 15 MB do.
    frugal = ["prlimit", "--nofile=4096:4096", "env", "MALLOC_MMAP_THRESHOLD_=1048576"]
    command = in_portal(lab, private_command(slapd_binds(lab), None, [*frugal, *server]))
    script = _script(
        lab, "directory", "OpenLDAP: LDAPS for the platforms, a UNIX socket for the portal.", command
    )
    return Program("directory", "infra", script, 10)


def _edge(lab: Lab) -> Program:
    command = in_portal(lab, _nginx(lab, lab.edge / "nginx.conf", "edge"))
    why = "nginx in front of all platforms."
    return Program("edge", "infra", _script(lab, "edge", why, command, sockets=lab.edge_sockets), 20)


def _names(lab: Lab) -> Program:
    why = "Knot: the zone with the names of all platforms."
    return Program("names", "infra", _script(lab, "names", why, in_portal(lab, knot(lab.names))), 20)


def _gateway(lab: Lab) -> Program:
    command = in_portal(lab, private_command(gateway_binds(lab), None, postfix(f"{GATEWAY_HOME}/etc")))
    why = "Postfix: takes mail for all platforms, and theirs out."
    return Program("gateway", "infra", _script(lab, "gateway", why, command), 20)


def postfix(config: object) -> list[str]:
    """The command that runs Postfix in the foreground. -d: it stays in the process group that it was started in."""
    return ["sh", "-euc", f"postfix -c {config} check; exec /usr/lib/postfix/sbin/master -c {config} -d"]


def knot(folder: Path) -> list[str]:
    """The command that runs Knot in the foreground."""
    return ["/usr/sbin/knotd", "-c", str(folder / "knot.conf")]


def _front(lab: Lab) -> Program:
    why = (
        "The lab's two ports on the machine's own loopback, forwarded to the portal's and the edge's sockets."
    )
    command = _nginx(lab, lab.root / "front" / "nginx.conf", "front")
    return Program("front", "infra", _script(lab, "front", why, command), 70)


def _nginx(lab: Lab, configuration: Path, name: str) -> list[str]:
    return ["/usr/sbin/nginx", "-c", str(configuration), "-e", str(lab.logs / f"{name}-errors.log")]


def _host(state: State, host: Host) -> Program:
    pool = MOUNT_OPTIONS if host.pool_image.exists() else ""
    script = render("host.sh.j2", host=host, kvm=state.kvm, pool=pool, quote=shlex.quote)
    return Program(host.name, "hosts", script, 30)


def _web(lab: Lab) -> Program:
    server = [lab.python, "-m", "uvicorn", "placo.asgi:application", "--uds", lab.portal_socket]
    # Open pages hold server-sent event streams for as long as they are shown: a stop must not wait for them.
    server += ["--timeout-graceful-shutdown", "3", "--no-access-log"]
    script = _script(lab, "web", "The portal.", in_portal(lab, server), sockets=[lab.portal_socket])
    return Program("web", "app", script, 60, folder=REPOSITORY)


def _celery(lab: Lab, name: str, priority: int) -> Program:
    command = celery(lab.python, "placo", name, schedule=lab.root / "state" / "beat-schedule")
    script = _script(lab, name, f"The portal's {name}.", in_portal(lab, command))
    return Program(name, "app", script, priority, folder=REPOSITORY)


def celery(python: Path, app: str, name: str, *, schedule: Path, threads: int = 8) -> list[object]:
    """The command that runs a worker or beat; beat keeps what it rang last in the file `schedule`."""
    command: list[object] = [python, "-m", "celery", "-A", app, name, "--loglevel", "info"]
    if name == "worker":
        return [
            *command,
            "--pool",
            "threads",
            "--concurrency",
            threads,
            "--without-gossip",
            "--without-mingle",
        ]
    return [*command, "--schedule", schedule, "--pidfile", ""]


def _watch(lab: Lab) -> Program:
    command = in_portal(lab, [lab.python, "manage.py", "watch"])
    script = _script(lab, "watch", "Listens to the hosts: what machines do, as it happens.", command)
    return Program("watch", "app", script, 61, folder=REPOSITORY)


def _check_socket_paths(lab: Lab) -> None:
    longest = max(
        (lab.supervisor_socket, lab.database_socket_folder / ".s.PGSQL.5432"), key=lambda p: len(str(p))
    )
    if len(str(longest)) > SOCKET_PATH_LIMIT:
        raise LabError(f"{longest} is too long for a UNIX socket ({SOCKET_PATH_LIMIT} bytes)")
