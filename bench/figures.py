"""What the samples of `bench.provision` say: medians with their spread, ratios, costs, and where the time goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from bench.rounds import CLASSIC, COLD, WARM, Sample
from bench.session import SPREAD_TITLES, spread, verdict

THAN_CLASSIC = 20.0
THAN_COLD = 8.0
WRITTEN_BEFORE_BOOT_MB = 5.0

COLUMNS: list[tuple[str, Callable[[Sample], float]]] = [
    ("seconds until the first answer", lambda s: s.seconds),
    ("processor seconds: QEMU", lambda s: s.cost.qemu_s),
    ("processor seconds: libvirtd and what it runs", lambda s: s.cost.libvirtd_s),
    ("MB on disk: its volumes at the first answer", lambda s: s.cost.volumes / 1e6),
    ("MB written by QEMU and libvirtd (write_bytes)", lambda s: s.cost.written / 1e6),
]


def show(samples: Sequence[Sample]) -> None:
    """Each figure by way: median, quartiles, least and most."""
    ways = list(dict.fromkeys(sample.way for sample in samples))
    for title, figure in COLUMNS:
        print(f"\n{title:<48}{'n':>4}{SPREAD_TITLES}")
        for way in ways:
            values = [figure(sample) for sample in samples if sample.way == way]
            print(f"  {way:<46}{len(values):>4}{spread(values)}")


def show_templates(templates: Sequence[dict[str, Any]]) -> None:
    """What warm images take on the host's disk, each."""
    print(f"\n{'templates on the host, MB':<48}{'memory':>9}{'disk':>9}{'together':>10}{'made in s':>11}")
    for template in templates:
        memory, disk = template["memory_bytes"] / 1e6, template["disk_bytes"] / 1e6
        print(
            f"  {template['image']:<46}{memory:>9.1f}{disk:>9.1f}{memory + disk:>10.1f}{template['seconds'] or 0:>11.1f}"
        )


def show_steps(samples: Sequence[Sample], way: str) -> None:
    """The medians of when each step began, how long it took and when it was done, in the order of their ends.

    A step that was waiting for its turn has not begun. Some steps are done at the same time by several workers: the times
    they took are more together than the time that passed.
    """
    chosen = [sample for sample in samples if sample.way == way and not sample.fell_back]
    if not chosen:
        return
    rows = []
    for action in chosen[0].steps:
        times = [sample.steps[action] for sample in chosen]
        begin, end = median(t[0] for t in times), median(t[1] for t in times)
        rows.append((begin, median(t[1] - t[0] for t in times), end, action))
    answer = median(sample.seconds for sample in chosen)
    rows.append((answer, 0.0, answer, "first answer to a login"))
    print(f"\nMedians by step, {way}, seconds after the first step began (n = {len(chosen)})\n")
    print("| step | begins | takes | done |")
    print("| --- | ---: | ---: | ---: |")
    for begin, takes, end, action in sorted(rows, key=lambda row: row[2]):
        print(f"| {action} | {begin:.2f} | {takes:.2f} | {end:.2f} |")


def judge(samples: Sequence[Sample], written_before_boot: int) -> bool:
    """Print the ratios of medians and the bounds; whether all of them hold."""

    def middle(way: str) -> float:
        return median(sample.seconds for sample in samples if sample.way == way)

    print()
    holds = True
    for way, bound in ((CLASSIC, THAN_CLASSIC), (COLD, THAN_COLD)):
        if any(sample.way == way for sample in samples):
            ratio = middle(way) / middle(WARM)
            print(f"{way} / {WARM}: {ratio:.1f} (medians {middle(way):.2f} s and {middle(WARM):.2f} s)")
            holds &= verdict(f"at least {bound:g} times as fast as {way}", ratio >= bound)
    booted = [sample.fell_back for sample in samples if sample.fell_back]
    holds &= verdict(f"every {WARM} machine was resumed from a template", not booted)
    for why in booted:
        print(f"  one was booted: {why}")
    size = written_before_boot / 1e6
    return holds & verdict(
        f"at most {WRITTEN_BEFORE_BOOT_MB:g} MB written before a first boot ({size:.2f} MB)",
        size <= WRITTEN_BEFORE_BOOT_MB,
    )
