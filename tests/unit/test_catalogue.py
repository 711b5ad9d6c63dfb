"""A catalogue says all that is wrong with it, with file, key and remedy; a sound one answers questions."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from placo.domain.catalogue import (
    Catalogue,
    CatalogueError,
    OptionError,
    Problem,
    UnknownServiceError,
    load_catalogue,
)

ROOT = Path(__file__).resolve().parents[2]
WEB, SVN, GIT = "services/web.toml", "services/svn.toml", "services/git.toml"
WWW = "machines/www/machine.toml"
WIKI = "services/wiki.toml"
CHAT, TALK = "services/chat.toml", "machines/chat/machine.toml"
APACHE = "software/apache/software.toml"
SYMPA = "software/sympa/software.toml"
WIKI = "services/wiki.toml"
SERVER, DEDICATED = "services/server.toml", "machines/server/machine.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the real catalogue, to be spoilt."""
    return Path(shutil.copytree(ROOT / "catalogue", tmp_path / "catalogue"))


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(ROOT / "catalogue")


def problems_of(folder: Path) -> tuple[Problem, ...]:
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(folder)
    for problem in caught.value.problems:
        assert problem.message and problem.remedy and str(problem) in str(caught.value)
    return caught.value.problems


def edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {file}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_catalogue_of_this_project_is_sound(catalogue: Catalogue) -> None:
    assert {"web", "svn"} <= set(catalogue.services)
    assert catalogue.machines_of(["svn", "web"]) == ("svn", "www")
    assert [item.id for item in catalogue.software_of("www")] == ["base", "apache", "php", "site"]
    assert catalogue.longest_slug >= 32


