"""`placo catalogue`: checking and trying a catalogue's files here, without a portal."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from placo.cli import show
from placo.domain.catalogue import CatalogueError, load_catalogue
from placo.domain.catalogue_schema import schemas

catalogue_app = typer.Typer(help="The catalogue of services, machines and software.", no_args_is_help=True)
DEFAULT = Path(__file__).resolve().parents[2] / "catalogue"


@catalogue_app.command()
def check(
    path: Annotated[
        Path, typer.Argument(help="The folder with services/, machines/ and software/.")
    ] = DEFAULT,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say everything that is wrong with a catalogue: file, key, what, and what to do. Exit status 1 if there is anything."""
    try:
        found = load_catalogue(path)
    except CatalogueError as error:
        problems = [asdict(problem) for problem in error.problems]
        if json:
            show.as_json({"problems": problems})
        else:
            for problem in error.problems:
                where = f"{problem.file}: {problem.key}" if problem.key else problem.file
                show.say(f"{where}: {problem.message}\n    what to do: {problem.remedy}")
            show.say(f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in {path}")
        sys.exit(1)
    counts = {
        "services": len(found.services),
        "machines": len(found.machines),
        "software": len(found.software),
    }
    if json:
        show.as_json({"problems": [], **counts})
    else:
        show.say(f"{path} is sound: " + ", ".join(f"{count} {name}" for name, count in counts.items()))


@catalogue_app.command()
def schema(
    folder: Annotated[Path, typer.Argument(help="Where to write service.json, machine.json, software.json.")],
) -> None:
    """Write the JSON Schema of the three kinds of manifest, for editors (what the portal serves below /static/schemas/)."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, found in schemas().items():
        (folder / f"{kind}.json").write_text(
            dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        show.say(str(folder / f"{kind}.json"))


@catalogue_app.command("try")
def try_(
    service: Annotated[str, typer.Argument(help="Its id, as in services/<id>.toml.")],
    path: Annotated[
        Path, typer.Argument(help="The folder with services/, machines/ and software/.")
    ] = DEFAULT,
    root: Annotated[Path | None, typer.Option(help="The folder of the lab.")] = None,
    warm: Annotated[bool, typer.Option("--warm", help="Resume its machines from templates.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave all of it running, to look at it.")] = False,
) -> None:
    """Build and boot a service's machines in a lab of their own, and see who is let in. Needs root; takes some minutes."""
    command = [sys.executable, "-m", "deploy.trial", service, str(path.resolve())]
    command += ["--root", str(root.resolve())] if root else []
    command += [flag for flag, wanted in (("--warm", warm), ("--keep", keep)) if wanted]
    environment = {**os.environ, "PYTHONPATH": str(DEFAULT.parent)}
    sys.exit(subprocess.call(command, env=environment))
