"""The steps by which a machine comes to life: resumed from a template ("warm"), or booted ("cold").

Which way is decided in the run, by what the host can do at that moment, and kept with the machine. A warm way that fails is
left: what was made of it is taken away and the same run goes on cold. Cold is always there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection
from django.utils import timezone

from placo import logs
from placo.domain.saga import WARM_TRIES
from placo.drivers.ports import DriverError, Power, Rejected, Unavailable
from placo.platforms.models import Host, Machine, Template
from placo.services import seeds, templates
from placo.services.work import Answer, Done, GoCold, NotYet, Work

log = logs.get_logger("placo.cloning")

_SLOTS = 0x70726573  # "pres": the advisory locks that bound how many clones a host resumes at once
PERSONALISE_PATIENCE_S = 4
"""How long one step waits for a guest to take its settings, before it lets other work go first."""
PERSONALISE_LIMIT_S = 45
"""A guest that has not taken them by then never will. Less than the step's deadline: the machine boots then."""


def way_up(work: Work) -> Answer:
    """Decide how the machine comes to life."""
    m = work.machine
    row = work.row
    if row.way:
        return Done(row.way)
    try:
        choice = templates.choose(work.host_row, work.host, m)
    except Unavailable:
        raise
    except DriverError as error:
        if work.step.failures + 1 < WARM_TRIES:
            raise
        choice = templates.Choice(reason=Template.FAILED, detail=str(error))
    work.tell(
        way=Machine.WARM if choice.template else Machine.COLD,
        template=choice.template,
        way_reason=choice.reason,
        way_detail=choice.detail[:300],
    )
    # Owners read a run's messages; the details, which name hosts, are for administrators.
    return Done(Machine.WARM if choice.template else f"{Machine.COLD}: {choice.reason}")


def _warm_or_cold(work: Work, warm: Callable[[str], Answer], cold: Callable[[], Answer]) -> Answer:
    """Do a step in the machine's way; a warm way that fails for good, or twice, is left for the cold one."""
    row = work.row
    # One that has answered before is somebody's, whatever its host says: it is never resumed again, nor taken away.
    if not work.resumed or row.took_s is not None:
        return cold()
    try:
        return warm(row.template)
    except Unavailable:
        raise  # an outage says nothing about the template
    except DriverError as error:
        if not isinstance(error, Rejected) and work.step.failures + 1 < WARM_TRIES:
            raise
        templates.report_broken(work.host_row, row.template, str(error), work.step.run)
        _take_away(work)
        return GoCold(str(error))


def _take_away(work: Work) -> None:
    """What a clone left that nobody ever used. It may have begun to fill its data volume."""
    m = work.machine
    work.host.remove_domain(m.uuid)
    for volume in (m.memory_volume, m.system_volume, m.data_volume):
        work.host.remove_volume(volume)


def system_disk_up(work: Work) -> Answer:
    """An overlay over the template's disk, or over the image's."""
    m = work.machine

    def warm(template: str) -> Answer:
        work.host.ensure_clone_disk(m.system_volume, template, m.system_disk_gib)
        return Done()

    def cold() -> Answer:
        work.host.ensure_overlay(m.system_volume, m.image, m.system_disk_gib)
        return Done()

    return _warm_or_cold(work, warm, cold)


def data_volume_up(work: Work) -> Answer:
    """A copy of the template's blank volume, which saves its machine making a file system; or an empty one."""
    m = work.machine

    def cold() -> Answer:
        work.host.ensure_volume(m.data_volume, m.data_volume_gib)
        return Done()

    row = work.row
    # Without a domain no guest ever wrote to it; afterwards it is somebody's data, whatever it looks like.
    if row.way != Machine.WARM or work.host.power(m.uuid) is not Power.MISSING:
        return cold()
    try:
        work.host.ensure_clone_data(m.data_volume, row.template)
    except Rejected as error:
        log.warning("no copy of a blank data volume", machine=m.domain, why=str(error))
        return cold()
    return Done()


def seed_up(work: Work) -> Answer:
    """The seed disk of a machine that boots; one that is resumed is told by the guest agent."""
    m = work.machine
    if work.resumed:
        return Done()
    if work.host.power(m.uuid) not in (Power.RUNNING, Power.PAUSED):
        work.host.ensure_content(m.seed_volume, seeds.seed(work.plan, m))
    return Done()


def domain_up(work: Work) -> Answer:
    """Defined: the same definition either way, but for the seed, which is taken out later. One of the other way is replaced.

    A machine that is repaired had its seed long ago.
    """
    if work.host.power(work.machine.uuid) not in (Power.RUNNING, Power.PAUSED):
        work.host.ensure_domain(work.domain(seed=work.row.way != Machine.WARM and not work.repairing))
    return Done()


def memory_up(work: Work) -> Answer:
    """A private copy of the template's memory, with this machine's description at its head."""
    m = work.machine

    def warm(template: str) -> Answer:
        if work.host.power(m.uuid) not in (Power.RUNNING, Power.PAUSED):
            work.host.ensure_clone_memory(m.memory_volume, template, work.domain(seed=False))
        return Done()

    return _warm_or_cold(work, warm, Done)


def memory_gone(work: Work) -> Answer:
    """The copy removed."""
    work.host.remove_volume(work.machine.memory_volume)
    return Done()


def power_up(work: Work) -> Answer:
    """Resumed, or booted."""
    m = work.machine

    def warm(template: str) -> Answer:
        with _slot(work.host_row) as free:
            if not free:
                return NotYet(0.5, "other machines are being resumed on this host")
            if work.step.attempts > 1 and work.host.power(m.uuid) is Power.STOPPED:
                # It may have run and written: memory and disk would no longer belong together.
                work.host.remove_volume(m.system_volume)
                work.host.ensure_clone_disk(m.system_volume, template, m.system_disk_gib)
            work.host.resume_clone(work.domain(seed=False), m.memory_volume)
        return Done(m.address)

    def cold() -> Answer:
        work.host.start_domain(m.uuid)
        return Done(m.address)

    answer = _warm_or_cold(work, warm, cold)
    if isinstance(answer, Done):
        work.note("starting")
    return answer


def personalise_up(work: Work) -> Answer:
    """The resumed clone becomes the machine: its settings through the guest agent, then its link goes up."""
    m = work.machine

    def warm(_template: str) -> Answer:
        archive = seeds.archive(work.plan, m)
        if not work.host.personalise(work.domain(seed=False), archive, PERSONALISE_PATIENCE_S):
            started = work.step.started_at
            if started and (timezone.now() - started).total_seconds() > PERSONALISE_LIMIT_S:
                raise DriverError(f"{m.domain} did not take its settings within {PERSONALISE_LIMIT_S} s")
            return NotYet(0.2, "the machine is taking its settings")
        work.host.remove_volume(m.memory_volume)
        return Done()

    return _warm_or_cold(work, warm, Done)


@contextmanager
def _slot(host: Host) -> Iterator[bool]:
    """One of the host's places for resuming; False when all are taken. A worker that dies frees its place with its connection."""
    with connection.cursor() as cursor:
        taken = None
        for number in range(host.resumes_at_once):
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_SLOTS, host.pk * 1000 + number])
            if cursor.fetchone() == (True,):
                taken = host.pk * 1000 + number
                break
        try:
            yield taken is not None
        finally:
            if taken is not None:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_SLOTS, taken])
