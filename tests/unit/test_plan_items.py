"""Two plans side by side: every difference is an item, and nothing else is."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date
from typing import Any

import pytest

from placo.domain import plan as plans
from placo.domain.catalogue import Catalogue
from placo.domain.plan import Plan, PlannedEndpoint, PlannedMachine, PlannedNetwork, hash_of
from placo.domain.plan_items import FOLLOWS, MACHINE, compare, differences
from tests.unit.test_plan import catalogue, plan

__all__ = ["catalogue"]


def told(old: Plan, new: Plan) -> dict[str, tuple[Any, Any]]:
    return {item.name: (item.old, item.new) for item in differences(old, new)}


def test_every_field_of_a_plan_is_an_item_or_follows_from_one() -> None:
    items = {
        PlannedMachine: set(MACHINE),
        PlannedNetwork: {"subnet", "dns_domain"},
        PlannedEndpoint: {"url", "machine", "port"},
        Plan: {"services", "options", "machines", "host", "network", "endpoints", "owners", "days"},
    }
    for kind, told_of in items.items():
        assert {f.name for f in fields(kind)} == told_of | FOLLOWS[kind.__name__], kind
        assert not told_of & FOLLOWS[kind.__name__]
    assert set(FOLLOWS) == {kind.__name__ for kind in items}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"title": "Another", "slug": "alpha"}, {}),
        ({"owners": ["emmy", "alan"]}, {"owners": (("emmy",), ("alan", "emmy"))}),
        ({"days": 30}, {"days": (90, 30)}),
        (
            {"images": {"www": "placo-www-2", "svn": "placo-svn-1"}},
            {"machines.www.image": ("placo-www-1", "placo-www-2")},
        ),
        (
            {"index": 1},
            {
                "network.subnet": ("10.77.16.0/28", "10.77.16.16/28"),
                "machines.svn.address": ("10.77.16.2", "10.77.16.18"),
                "machines.www.address": ("10.77.16.3", "10.77.16.19"),
            },
        ),
    ],
)
def test_what_differs_is_told(catalogue: Catalogue, change: dict[str, Any], expected: dict[str, Any]) -> None:
    found = told(plan(catalogue), plan(catalogue, **change))
    assert dict(sorted(found.items())) == dict(sorted(expected.items()))


def test_options_and_addresses(catalogue: Catalogue) -> None:
    found = told(plan(catalogue), plan(catalogue, options={"svn": {"repository": "notes"}}))
    assert found.pop("options.svn.repository") == ("thesis", "notes")
    [(name, (old, new))] = found.items()
    assert name == "endpoints.svn.https"
    assert old.endswith("/svn/thesis")
    assert new.endswith("/svn/notes")


def test_sizes_host_domain_and_routes(catalogue: Catalogue) -> None:
    old = plan(catalogue)
    www = old.machine("www")
    larger = replace(www, memory_mib=www.memory_mib + 64, vcpus=9, system_disk_gib=77, data_volume_gib=99)
    machines = tuple(larger if m.name == "www" else m for m in old.machines)
    network = replace(old.network, dns_domain="alpha.example.org")
    first, *others = old.endpoints
    moved = replace(old, machines=machines, host="h2", network=network)
    assert told(old, moved) == {
        "machines.www.memory_mib": (www.memory_mib, www.memory_mib + 64),
        "machines.www.vcpus": (www.vcpus, 9),
        "machines.www.system_disk_gib": (www.system_disk_gib, 77),
        "machines.www.data_volume_gib": (www.data_volume_gib, 99),
        "host": ("h1", "h2"),
        "network.dns_domain": ("alpha.placo.internal", "alpha.example.org"),
    }
    rerouted = replace(old, endpoints=(replace(first, port=7), *others))
    [(name, (before, after))] = told(old, rerouted).items()
    assert name.endswith(".route")
    assert (before, after) == (f"{first.machine}:{first.port}", f"{first.machine}:7")


def test_what_comes_and_goes(catalogue: Catalogue) -> None:
    old, new = plan(catalogue, services=["web"]), plan(catalogue)
    came = {item.name: item for item in differences(old, new) if item.came}
    assert came["services.svn"].new == "svn"
    assert came["options.svn.repository"].new == "thesis"
    assert came["machines.svn"].as_json()["new"]["image"] == "placo-svn-1"
    went = {item.name: item for item in differences(new, old)}
    assert went["machines.svn"].went
    assert "options.svn.repository" not in went, "the options of a service that goes go with it"
    assert not any(item.differs for item in compare(new, new))


def test_several_addresses_of_one_protocol_are_told_apart(catalogue: Catalogue) -> None:
    old = plan(catalogue)
    first = next(e for e in old.endpoints if e.service == "web")
    twice = replace(old, endpoints=(*old.endpoints, replace(first, url="https://other/")))
    [item] = differences(old, twice)
    assert item.came
    assert item.new == "https://other/"


def test_the_end_is_decided_about_too(catalogue: Catalogue) -> None:
    one = plan(catalogue)
    ends = (date(2030, 1, 1), date(2030, 2, 1))
    assert [i.as_json() for i in differences(one, one, ends)] == [
        {"item": "expires_on", "old": "2030-01-01", "new": "2030-02-01"}
    ]
    assert hash_of(one, None) == one.hash
    assert len({one.hash, *(hash_of(one, day) for day in ends)}) == 3
    assert plans.from_json(one.as_json()) == one
