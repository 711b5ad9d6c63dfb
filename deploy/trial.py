"""One service of a catalogue, tried on real machines: `placo catalogue try SERVICE [FOLDER]`.

For whoever writes a brick: its images are built, a lab of its own is started on that catalogue, a platform with the service is asked
for and approved, its machines boot (or, with --warm, are resumed from templates), the portal's probes wait for their answers, its proof
tries who is let in at every door, and all of it is taken away again. Nothing else on this machine is touched.
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
PROVEN_S = 300


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
    choices = Choices(warm=options.warm, ahead=False, catalogue=str(options.folder.resolve()))
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
    _prove(owner)


def _prove(owner: Api) -> None:
    """Who is let in at the service's addresses, as the portal proves it every day. RuntimeError when that is not as it should be."""
    say("people made up for this purpose knock at every door")
    asked = owner("POST", f"/platforms/{SLUG}/proofs")

    def over() -> dict[str, Any] | None:
        found: dict[str, Any] = next(
            proof for proof in owner("GET", f"/platforms/{SLUG}/proofs") if proof["id"] == asked["id"]
        )
        return found if found["ended_at"] else None

    proof = wait_for(over, PROVEN_S, "the proof to end")
    for case in proof["cases"]:
        say(f"  {case['text']}{'' if case['passed'] else '   WRONG'}")
    if proof["state"] != "passed":
        raise RuntimeError(proof["text"])


if __name__ == "__main__":
    sys.exit(main())