# old text -> new text in a file, and the file and key that the complaint has to name
SPOILT = [
    pytest.param(WEB, 'icon = "world-www"', "icon = 3", WEB, "icon", id="wrong type"),
    pytest.param(WEB, 'icon = "world-www"', 'icon = "World www"', WEB, "icon", id="bad value"),
    pytest.param(WEB, 'icon = "world-www"', "", WEB, "icon", id="missing key"),
    pytest.param(WEB, 'icon = "world-www"', 'icon = "a"\ncolour = "red"', WEB, "colour", id="unknown key"),
    pytest.param(WEB, 'icon = "world-www"', "icon = [", WEB, "", id="not TOML"),
    pytest.param(WEB, 'fr = "Site web"', "", WEB, "title.fr", id="no French"),
    pytest.param(WEB, 'en = "Web site"', 'en = " "', WEB, "title.en", id="empty English"),
    pytest.param(WEB, 'fr = "Site web"', 'fr = "Site web"\nde = "x"', WEB, "title.de", id="a third language"),
    pytest.param(WEB, 'machines = ["www"]', 'machines = ["wwv"]', WEB, "machines", id="unknown machine"),
    pytest.param(WEB, 'machines = ["www"]', "machines = []", WEB, "machines", id="no machine"),
    pytest.param(WEB, 'machines = ["www"]', 'machines = ["www", "www"]', WEB, "machines", id="machine twice"),
    pytest.param(WEB, "needs = []", 'needs = ["mail"]', WEB, "needs", id="unknown service"),
    pytest.param(WEB, "needs = []", 'needs = ["web"]', WEB, "needs", id="needs itself"),
    pytest.param(WEB, 'type = "boolean"', 'type = "flag"', WEB, "options[1].type", id="unknown option type"),
    pytest.param(WEB, "default = true", 'default = "yes"', WEB, "options[1].default", id="default refused"),
    pytest.param(WEB, "default = true", "", WEB, "options[1].default", id="no default"),
    pytest.param(
        WEB, 'type = "boolean"', 'type = "choice"', WEB, "options[1].choices", id="choice without choices"
    ),
    pytest.param(
        WEB, "default = true", "default = true\nmax = 3", WEB, "options[1].min", id="bounds of a boolean"
    ),
    pytest.param(SVN, "max = 31", "max = 2", SVN, "options[1].default", id="default too long"),
    pytest.param(SVN, "max = 31", "min = 40\nmax = 31", SVN, "options[1].min", id="min above max"),
    pytest.param(SVN, '"[a-z][a-z0-9-]*"', '"["', SVN, "options[1].pattern", id="pattern"),
    pytest.param(SVN, "/svn/{repository}", "/svn/{name}", SVN, "endpoints[1].path", id="path of no option"),
    pytest.param(
        WEB, 'host = "{slug}-web"', 'host = "web"', WEB, "endpoints[1].host", id="host without slug"
    ),
    pytest.param(
        WEB, 'host = "{slug}-web"', 'host = "{slug}-w"', WEB, "endpoints[1].host", id="host of no route"
    ),
    pytest.param(
        WEB, 'machine = "www"', 'machine = "svn"', WEB, "endpoints[1].machine", id="endpoint elsewhere"
    ),
    pytest.param(
        WEB, 'protocol = "https"', 'protocol = "gopher"', WEB, "endpoints[1].protocol", id="protocol"
    ),
    pytest.param(
        CHAT, 'protocol = "xmpps"', 'protocol = "imaps"', CHAT, "endpoints[1].host", id="protocol of no route"
    ),
    pytest.param(SVN, 'access = "members"', "", SVN, "endpoints[1].access", id="nobody says who may come in"),
    pytest.param(SVN, '"members"', '"friends"', SVN, "endpoints[1].access", id="friends may come in"),
    pytest.param(GIT, 'login = { by = "basic" }', "", GIT, "endpoints[1].login", id="no log-in"),
    pytest.param(GIT, 'by = "basic"', 'by = "magic"', GIT, "endpoints[1].login.by", id="log-in by magic"),
    pytest.param(GIT, 'by = "basic"', 'by = "imap"', GIT, "endpoints[1].login.by", id="mail on the web"),
    pytest.param(
        CHAT, 'by = "xmpp"', 'by = "basic"', CHAT, "endpoints[1].login.by", id="the web in the chat"
    ),
    pytest.param(
        GIT, 'by = "basic"', 'by = "none"', GIT, "endpoints[1].login.by", id="members without log-in"
    ),
    pytest.param(
        GIT, 'by = "basic"', 'by = "form"', GIT, "endpoints[1].login.user", id="form without fields"
    ),
    pytest.param(
        GIT,
        'by = "basic"',
        'by = "basic", user = "u"',
        GIT,
        "endpoints[1].login.user",
        id="fields of no form",
    ),
    pytest.param(
        GIT,
        'by = "basic"',
        'by = "basic", refused = [200]',
        GIT,
        "endpoints[1].login.refused",
        id="200 refuses",
    ),
    pytest.param(
        GIT,
        'by = "basic"',
        'by = "basic", path = "/{x}"',
        GIT,
        "endpoints[1].login.path",
        id="log-in at no option",
    ),
    pytest.param(
        WIKI,
        'public_if = "public"',
        'public_if = "secret"',
        WIKI,
        "endpoints[1].public_if",
        id="public by no option",
    ),
    pytest.param(
        WIKI,
        'public_if = "public"',
        'public_if = "language"',
        WIKI,
        "endpoints[1].public_if",
        id="public by a choice",
    ),
    pytest.param(
        WEB,
        'access = "public"',
        'access = "public"\nowners_if = "php"',
        WEB,
        "endpoints[1].owners_if",
        id="public, of owners",
    ),
    pytest.param(TALK, 'host = "{slug}-chat"', 'host = "{slug}"', TALK, "routes[1].host", id="bare slug"),
    pytest.param(
        TALK, "timeout_s = 5", 'timeout_s = 5\npath = "/"', TALK, "probe.path", id="greeting with a path"
    ),
    pytest.param(WIKI, "fr = { en =", "de = { en =", WIKI, "options[2].titles.fr", id="choice without title"),
    pytest.param(
        SERVER, 'machine = "server"\ndefault', "default", SERVER, "options[1].machine", id="size of nothing"
    ),
    pytest.param(
        SERVER,
        'machine = "server"\ndefault',
        'machine = "www"\ndefault',
        SERVER,
        "options[1].machine",
        id="size elsewhere",
    ),
    pytest.param(
        SERVER,
        'default = "small"',
        'default = "small"\nchangeable = true',
        SERVER,
        "options[1].changeable",
        id="a size that says that it can change",
    ),
    pytest.param(
        SERVER, 'default = "small"', 'default = "huge"', SERVER, "options[1].default", id="no such size"
    ),
    pytest.param(SERVER, 'user = "root"', 'user = "Root!"', SERVER, "endpoints[1].user", id="no such user"),
    pytest.param(SERVER, 'user = "root"', 'path = "/"', SERVER, "endpoints[1].path", id="ssh with a path"),
    pytest.param(
        SERVER,
        'protocol = "ssh"',
        'protocol = "imaps"',
        DEDICATED,
        "routes[1].host",
        id="ssh route without endpoint",
    ),
    pytest.param(DEDICATED, "owned = true", 'owned = "yes"', DEDICATED, "owned", id="owned"),
    pytest.param(
        DEDICATED, "owned = true", 'image = "debian-12"', DEDICATED, "image", id="no name of a stock image"
    ),
    pytest.param(
        DEDICATED,
        "owned = true",
        'image = "placo-www-1f2e3d4c5b6a"',
        DEDICATED,
        "image",
        id="an image that is built",
    ),
    pytest.param(
        DEDICATED,
        "owned = true",
        'image = "stock-../../etc-1f2e3d4c5b6a"',
        DEDICATED,
        "image",
        id="an image elsewhere",
    ),
    pytest.param(DEDICATED, "owned = true", "image = 12", DEDICATED, "image", id="an image by number"),
    pytest.param(DEDICATED, 'name = "medium"', 'name = "small"', DEDICATED, "sizes", id="size twice"),
    pytest.param(
        DEDICATED, "memory_mib = 2048", "memory_mib = 2000", DEDICATED, "sizes[2].memory_mib", id="odd memory"
    ),
    pytest.param(
        DEDICATED,
        "memory_mib = 2048",
        "memory_mib = 256",
        DEDICATED,
        "sizes[2].memory_mib",
        id="size too small",
    ),
    pytest.param(DEDICATED, "vcpus = 2", "vcpus = 0", DEDICATED, "sizes[2].vcpus", id="no processor"),
    pytest.param(
        DEDICATED, "vcpus = 2", "vcpus = 2\ncolour = 1", DEDICATED, "sizes[2].colour", id="key of no size"
    ),
    pytest.param(WWW, "memory_mib = 384", "memory_mib = 3", WWW, "memory_mib", id="too little memory"),
    pytest.param(WWW, "vcpus = 1", "vcpus = true", WWW, "vcpus", id="a boolean is no number"),
    pytest.param(WWW, '["apache", "php"', '["apache", "phq"', WWW, "software", id="unknown software"),
    pytest.param(WWW, '["apache", "php"', '["base", "php"', WWW, "software", id="base listed"),
    pytest.param(
        WWW, 'service = "web"', 'service = "wiki"', WWW, "routes[1].service", id="route of no service"
    ),
    pytest.param(
        WWW, 'service = "web"', 'service = "svn"', WWW, "routes[1].service", id="route of another service"
    ),
    pytest.param(WWW, 'host = "{slug}-web"', 'host = "{slug}-svn"', WWW, "routes[1].host", id="host taken"),
    pytest.param(
        WWW, 'host = "{slug}-web"', 'host = "{slug}-a-svn"', WWW, "routes[1].host", id="host ambiguous"
    ),
    pytest.param(WWW, "port = 443", "port = 444", WWW, "routes[1].port", id="route to a closed port"),
    pytest.param(WWW, "port = 443", "port = 70000", WWW, "ports[1].port", id="no such port"),
    pytest.param(WWW, "[200]", "[20]", WWW, "probe.expect_status", id="no such status"),
    pytest.param(WWW, "[probe]", "[prob]", WWW, "probe", id="no probe"),
    pytest.param(WWW, '["/srv/placo/site"]', '["/etc"]', WWW, "backup.paths", id="backup elsewhere"),
    pytest.param(
        WWW, '["/srv/placo/site"]', '["/srv/placo/../etc"]', WWW, "backup.paths", id="backup by dots"
    ),
    pytest.param(SYMPA, "hostname string lists", "hostname text lists", SYMPA, "answers", id="no answer"),
    pytest.param(
        SYMPA, "string lists.invalid", "string lists\\nx", SYMPA, "answers", id="two answers in one"
    ),
    pytest.param(SYMPA, '"fr"]', '"fr_FR"]', SYMPA, "locales", id="no language"),
    pytest.param(APACHE, '"apache2",', '"Apache 2",', APACHE, "packages", id="no package name"),
    pytest.param(APACHE, "members.conf.j2", "member.conf.j2", APACHE, "files[2].source", id="no such file"),
    pytest.param(APACHE, "members.conf.j2", "../../x", APACHE, "files[2].source", id="file outside"),
    pytest.param(APACHE, 'mode = "0600"', 'mode = "rw"', APACHE, "files[2].mode", id="mode"),
    pytest.param(APACHE, 'mode = "0600"', 'owner = "root"', APACHE, "files[2].owner", id="owner"),
    pytest.param(
        APACHE, '"/etc/placo/members.conf"', '"members.conf"', APACHE, "files[2].target", id="target"
    ),
    pytest.param(
        APACHE, '"/etc/placo/members.conf"', '"/a/../b"', APACHE, "files[2].target", id="target by dots"
    ),
    pytest.param(
        "software/apache/files/placo.conf.j2",
        "{{ machine.fqdn }}",
        "{{ machine",
        APACHE,
        "files[1].source",
        id="Jinja2",
    ),
    pytest.param(
        "software/apache/files/placo.conf.j2",
        "machine.fqdn",
        "host.fqdn",
        APACHE,
        "files[1].source",
        id="variable",
    ),
    pytest.param(
        "software/php/software.toml",
        "/etc/apache2/placo.d/php.conf",
        "/etc/placo/members.conf",
        WWW,
        "software",
        id="two files in one place",
    ),
    pytest.param(
        "software/apache/build", "#!/bin/sh", "#!/bin/bash", "software/apache/build", "", id="not sh"
    ),
]


