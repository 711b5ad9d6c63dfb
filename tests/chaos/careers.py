"""What people want, drawn from a seed before anything happens: the career of each platform."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

OWNERS = {"topology": "olivier", "optics": "elodie"}
ADMINISTRATOR = "aurore"
GUESTS = ("maryam", "otto", "anais", "benoit", "chinedu", "dagny", "esteban", "goran", "haruka", "ines")
WISHES = (["web"], ["svn"], ["web", "svn"], ["webmail"], ["web", "webmail"], ["git"])
_ACTS = {"change": 5, "members": 5, "stop and start": 3, "suspend and resume": 2, "restart": 2, "rebuild": 2}


@dataclass
class Career:
    """One platform from its request to its end, if it has one here. `acts` are what is done with it, one after the other.

    decision: what the administrator says. patience_s: when it is called off, if ever, after the approval. A career with a
    `predecessor` wants its name, and has to wait until that one is history.
    """

    slug: str
    project: str
    services: list[str]
    decision: str = "approve"
    patience_s: float | None = None
    acts: list[str] = field(default_factory=list)
    predecessor: Career | None = None
    dice: random.Random = field(default_factory=random.Random)

    @property
    def ends(self) -> bool:
        """Whether nothing of it is there in the end, whatever happens."""
        return self.decision != "approve" or "retire" in self.acts


def draw(seed: int, requests: int) -> list[Career]:
    """Careers with so many requests in all: those for platforms, and those for changes of them."""
    dice, found = random.Random(seed), list[Career]()
    free: list[Career] = []
    left = requests
    while left > 0:
        career = _career(dice, f"c{len(found):03}", changes=left - 1)
        if free and dice.random() < 0.3:
            career.predecessor = free.pop(dice.randrange(len(free)))
            career.slug = career.predecessor.slug
        if career.ends:
            free.append(career)
        left -= 1 + career.acts.count("change")
        found.append(career)
    return found


def _career(dice: random.Random, slug: str, *, changes: int) -> Career:
    career = Career(slug, dice.choice(sorted(OWNERS)), list(dice.choice(WISHES)))
    career.dice = random.Random(dice.random())
    fate = dice.random()
    if fate < 0.07:
        career.decision = "reject" if fate < 0.04 else "withdraw"
        return career
    if fate < 0.22:
        career.patience_s, career.acts = dice.uniform(0, 15), ["retire"]
        return career
    drawn = dice.choices(list(_ACTS), list(_ACTS.values()), k=dice.choice([0, 0, 1, 1, 2]))
    for act in drawn:
        if act != "change" or changes > 0:
            career.acts += act.split(" and ")
            changes -= act == "change"
    if dice.random() < 0.5:
        career.acts.append("retire")
    return career
