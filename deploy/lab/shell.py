"""Talking to the person who started a verb, and to the programs of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

DEPLOY = Path(__file__).resolve().parents[1]
_TEMPLATES = Environment(
    loader=FileSystemLoader([str(DEPLOY / name) for name in ("lab/templates", "host", "gateway", "dns")]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - configuration files, not HTML
)


class LabError(Exception):
    """A verb could not do its work. `remedy` says what the reader can do about it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


def say(text: str) -> None:
    """One line for whoever watches."""
    print(text, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Announce a piece of work and print how long it took."""
    started = time.monotonic()
    sys.stdout.write(f"  {what} ... ")
    sys.stdout.flush()
    try:
        yield
    except BaseException:
        say(f"failed after {time.monotonic() - started:.1f} s")
        raise
    say(f"{time.monotonic() - started:.1f} s")


def run(
    command: Sequence[object],
    *,
    stdin: str | None = None,
    accept: Sequence[int] = (0,),
    timeout: float = 120,
    cwd: Path | str = "/",
    env: dict[str, str] | None = None,
) -> str:
    """Run a program and return what it printed on standard output.

    Secrets go in by `stdin`, never by arguments. Raises LabError with the program's own words when its exit
    status is not among `accept`, when it is missing or when it takes longer than `timeout` seconds.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, timeout=timeout, cwd=cwd, env=env, check=False
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed", "run `make setup`") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(words)}` took longer than {timeout:.0f} s") from error
    if done.returncode not in accept:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing")[-2000:]
        raise LabError(f"`{' '.join(words)}` ended with status {done.returncode}: {said}")
    return done.stdout


def wait_until(condition: Callable[[], bool], *, seconds: float, interval: float = 0.1) -> bool:
    """Poll `condition` until it holds or `seconds` have passed; says whether it held."""
    deadline = time.monotonic() + seconds
    while True:
        if condition():
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)


def render(template: str, **values: object) -> str:
    """A text from one of the folders of templates in deploy; an unknown variable is an error."""
    return _TEMPLATES.get_template(template).render(**values)


def write(path: Path, text: str | bytes, mode: int = 0o644) -> bool:
    """Write a file whole (new file, then rename) with `mode` from its first byte on; says whether it changed."""
    data = text.encode() if isinstance(text, str) else text
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.read_bytes() == data and path.stat().st_mode & 0o7777 == mode:
        return False
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(fresh, "xb", opener=lambda name, flags: _open_with_mode(name, flags, mode)) as file:
        file.write(data)
    fresh.rename(path)
    return True


def _open_with_mode(name: str, flags: int, mode: int) -> int:
    descriptor = os.open(name, flags, mode)
    os.fchmod(descriptor, mode)
    return descriptor