@pytest.mark.parametrize(("file", "old", "new", "named", "key"), SPOILT)
def test_a_mistake_is_named(folder: Path, file: str, old: str, new: str, named: str, key: str) -> None:
    edit(folder, file, old, new)
    assert (named, key) in {(problem.file, problem.key) for problem in problems_of(folder)}


def _drop_machine_file(folder: Path) -> None:
    (folder / WWW).unlink()


def _drop_base(folder: Path) -> None:
    shutil.rmtree(folder / "software/base")


def _drop_level(folder: Path) -> None:
    shutil.rmtree(folder / "services")


def _forget_executable_bit(folder: Path) -> None:
    (folder / "software/apache/configure").chmod(0o644)


def _stray_file(folder: Path) -> None:
    (folder / "software/apache/files/forgotten.j2").write_text("", encoding="utf-8")


def _binary_template(folder: Path) -> None:
    (folder / "software/apache/files/placo.conf.j2").write_bytes(b"\xff\xfe")


def _bad_service_name(folder: Path) -> None:
    (folder / WEB).rename(folder / "services/Web.toml")


def _long_machine_name(folder: Path) -> None:
    (folder / "machines/svn").rename(folder / "machines/subversion-server")


@pytest.mark.parametrize(
    ("spoil", "file", "key"),
    [
        (_drop_machine_file, WWW, ""),
        (_drop_base, "software/base/software.toml", ""),
        (_drop_level, "services", ""),
        (_forget_executable_bit, "software/apache/configure", ""),
        (_stray_file, APACHE, "files"),
        (_binary_template, APACHE, "files[1].source"),
        (_bad_service_name, "services/Web.toml", ""),
        (_long_machine_name, "machines/subversion-server/machine.toml", ""),
    ],
)
def test_a_mistake_in_the_folders_is_named(
    folder: Path, spoil: Callable[[Path], None], file: str, key: str
) -> None:
    spoil(folder)
    assert (file, key) in {(problem.file, problem.key) for problem in problems_of(folder)}


