"""The site configuration: what is written is read, what cannot be is refused with file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from placo.config import ROOT, ConfigError, load

EXAMPLE = ROOT / "deploy" / "placo.toml.example"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The example, to be changed."""
    copy = tmp_path / "placo.toml"
    copy.write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    return copy


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def refused(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_the_example_is_sound(file: Path) -> None:
    assert load(file).config.edge.first_ssh_port == 22000


def test_the_ports_for_ssh_are_the_sites_choice(file: Path) -> None:
    edit(file, "first_ssh_port = 22000", "first_ssh_port = 30000")
    assert load(file).config.edge.first_ssh_port == 30000
    edit(file, "first_ssh_port = 30000\n", "")
    assert load(file).config.edge.first_ssh_port == 22000


def test_names_lead_to_no_address_at_which_nobody_listens(file: Path) -> None:
    assert str(load(file).config.edge.address6) == "2001:db8::10"
    edit(file, 'address6 = "2001:db8::10"\n', "")
    assert "dns.addresses" in refused(file)
    edit(file, '"192.0.2.10", "2001:db8::10"', '"192.0.2.10"')
    assert load(file).config.edge.address6 is None
    edit(file, "[edge]\n", '[edge]\naddress6 = "192.0.2.1"\n')
    assert "edge.address6" in refused(file)


@pytest.mark.parametrize("port", ["22", "1023", "65533", '"ssh"', "-1"])
def test_a_port_that_cannot_be_is_named(file: Path, port: str) -> None:
    edit(file, "first_ssh_port = 22000", f"first_ssh_port = {port}")
    assert "edge.first_ssh_port" in refused(file)


@pytest.mark.parametrize(
    "name", ["mx.example.org.", "MX.example.org", "mx..example.org", "mx example", "mx;", "-mx"]
)
def test_a_mail_exchanger_that_is_no_host_name_is_named(file: Path, name: str) -> None:
    edit(file, '"mx.example.org"', f'"{name}"')
    assert "dns.mail_exchanger" in refused(file)


def test_a_key_that_there_is_not_is_named(file: Path) -> None:
    edit(file, "first_ssh_port = 22000", "first_port = 22000")
    assert "edge.first_port" in refused(file)


def test_a_file_that_is_not_there_or_no_toml(tmp_path: Path) -> None:
    assert "not found" in refused(tmp_path / "nothing.toml")
    spoilt = tmp_path / "spoilt.toml"
    spoilt.write_text("[site", encoding="utf-8")
    assert "cannot be read" in refused(spoilt)
