"""Run by a start script before its program: ends what a killed predecessor of that program left running.

nginx's workers, for instance, outlive a killed master and go on holding its ports. `python -m deploy.lab.reap ROOT
PROGRAM [SOCKET ...]`; the UNIX sockets named are removed, because a program that was killed could not do it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy.lab import processes
from deploy.lab.layout import Lab
from deploy.lab.shell import write


def main(root: str, program: str, *sockets: str) -> None:
    """End the leftovers of one program, remove its sockets, note the process group of the new one."""
    lab = Lab.at(Path(root))
    processes.end(processes.left_by_program(lab, program), seconds=3)
    for socket in sockets:
        Path(socket).unlink(missing_ok=True)
    write(processes.group_file(lab, program), f"{os.getpgrp()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