def test_a_circle_of_services_is_named_at_each_of_them(folder: Path) -> None:
    edit(folder, WEB, "needs = []", 'needs = ["svn"]')
    edit(folder, SVN, "needs = []", 'needs = ["web"]')
    assert {(p.file, p.key) for p in problems_of(folder)} == {(WEB, "needs"), (SVN, "needs")}


def test_all_mistakes_are_found_at_once(folder: Path) -> None:
    edit(folder, WEB, 'icon = "world-www"', "")
    edit(folder, WWW, "vcpus = 1", "vcpus = 0")
    _forget_executable_bit(folder)
    assert {p.file for p in problems_of(folder)} == {WEB, WWW, "software/apache/configure"}


def test_needs_come_first_and_once(folder: Path) -> None:
    edit(folder, SVN, "needs = []", 'needs = ["web"]')
    catalogue = load_catalogue(folder)
    assert [service.id for service in catalogue.services_of(["svn", "web"])] == ["web", "svn"]
    assert catalogue.machines_of(["svn"]) == ("www", "svn")


def test_an_unknown_service_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownServiceError, match="forum"):
        catalogue.machines_of(["forum"])


def test_an_image_is_named_by_what_it_is_built_from(folder: Path) -> None:
    before = load_catalogue(folder)
    names = {name: before.image_name(name) for name in ("www", "svn")}
    assert names["www"].startswith("placo-www-") and names["svn"].startswith("placo-svn-")

    edit(folder, "software/apache/files/placo.conf.j2", "TraceEnable Off", "TraceEnable On")
    edit(folder, "software/subversion/configure", "set -eu", "set -eux")
    assert {name: load_catalogue(folder).image_name(name) for name in names} == names, (
        "settings are not in the image"
    )

    edit(folder, "software/php/software.toml", '["php8.2-fpm"]', '["php8.2-fpm", "php-xml"]')
    after = load_catalogue(folder)
    assert after.image_name("www") != names["www"] and after.image_name("svn") == names["svn"]

    edit(folder, "software/base/build", "set -eu", "set -eux")
    assert load_catalogue(folder).image_name("svn") != names["svn"]


