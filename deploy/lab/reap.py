"""Run by a start script before its program: ends what a killed predecessor of that program left running.

nginx's workers, for instance, outlive a killed master and go on holding its ports. `python -m deploy.lab.reap ID
PROGRAM [SOCKET ...]`; the UNIX sockets named are removed, because a program that was killed could not do it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.lab import processes


def main(lab_id: str, program: str, *sockets: str) -> None:
    """End the leftovers of one program and remove its sockets."""
    processes.end(processes.of_program(lab_id, program), seconds=3)
    for socket in sockets:
        Path(socket).unlink(missing_ok=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
