"""One service of a catalogue, tried on real machines: `placo catalogue try SERVICE [FOLDER]`.

For whoever writes a brick: its images are built, a lab of its own is started on that catalogue, a platform with the service is asked
for and approved, its machines boot (or, with --warm, are resumed from templates), the portal's probes wait for their answers, a member and
an outsider come to every door of the web, and all of it is taken away again. Nothing else on this machine is touched.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy import demo
from deploy.client import Api, Lab, wait_for
from deploy.demo import say
from deploy.lab import verbs
from deploy.lab.layout import REPOSITORY
from deploy.lab.layout import Lab as Site
from deploy.lab.shell import LabError
from deploy.lab.state import Choices
from placo.domain.catalogue import Catalogue, CatalogueError, UnknownServiceError, load_catalogue
from placo.drivers.images import ImageCache, default_cache
from placo.drivers.ports import DriverError

SLUG = "trial"
ADMITTED_S = 30
"""How long a new member may wait until a machine knows of it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if the service came up and let in whom it should; 1 with what was wrong if not."""
    options = _parser().parse_args(arguments)
    try:
        catalogue = load_catalogue(options.folder)
        machines = catalogue.machines_of([options.service])
        _build(catalogue, machines)
        with _lab(options) as lab:
            _try(lab, options.service)
    except (CatalogueError, DriverError, LabError, RuntimeError, TimeoutError) as error:
        print(f"\n{error}", file=sys.stderr)
        print(
            f"What to do: mend it, then try again; with --keep the lab stays, and its logs in {options.root}/logs say more.",
            file=sys.stderr,
        )
        return 1
    except UnknownServiceError as error:
        known = ", ".join(sorted(catalogue.services))
        print(f"\nThere is no service {error.service}; there are {known}.", file=sys.stderr)
        return 1
    say(f"{options.service} works")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="placo catalogue try", description=__doc__)
    parser.add_argument("service", help="its id, as in services/<id>.toml")
    parser.add_argument(
        "folder", type=Path, nargs="?", default=REPOSITORY / "catalogue", help="the catalogue"
    )
    parser.add_argument(
        "--root", type=Path, default=REPOSITORY / "var" / "trial-lab", help="the lab's folder"
    )
    parser.add_argument("--warm", action="store_true", help="resume its machines from templates")
    parser.add_argument("--keep", action="store_true", help="leave platform and lab running, to look at them")
    return parser


def _build(catalogue: Catalogue, machines: Sequence[str]) -> None:
    cache = ImageCache(default_cache(), catalogue)
    say(f"images of {', '.join(machines)}: half a minute each the first time")
    for machine in machines:
        cache.ensure(machine, lambda text: say(f"  {text}"))


@contextmanager
def _lab(options: argparse.Namespace) -> Iterator[Lab]:
    """A lab on the catalogue; gone afterwards, unless it is to be kept and was tried to the end."""
    site = Site.at(options.root)
    choices = Choices(warm=options.warm, catalogue=str(options.folder.resolve()))
    verbs.destroy(site, grace=0)
    try:
        verbs.up(site, choices=choices)
        yield Lab.read(options.root.resolve())
    finally:
        if options.keep:
            say(f"the lab stays: python -m deploy.lab destroy --root {options.root}")
        else:
            verbs.destroy(site, grace=0)


def _try(lab: Lab, service: str) -> None:
    owner, admin = lab.api("owner"), lab.api("admin")
    request = owner(
        "POST",
        "/requests",
        project=lab.project,
        slug=SLUG,
        services=[service],
        days=1,
        justification="To see a brick at work.",
    )
    if any(host["warm"] for host in admin("GET", "/hosts")):
        demo.wait_for_templates(admin, {machine["name"] for machine in request["plan"]["machines"]})
    run = admin("POST", f"/requests/{request['id']}/approve", plan_hash=request["plan"]["hash"])
    demo.follow(owner, run["run_id"])
    demo.ways(admin, SLUG)
    _doors(lab, owner, service)


def _doors(lab: Lab, owner: Api, service: str) -> None:
    """Who is let in at the service's addresses on the web. RuntimeError when a member is not, or an outsider where only members are."""
    platform: dict[str, Any] = owner("GET", f"/platforms/{SLUG}")
    owner("PUT", f"/platforms/{SLUG}/members/{lab.accounts['member'].uid}")
    wrong = []
    for endpoint in platform["endpoints"]:
        url = str(endpoint["url"])
        if endpoint["service"] != service or endpoint["protocol"] != "https":
            continue

        def opens(url: str = url) -> bool:
            return lab.get(url, "member", follow_redirects=True).is_success

        try:
            wait_for(opens, ADMITTED_S, "a member to be let in")
        except TimeoutError:
            wrong.append(f"{url} does not open for a member")
        strangers = [lab.get(url, role, follow_redirects=True).status_code for role in ("outsider", None)]
        if all(status < 300 for status in strangers):
            say(f"  {url}: open to everybody")
        elif all(status in (401, 403) for status in strangers):
            say(f"  {url}: a member comes in, an outsider and somebody without a password do not")
        else:
            wrong.append(
                f"{url} answers an outsider {strangers[0]}, somebody without a password {strangers[1]}"
            )
    if wrong:
        raise RuntimeError("; ".join(wrong))


if __name__ == "__main__":
    sys.exit(main())
