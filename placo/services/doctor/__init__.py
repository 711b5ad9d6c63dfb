"""The doctor: looks at every component, says how it is and what to do. It works when almost nothing else does.

    report = doctor.examine()

A component that hangs delays nobody (looking.py); a look that still hangs is not begun again. The database comes first,
for it knows the hosts; without it the site configuration does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from django.utils.translation import gettext as _

from placo.platforms.models import User
from placo.services import access
from placo.services.doctor import programs, records, world
from placo.services.doctor.looking import look_at
from placo.services.doctor.proven import look_at_proofs
from placo.services.doctor.report import SEVERITY, Level, Look, Report, Result, site_file

__all__ = ["PATIENCE_S", "SEVERITY", "Level", "Look", "Report", "Result", "examine", "examine_for"]

PATIENCE_S = 6.0
"""How long a look may take."""


def examine(*, patience_s: float = PATIENCE_S) -> Report:
    """Look at everything. Takes at most twice the patience."""
    began = time.monotonic()
    known = records.Records()
    results = look_at([Look("database", known.read)], patience_s)
    results += look_at(all_looks(known), patience_s)
    order = sorted(results, key=lambda result: -SEVERITY[result.level])
    return Report(tuple(order), time.monotonic() - began)


def examine_for(*, acting_user: User) -> Report:
    """The same for somebody who asks through the portal: administrators only."""
    access.require_administrator(acting_user)
    return examine()


def all_looks(known: records.Records) -> list[Look]:
    """Every look but that at the database."""
    needing: list[tuple[str, Callable[[], Iterable[Result]]]] = [
        ("books", records.look_at_books),
        ("world", records.look_at_world),
        ("runs", records.look_at_runs),
        ("templates", records.look_at_templates),
        ("people", records.look_at_people),
        ("proofs", look_at_proofs),
    ]
    found = [
        Look("redis", programs.look_at_redis),
        Look("workers", programs.look_at_workers),
        Look("beat", programs.look_at_beat),
        Look("listener", programs.look_at_listener),
        Look("mail", programs.look_at_mail),
        Look("directory", world.look_at_directory),
        Look("edge", world.look_at_edge),
        Look("mail gateway", world.look_at_gateway),
        Look("names", world.look_at_zone),
        Look("certificates", world.look_at_authority),
        Look("images", world.look_at_images),
        Look("clocks", partial(records.look_at_clocks, known)),
    ]
    found += [Look(f"host {host.name}", partial(world.look_at_host, host)) for host in known.known_hosts()]
    if not known.known_hosts():
        found.append(Look("hosts", _no_hosts))
    found += [Look(name, look if known.there else partial(_not_known, name)) for name, look in needing]
    return found


def _not_known(component: str) -> Iterator[Result]:
    yield Result(
        component,
        Level.WARNING,
        _("Not checked: the database has to answer and to be up to date first."),
        _("Mend the database, then look again."),
    )


def _no_hosts() -> Iterator[Result]:
    yield Result(
        "hosts",
        Level.WARNING,
        _("There are no hosts: no platform can be made."),
        _("Add [[hosts]] to %(file)s and run manage.py sync_site.") % {"file": site_file()},
    )
