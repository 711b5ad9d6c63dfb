"""Kills, freezes, restarts and cuts off, at moments that a seed decides. It knows processes and files, no database."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import redis

from deploy.rehearsal.process import Server
from deploy.rehearsal.site import Site
from deploy.rehearsal.trouble import EVERYWHERE, Trouble
from tests.chaos.effects import FILE

DAILY = Trouble(before=0.01, after=0.01, lost=0.005, refused=0.0008)
"""What goes wrong at every fake host, edge and authority all the time."""
PAUSE_S = (0.5, 4.0)
"""Between two disturbances, at least; and something has to have been done meanwhile, however slow the machine is:"""
WORK_BYTES = 2500
"""so much was written into the file of effects, some twenty of them."""


@dataclass
class Log:
    """How often each disturbance was made, and the seconds that it went on in all."""

    times: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.times[what] += 1
        self.seconds[what] += time.monotonic() - began


class Disturber(threading.Thread):
    """One disturbance after the other until `finish`; what takes longer than a moment goes on beside the next ones."""

    def __init__(self, site: Site, seed: int, lease_s: float) -> None:
        super().__init__(name="disturber", daemon=True)
        self.log = Log()
        self.broken: list[str] = []
        """What did not come back: a fault of the soak, or of what was restarted."""
        self._site, self._dice, self._lease_s = site, random.Random(seed), lease_s
        self._over = threading.Event()
        self._busy: set[int] = set()
        self._lock = threading.Lock()
        self._asides: list[threading.Thread] = []
        self._away: dict[str, float] = {}
        self._site.stage.trouble.write({EVERYWHERE: DAILY})
        self._events: list[tuple[int, Callable[[], None]]] = [
            (6, self._kill_worker),
            (6, self._freeze_worker),
            (1, self._kill_beat),
            (2, self._flush_redis),
            (2, self._restart_redis),
            (2, self._restart_slapd),
            (1, lambda: self._restart_postgres("fast", signal.SIGINT)),
            (1, lambda: self._restart_postgres("immediately", signal.SIGQUIT)),
            (2, self._cut_off_host),
        ]

    def run(self) -> None:
        weights = [weight for weight, _event in self._events]
        seen = 0
        while not self._over.wait(self._dice.uniform(*PAUSE_S)):
            written = self._written()
            if written - seen < WORK_BYTES:
                continue
            seen = written
            _weight, event = self._dice.choices(self._events, weights)[0]
            self._safely(event)

    def _written(self) -> int:
        file = self._site.folder / FILE
        return file.stat().st_size if file.exists() else 0

    def supervise(self) -> None:
        """Start again what ended without being told to, as a service manager does: Celery gives up over some lost connections."""
        servers = [*self._site.workers, self._site.beat]
        for server in servers:
            with self._lock:
                left_alone = id(server) not in self._busy
                if left_alone and server.ended:
                    self.log.times["worker or beat that ended by itself, started again"] += 1
                    self._safely(server.start)

    def finish(self) -> None:
        """No more of it: everything is there again, and nothing fails."""
        self._over.set()
        self.join()
        for aside in self._asides:
            aside.join()
        self._site.stage.trouble.write({EVERYWHERE: Trouble()})

    # --- what it does ---

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, RuntimeError, TimeoutError) as error:
            self.broken.append(f"{type(error).__name__}: {error}")

    def _aside(self, work: Callable[[], None]) -> None:
        """Beside everything else."""
        thread = threading.Thread(target=self._safely, args=(work,), daemon=True)
        thread.start()
        self._asides.append(thread)

    def _with_one(self, servers: list[Server], what: str, work: Callable[[Server], None]) -> None:
        """Do something to one of these to whom nothing is being done, if there is one."""
        with self._lock:
            idle = [server for server in servers if id(server) not in self._busy]
            if not idle:
                return
            chosen = self._dice.choice(idle)
            self._busy.add(id(chosen))

        def done() -> None:
            try:
                with self.log.told(what):
                    work(chosen)
            finally:
                with self._lock:
                    self._busy.discard(id(chosen))

        self._aside(done)

    def _kill_worker(self) -> None:
        pause = self._dice.uniform(0, 2)

        def work(server: Server) -> None:
            server.kill()
            time.sleep(pause)
            server.start()

        self._with_one(self._site.workers, "worker killed (SIGKILL) and started again", work)

    def _freeze_worker(self) -> None:
        pause = self._lease_s * self._dice.uniform(1.2, 2.5)

        def work(server: Server) -> None:
            with server.frozen(wait=False):
                time.sleep(pause)

        self._with_one(self._site.workers, "worker frozen beyond its lease (SIGSTOP, SIGCONT)", work)

    def _kill_beat(self) -> None:
        def work(server: Server) -> None:
            server.kill()
            server.start()

        self._with_one([self._site.beat], "beat killed and started again", work)

    def _flush_redis(self) -> None:
        with self.log.told("Redis flushed"):
            try:
                self._site.redis.client().flushall()
            except redis.RedisError as error:
                self.broken.append(f"Redis could not be flushed: {error}")

    def _restart(self, server: Server, what: str, number: signal.Signals, pause: float) -> None:
        with self.log.told(what):
            server.stop(number)
            time.sleep(pause)
            server.start()

    def _restart_redis(self) -> None:
        number = self._dice.choice([signal.SIGTERM, signal.SIGKILL])
        self._restart(
            self._site.redis.server, "Redis restarted (TERM, KILL)", number, self._dice.uniform(0, 3)
        )

    def _restart_slapd(self) -> None:
        number, pause = self._dice.choice([signal.SIGTERM, signal.SIGKILL]), self._dice.uniform(0, 4)
        if self._site.slapd is not None:
            self._restart(self._site.slapd.server, "slapd restarted (TERM, KILL)", number, pause)

    def _restart_postgres(self, how: str, number: signal.Signals) -> None:
        self._restart(
            self._site.postgres.server, f"PostgreSQL restarted {how}", number, self._dice.uniform(0, 1)
        )

    def _cut_off_host(self) -> None:
        name, seconds = self._dice.choice(self._site.shape.hosts), self._dice.uniform(2, 8)
        now = time.time()
        self._away = {n: until for n, until in self._away.items() if until > now} | {name: now + seconds}
        troubles = {n: Trouble(away_until=until) for n, until in self._away.items()}
        self._site.stage.trouble.write({EVERYWHERE: DAILY} | troubles)
        self.log.times["host out of reach"] += 1
        self.log.seconds["host out of reach"] += seconds
