"""Celery tasks: thin; they ring the engine's doorbell."""

from __future__ import annotations

from celery import shared_task

from placo.services import (
    accounts,
    attending,
    engine,
    expiry,
    heartbeat,
    hosts,
    letters,
    post,
    proofs,
    proving,
    reconcile,
    runs,
    templates,
)


@shared_task(name="tasks.advance")
def advance(run_id: int) -> None:
    """Do what is due of a run."""
    engine.advance(run_id)


@shared_task(name="tasks.sweep")
def sweep() -> None:
    """Ring again for every run that has something to do: its doorbell may have been lost."""
    for run_id in engine.due_runs():
        runs.ring(run_id)
    heartbeat.beat()


@shared_task(name="tasks.reconcile")
def reconcile_all() -> None:
    """Compare all places with what they should have: a task each, so that one that hangs delays none of the others."""
    for pk in hosts.known():
        reconcile_host.apply_async((pk,), expires=60, ignore_result=True)
    reconcile_site.apply_async(expires=60, ignore_result=True)


@shared_task(name="tasks.reconcile_host")
def reconcile_host(host_id: int) -> None:
    """One host; also keeps fresh what the portal shows of it."""
    reconcile.reconcile_host(host_id)


@shared_task(name="tasks.reconcile_site")
def reconcile_site() -> None:
    """Directory and edge."""
    reconcile.reconcile_site()


@shared_task(name="tasks.refresh_roles")
def refresh_roles() -> None:
    """Who lost a role in the directory loses it in the portal."""
    accounts.refresh_roles()


@shared_task(name="tasks.expire")
def expire() -> None:
    """Remind, stop, keep and remove the platforms whose day has come."""
    expiry.attend()


@shared_task(name="tasks.send_mail")
def send_mail() -> None:
    """Send the mails that are due: letters with a link, which somebody waits for, then notices."""
    letters.send_due()
    post.send_due()


@shared_task(name="tasks.attend_guests")
def attend_guests() -> None:
    """Guests, keys, ends of memberships, people who have left, platforms that nobody looks after."""
    attending.attend()


@shared_task(name="tasks.keep_templates")
def keep_templates(host_id: int | None = None) -> None:
    """Make the templates that hosts lack: one task for each host, since making one takes as long as a boot."""
    if host_id is not None:
        templates.keep_templates(host_id)
        return
    for pk in templates.hosts_with_templates():
        keep_templates.apply_async((pk,), expires=20, ignore_result=True)


@shared_task(name="tasks.attend_proofs")
def attend_proofs() -> None:
    """Proofs that died, stand-ins that they left, and the platform that is to be proven next."""
    proofs.attend()


@shared_task(name="tasks.prove")
def prove(proof_id: int) -> None:
    """Try who is let in at a platform's doors."""
    proving.make(proof_id)
