"""What the benchmark of the catalogue concludes, without a lab."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench import builds, everything, kinds, knock, refusals
from bench.cost import Cost
from bench.made import COLD, WARM, Holding, Ready
from bench.refusals import Refused
from placo.domain.catalogue import load_catalogue

CATALOGUE = Path(__file__).resolve().parents[2] / "catalogue"


def test_every_kind_of_machine_is_made_by_the_service_that_brings_least(tmp_path: Path) -> None:
    folder = tmp_path / "catalogue"
    shutil.copytree(CATALOGUE, folder)
    service = folder / "services" / "wiki.toml"
    service.write_text(service.read_text().replace("needs = []", 'needs = ["svn"]', 1))
    catalogue = load_catalogue(folder)
    found = {kind.name: kind for kind in kinds.kinds(catalogue, folder)}
    assert set(found) == set(catalogue.machines)
    assert (found["svn"].service, found["svn"].beside) == ("svn", ())
    assert (found["wiki"].service, found["wiki"].beside) == ("wiki", ("svn",))


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("memory_mib = 768 # Perl keeps all lists in memory", "Perl keeps all lists in memory"),
        ("memory_mib = 768", ""),
        ("memory_mib = 768 #", ""),
    ],
)
def test_much_memory_needs_a_note(tmp_path: Path, line: str, note: str) -> None:
    file = tmp_path / "machine.toml"
    file.write_text(f"{line}\nvcpus = 1\n")
    assert kinds.note_of(file) == note


def ready(seconds: float, memory_mib: int) -> Ready:
    return Ready(
        "bench-0", seconds, {}, {"www": Holding(memory_mib, 200_000_000, Cost(20.0, 1.0, 5_000_000), seconds)}
    )


@pytest.mark.parametrize(
    ("seconds", "memory_mib", "holds"),
    [([100.0], 6144, True), ([500.0], 6144, False), ([100.0], 6145, False), ([500.0, 100.0, 90.0], 10, True)],
)
def test_a_platform_with_everything(seconds: list[float], memory_mib: int, holds: bool) -> None:
    assert everything.report({COLD: [ready(s, memory_mib) for s in seconds]}) is holds
    assert everything.report({COLD: [ready(1, 10)], WARM: [ready(s, memory_mib) for s in seconds]}) is holds


def refused(seconds: float | None) -> Refused:
    return Refused("wiki: wiki", "https", seconds, 0.5, "" if seconds else "silence")


def test_a_refusal_that_is_late_or_never_comes_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    catalogue = load_catalogue(CATALOGUE)
    assert refusals.report([refused(1.5), refused(4.9)], catalogue)
    assert not refusals.report([refused(1.5), refused(5.1)], catalogue), "each of them, not the median"
    assert not refusals.report([refused(None)], catalogue)
    assert "never refused: silence" in capsys.readouterr().out
    assert not refusals.report([], catalogue), "nothing measured proves nothing"


class Door:
    """Answers what it is told to, one try after the other; then the last of it."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.tries = list(answers), 0

    def __call__(self) -> tuple[str, str]:
        self.tries += 1
        return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]), "so it said"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"IN_S": 1.0, "OUT_S": 30.0, "REST_S": 0.001, "PAUSE_S": 0.001}.items():
        monkeypatch.setattr(knock, name, seconds)


def knocked(*doors: Door) -> list[knock.Seen]:
    everywhere = knock.Everywhere(len(doors))
    named = [(knock.Seen(str(number), "", "https"), door) for number, door in enumerate(doors)]
    return knock.at_all(named, everywhere)


def test_a_door_is_tried_until_it_refuses_whom_it_let_in(
    hurried: None, capsys: pytest.CaptureFixture[str]
) -> None:
    door = Door("silent", "refused", "admitted", "admitted", "silent", "refused")
    (seen,) = knocked(door)
    assert door.tries == 6 and 0 < seen.last_in < seen.refused
    assert capsys.readouterr().out == "in\n"


def test_a_door_is_tried_long_enough_after_others_were_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knock, "IN_S", 0.0)
    everywhere = knock.Everywhere(1)
    assert everywhere.over
    everywhere.one_more()
    assert not everywhere.over


def test_a_door_that_never_refuses_is_given_up(hurried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knock, "OUT_S", 0.2)
    (seen,) = knocked(Door("admitted"))
    assert seen.last_in and not seen.refused


def test_nobody_is_removed_before_all_doors_have_let_them_in(
    hurried: None, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = knocked(Door("admitted"), Door("silent"))
    assert not capsys.readouterr().out
    assert [bool(door.last_in) for door in seen] == [True, False]
    assert seen[1].said == "so it said"


def test_an_image_that_is_written_again_is_noticed(tmp_path: Path) -> None:
    image = tmp_path / "placo-www-0"
    image.mkdir()
    (image / "recipe.json").write_text("{}")
    before = builds.marks(tmp_path)
    (tmp_path / ".placo-www-0.lock").touch()
    assert builds.marks(tmp_path) == before, "a lock is no image"
    (image / "recipe.json").unlink()
    (image / "recipe.json").write_text("{}")
    assert builds.marks(tmp_path) != before


def test_a_killed_run_leaves_no_cache_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACO_IMAGE_CACHE", str(tmp_path / "images"))
    left = tmp_path / f"{builds.PREFIX}left"
    left.mkdir()
    with pytest.raises(KeyboardInterrupt), builds.own_cache() as folder:
        assert folder.is_dir() and not left.exists()
        (folder / "placo-www-0").mkdir()
        raise KeyboardInterrupt
    assert not list(tmp_path.glob(f"{builds.PREFIX}*"))


def test_what_a_door_said_that_let_nobody_in_is_told() -> None:
    line = json.dumps([{"service": "wiki", "endpoint": "wiki", "protocol": "https", "said": "status 500"}])
    assert refusals.silent(line) == "wiki wiki: status 500"
    assert refusals.silent("") == "it ended before"
