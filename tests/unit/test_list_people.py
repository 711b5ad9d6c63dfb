"""What Sympa is told of people (catalogue/software/sympa/files/People.pm), with the directory and Sympa played by a few lines of Perl."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

PEOPLE = Path(__file__).resolve().parents[2] / "catalogue/software/sympa/files/People.pm"
EMPTY = ("IO::Socket::SSL", "Net::LDAP", "Sympa::DatabaseManager", "Sympa::Log", "Sympa::Message",
         "Sympa::Spindle::ProcessRequest", "Sympa::Tools::Text", "Sympa::WWW::FastCGI", "Sympa::WWW::Session", "Conf")  # fmt: skip
STAGE = r"""
package Sympa::Tools::Text; sub valid_email { $_[0] =~ /\A[a-z0-9.+-]+@[a-z0-9.-]+\z/ }
package Sympa; sub get_address { "listmaster" }
package Conf; our %Conf = (domain => "alpha-lists.example.org");
package Entry; sub get_value { my $v = $_[0]{$_[1]} // []; wantarray ? @$v : $v->[0] }
package List; our @said;
sub sync_include { push @said, "$_[0]{name} follows: $_[1]"; 1 }
sub delete_list_member { push @said, "$_[0]{name} without member $_[1][0]" }
sub delete_list_admin { push @said, "$_[0]{name} without $_[1] $_[2][0]" }
package Sympa::List; my $list = bless {name => "seminar"}, "List";
sub get_lists { [$list] } sub get_which { $list } sub new { $list }
package Sympa::Spindle::ProcessRequest;
sub new { my ($c, %r) = @_; push @List::said, "$r{action} $r{current_email} to $r{email}"; bless {}, $c } sub spin { 1 } sub success { 1 }
package main;
require $ARGV[0];
my $told = JSON::PP->new->utf8->decode(join "", <STDIN>);
no warnings "redefine";
*Placo::People::found = sub { map { bless {%$_}, "Entry" } @{$told->{$_[1]}} };
*Placo::People::put = sub { };
if (exists $told->{before}) {
    Placo::People::sympa_follows($told->{before}, $told->{now});
    print map { "$_\n" } @List::said;
}
else {
    print Placo::People::as_text(Placo::People::asked(undef));
}
"""


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A folder with what People.pm loads, empty; and the module with settings of its own."""
    for module in (*EMPTY, "Sympa", "Sympa::List"):
        file = tmp_path / (module.replace("::", "/") + ".pm")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1;\n", encoding="ascii")
    text = PEOPLE.read_text(encoding="utf-8")
    mark = "my $settings;"
    assert mark in text
    settings = "{mail_domain => 'alpha.example.org', owners_dn => 'owners', services_dn => 'services', people_base => 'people'}"
    (tmp_path / "People.pm").write_text(text.replace(mark, f"my $settings = {settings};"), encoding="utf-8")
    return tmp_path


def play(stage: Path, told: dict[str, Any]) -> list[str]:
    """What it says of that, line by line."""
    done = subprocess.run(
        ["perl", f"-I{stage}", "-e", STAGE, str(stage / "People.pm")],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


def directory(people: list[dict[str, list[str]]], *addresses: str) -> dict[str, Any]:
    owners = {"member": ["cn=nobody,dc=example", "uid=Ada,ou=people,dc=example"]}
    return {"owners": [owners], "services": [{"labeledURI": list(addresses)}], "people": people}


ADA = {"uid": ["Ada"], "cn": ["Ada\tL"], "mail": ["Ada@Lab.example"]}
EMMY = {"uid": ["emmy"], "cn": ["Emmy"]}


def test_people_have_the_addresses_of_the_laboratory(stage: Path) -> None:
    told = directory([ADA, EMMY, {"uid": ["x"], "mail": ["no address"]}], "https://wiki.x:443 wiki")
    assert play(stage, told) == ["ada\tada@lab.example\t\t1\tAda L"]


def test_with_mail_people_have_the_addresses_of_the_platform(stage: Path) -> None:
    told = directory([EMMY, ADA], "smtp://lists.x:25 lists", "smtp://mail.x:25 other webmail")
    assert play(stage, told) == [
        "ada\tada@alpha.example.org\tada@lab.example\t1\tAda L",
        "emmy\temmy@alpha.example.org\t\t0\tEmmy",
    ]


def test_who_is_gone_is_off_every_list_before_anything_else(stage: Path) -> None:
    ada, emmy = "ada\tada@a\tada@lab\t1\tAda\n", "emmy\temmy@a\temmy@lab\t0\tEmmy\n"
    said = play(stage, {"before": ada + emmy, "now": ada})
    gone = [f"seminar without {role} {at}" for at in ("emmy@a", "emmy@lab") for role in ("member", "owner", "editor")]  # fmt: skip
    assert [line for line in said if "without" in line] == gone == said[: len(gone)]
    assert [f"seminar follows: {role}" for role in ("member", "owner", "editor")] == said[-3:]


def test_an_address_that_somebody_else_has_stays(stage: Path) -> None:
    said = play(
        stage, {"before": "ada\tx@a\t\t1\tAda\nemmy\tx@a\t\t0\tEmmy\n", "now": "ada\tx@a\t\t1\tAda\n"}
    )
    assert not [line for line in said if "without" in line]


def test_who_has_another_address_is_the_same_person(stage: Path) -> None:
    said = play(stage, {"before": "ada\tada@lab\t\t1\tAda\n", "now": "ada\tada@a\tada@lab\t1\tAda\n"})
    assert said[-1] == "move_user ada@lab to ada@a"
    assert not [line for line in said if "without" in line]
