"""The command line of the lab."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.lab import report, verbs
from deploy.lab.layout import REPOSITORY, Lab
from deploy.lab.programs import PARTS
from deploy.lab.shell import LabError
from deploy.lab.state import Choices


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; 0 when it did its work, 1 with an explanation when not."""
    options = _parser().parse_args(arguments)
    lab = Lab.at(options.root)
    try:
        match options.verb:
            case "up":
                verbs.up(lab, without=options.without, choices=_choices(options))
            case "adopt":
                verbs.adopt(lab, without=options.without)
            case "configure":
                verbs.configure(lab)
            case "down":
                verbs.down(lab, grace=options.grace)
            case "destroy":
                verbs.destroy(lab, grace=options.grace)
            case "restart":
                verbs.restart(lab, options.programs)
            case "logs":
                report.logs(lab, options.programs, follow=options.follow)
            case "status":
                return 0 if report.status(lab) else 1
    except LabError as error:
        print(f"\n{options.verb}: {error}", file=sys.stderr)
        if error.remedy:
            print(f"What to do: {error.remedy}.", file=sys.stderr)
        print(f"Logs: {lab.logs}", file=sys.stderr)
        return 1
    return 0


def _choices(options: argparse.Namespace) -> Choices:
    catalogue = options.catalogue and str(options.catalogue.resolve())
    return Choices(kvm=options.kvm, warm=options.warm, ahead=options.ahead, catalogue=catalogue)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deploy.lab", description="A whole PLACO site on one machine.")
    verbs_of = parser.add_subparsers(dest="verb", required=True)
    for name, help_text in (
        ("up", "start the lab, or what is missing of it (a minute the first time, then seconds)"),
        ("configure", "write its configuration and secrets, start nothing"),
        ("adopt", "take over what a killed lab left running"),
        ("down", "stop it; guests are shut down, everything on disk is kept"),
        ("destroy", "stop it and delete its folder"),
        ("status", "what runs, with its memory"),
        ("restart", "restart programs (default: web worker beat watch)"),
        ("logs", "show the logs, or follow them"),
    ):
        verb = verbs_of.add_parser(name, help=help_text, description=help_text)
        verb.add_argument("--root", type=Path, default=REPOSITORY / "var" / "lab", help="the lab's folder")
        if name in ("up", "adopt"):
            verb.add_argument(
                "--without", action="append", default=[], choices=PARTS, help="leave a part out"
            )
        if name == "up":
            yes_or_no = argparse.BooleanOptionalAction
            verb.add_argument("--kvm", action=yes_or_no, default=None, help="use KVM (kept)")
            verb.add_argument(
                "--warm", action=yes_or_no, default=None, help="new hosts keep templates (kept; default yes)"
            )
            verb.add_argument(
                "--ahead",
                action=yes_or_no,
                default=None,
                help="templates of all kinds before anybody asks (kept; default yes)",
            )
            verb.add_argument("--catalogue", type=Path, help="another catalogue than the checkout's (kept)")
        if name in ("down", "destroy"):
            grace = verbs.GUESTS_SHUTDOWN_SECONDS
            verb.add_argument(
                "--grace", type=float, default=grace, help=f"seconds for guests to stop ({grace:.0f})"
            )
        if name in ("restart", "logs"):
            verb.add_argument(
                "programs", nargs="*", help="web, worker, beat, watch, postgres, directory, h1 ..."
            )
        if name == "logs":
            verb.add_argument("--follow", "-f", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
