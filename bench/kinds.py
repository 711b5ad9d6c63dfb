"""Each kind of machine of the catalogue alone: its memory, its image, and what it takes to be ready, by booting and from a template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import made
from bench.cost import Cost
from bench.figures import show_templates
from bench.made import COLD, WARM
from bench.platforms import Platforms
from bench.session import say, verdict
from bench.warmth import Warmth
from placo.domain.catalogue import Catalogue
from placo.drivers.images import ImageCache

MEMORY_MIB, AIM_S, BOUND_S = 512, 90.0, 150.0
_MEMORY_LINE = re.compile(r"^memory_mib\s*=\s*\d+[ \t]*(?:#[ \t]*(.*))?$", re.MULTILINE)


@dataclass
class Kind:
    """One kind of machine. `service` is what is asked for to have it, `beside` the other machines that come with that.

    `note`: why it has more memory than others. `seconds`: way -> from approval to ready, each time that it was made; `costs` likewise.
    """

    name: str
    service: str
    beside: tuple[str, ...]
    memory_mib: int
    note: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    costs: dict[str, list[Cost]] = field(default_factory=dict)


def kinds(catalogue: Catalogue, folder: Path) -> list[Kind]:
    """All kinds of machine that some service needs, each with the service that brings least beside it."""
    found = []
    for name, machine in sorted(catalogue.machines.items()):
        ways = {s: catalogue.machines_of([s]) for s in sorted(catalogue.services)}
        able = [s for s, machines in ways.items() if name in machines]
        if not able:
            say(f"{name}: no service needs it, so it is not made")
            continue
        service = min(able, key=lambda s: len(ways[s]))
        usual = catalogue.sized(name, [s.id for s in catalogue.services_of([service])], {})
        beside = tuple(other for other in ways[service] if other != name)
        note = note_of(folder / "machines" / name / "machine.toml")
        found.append(Kind(name, service, beside, max(usual.memory_mib, machine.memory_mib), note))
    return found


def note_of(manifest: Path) -> str:
    """The comment on the line of a machine's memory; empty if there is none."""
    found = _MEMORY_LINE.search(manifest.read_text(encoding="utf-8"))
    return (found.group(1) or "").strip() if found else ""


def measure(
    platforms: Platforms, warmth: Warmth, chosen: Sequence[Kind], ways: Sequence[str], count: int
) -> None:
    """Make each kind `count` times in each way, one at a time on an otherwise idle host, into `chosen`."""
    for way in ways:
        if way == COLD:
            warmth.off()
        else:
            show_templates(warmth.on())
            print()
        for kind in chosen:
            for _ in range(count):
                ready = made.make(platforms, warmth.host, [kind.service], way)
                kind.seconds.setdefault(way, []).append(ready.seconds)
                kind.costs.setdefault(way, []).append(ready.machines[kind.name].cost)
                say(f"{kind.name:<14}{way:<6}{ready.seconds:7.1f} s from approval to ready")
                made.retire(platforms, ready)


def report(chosen: Sequence[Kind], images: ImageCache, ways: Sequence[str]) -> bool:
    """Print the figures and say for each bound whether it holds."""
    columns = "".join(f"{f'{way} s':>9}{'QEMU s':>9}{'libvirtd':>9}{'wrote MB':>9}" for way in ways)
    print(f"\n{'machine':<14}{'MiB':>6}{'image MB':>10}{'disk MB':>9}{'of GiB':>8}{columns}  beside it")
    for kind in chosen:
        image, disk, virtual = sizes(images, kind.name)
        row = f"{kind.name:<14}{kind.memory_mib:>6}{image / 1e6:>10.0f}{disk / 1e6:>9.0f}{virtual >> 30:>8}"
        for way in ways:
            costs = kind.costs.get(way, [])
            figures = (
                [c.qemu_s for c in costs],
                [c.libvirtd_s for c in costs],
                [c.written / 1e6 for c in costs],
            )
            row += "".join(f"{_middle(found):>9}" for found in (kind.seconds.get(way, []), *figures))
        print(f"{row}  {', '.join(kind.beside)}".rstrip())
    for kind in chosen:
        if kind.memory_mib > MEMORY_MIB:
            print(f"  {kind.name}: {kind.memory_mib} MiB: {kind.note or 'no note says why'}")
    print()
    heavy = [kind.name for kind in chosen if kind.memory_mib > MEMORY_MIB and not kind.note]
    holds = verdict(
        f"each machine's memory at most {MEMORY_MIB} MiB, or a note says why {_names(heavy)}", not heavy
    )
    for way in ways:
        times = {kind.name: median(kind.seconds[way]) for kind in chosen if kind.seconds.get(way)}
        late = [name for name, seconds in times.items() if seconds > BOUND_S]
        holds &= verdict(
            f"{way}: every machine ready within {BOUND_S:g} s {_names(late)}",
            not late and len(times) == len(chosen),
        )
        if way == COLD:
            slow = [name for name, seconds in times.items() if seconds > AIM_S]
            verdict(f"aim, {way}: within {AIM_S:g} s {_names(slow)}", not slow)
    return holds


def sizes(images: ImageCache, machine: str) -> tuple[int, int, int]:
    """Bytes that an image takes in the cache with its kernel, those of its disk's file, and those of the disk as a guest sees it."""
    files = images.files(images.name_for(machine))
    every = (file.stat().st_blocks * 512 for file in files.disk.parent.iterdir())
    return sum(every), files.disk.stat().st_blocks * 512, files.virtual_size


def _middle(found: Sequence[float]) -> str:
    return f"{median(found):.1f}" if found else "-"


def _names(names: Sequence[str]) -> str:
    return f"(not {', '.join(names)})" if names else "(all)"


__all__ = ["COLD", "WARM", "Kind", "kinds", "measure", "report"]