def test_a_machine_may_name_a_stock_image(folder: Path) -> None:
    built = load_catalogue(folder).image_name("server")
    edit(folder, DEDICATED, "owned = true", 'image = "stock-debian12-1f2e3d4c5b6a"')
    found = load_catalogue(folder)
    assert (built[:13], found.image_name("server")) == ("placo-server-", "stock-debian12-1f2e3d4c5b6a")
    assert found.image_name("gateway").startswith("placo-gateway-")


def test_who_names_no_stock_image_is_told_how_to_import_one(folder: Path) -> None:
    edit(folder, DEDICATED, "owned = true", 'image = "debian12.qcow2"')
    (problem,) = problems_of(folder)
    assert "debian12.qcow2" in problem.message
    assert "python -m placo.drivers.images import" in problem.remedy
    assert "stock-debian12-" in problem.remedy


@pytest.mark.parametrize(
    ("old", "new"),
    [('locales = ["fr"]', 'locales = ["fr", "de"]'), ("string lists.invalid", "string other.invalid")],
)
def test_an_image_changes_with_what_its_packages_are_told(folder: Path, old: str, new: str) -> None:
    before = load_catalogue(folder)
    edit(folder, SYMPA, old, new)
    after = load_catalogue(folder)
    assert after.image_name("lists") != before.image_name("lists")
    assert after.image_name("www") == before.image_name("www")


def test_an_image_changes_with_the_files_of_the_guest(folder: Path, tmp_path: Path) -> None:
    guest = tmp_path / "guest"
    (guest / "usr/sbin").mkdir(parents=True)
    program = guest / "usr/sbin/placo-personalise"
    program.write_text("one", encoding="ascii")
    first = load_catalogue(folder, guest).image_hash("www")
    program.write_text("two", encoding="ascii")
    assert load_catalogue(folder, guest).image_hash("www") != first


@pytest.mark.parametrize(
    "value", ["", "Main", "a b", "../x", "a" * 32, "1a", 3, True, None, "a\nb", "main\n"]
)
def test_a_repository_name_that_is_refused(catalogue: Catalogue, value: object) -> None:
    with pytest.raises(OptionError) as caught:
        catalogue.services["svn"].complete({"repository": value})
    assert caught.value.option == "repository"
    assert caught.value.text.en and caught.value.text.fr


def test_options_are_completed(catalogue: Catalogue) -> None:
    svn = catalogue.services["svn"]
    assert svn.complete({}) == {"repository": "main"}
    assert svn.complete({"repository": "thesis-2"}) == {"repository": "thesis-2"}
    with pytest.raises(OptionError, match="colour"):
        svn.complete({"colour": "red"})
    assert svn.endpoints[0].path_for("alpha", {"repository": "thesis-2"}) == "/svn/thesis-2"
    assert svn.endpoints[0].label("alpha") == "alpha-svn"


def test_texts_are_given_in_the_language_asked_for(catalogue: Catalogue) -> None:
    title = catalogue.services["web"].title
    assert (title.get("fr-fr"), title.get("en"), title.get("de")) == ("Site web", "Web site", "Web site")


def test_an_option_says_who_may_come_in(catalogue: Catalogue) -> None:
    [wiki] = catalogue.services["wiki"].endpoints
    assert wiki.access_for({"public": False}) == wiki.access_for({}) == "members"
    assert wiki.access_for({"public": True}) == "public"
    site, _members, files = catalogue.services["web"].endpoints
    assert site.access_for({}) == "public"
    assert (files.access_for({}), files.access_for({"owners_only": True})) == ("members", "owners")


def test_a_log_in_is_tried_where_the_catalogue_says(folder: Path) -> None:
    there = 'path = "/svn/{repository}/?by={slug}", refused = [404]'
    edit(folder, SVN, 'by = "basic", path = "/"', f'by = "basic", {there}')
    [door, _page] = load_catalogue(folder).services["svn"].endpoints
    assert door.login_path_for("alpha", {"repository": "thesis"}) == "/svn/thesis/?by=alpha"
    assert door.login.refused == (404,)
    [wiki] = load_catalogue(folder).services["wiki"].endpoints
    assert wiki.login_path_for("alpha", {}) == "/"
