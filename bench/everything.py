"""A platform with every service of the catalogue: until it is ready, and what its machines hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from bench import made
from bench.made import COLD, Ready
from bench.platforms import Platforms
from bench.session import say, verdict
from bench.warmth import Warmth

BOUND_S, BOUND_MIB = 480.0, 6144


def measure(
    platforms: Platforms,
    warmth: Warmth,
    services: Sequence[str],
    *,
    ways: Sequence[str],
    count: int,
    visit: Callable[[Ready], None] | None = None,
) -> dict[str, list[Ready]]:
    """Make it `count` times in each way, and retire it; `visit` is called with the last one while it is there."""
    found: dict[str, list[Ready]] = {}
    for way in ways:
        if way == COLD:
            warmth.off()
        else:
            warmth.on()
        for number in range(count):
            ready = made.make(platforms, warmth.host, services, way)
            say(f"{ready.slug}: {len(ready.machines)} machines {way}, ready after {ready.seconds:.1f} s")
            found.setdefault(way, []).append(ready)
            if visit and way == ways[-1] and number == count - 1:
                visit(ready)
            made.retire(platforms, ready)
    return found


def report(found: dict[str, list[Ready]]) -> bool:
    """Print the figures and say for each bound whether it holds."""
    holds = True
    for way, platforms in found.items():
        one = platforms[-1]
        print(
            f"\n{'every service, ' + way:<16}{'MiB':>8}{'resident MB':>13}{'QEMU s':>9}{'answers after s':>17}"
        )
        for name, held in sorted(one.machines.items()):
            print(
                f"  {name:<14}{held.memory_mib:>8}{held.resident / 1e6:>13.0f}{held.cost.qemu_s:>9.1f}{held.took_s:>17.1f}"
            )
        memory = sum(held.memory_mib for held in one.machines.values())
        resident = sum(held.resident for held in one.machines.values())
        print(f"  {'together':<14}{memory:>8}{resident / 1e6:>13.0f}")
        seconds = median(ready.seconds for ready in platforms)
        print(f"  ready after: {', '.join(f'{ready.seconds:.1f} s' for ready in platforms)}")
        text = f"every service, {way}: ready within {BOUND_S:g} s (median {seconds:.1f} s)"
        holds &= verdict(text, seconds <= BOUND_S)
        text = f"every service, {way}: memory at most {BOUND_MIB} MiB ({memory} MiB)"
        holds &= verdict(text, memory <= BOUND_MIB)
    return holds
