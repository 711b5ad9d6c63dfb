"""PHP on a real machine: pages run beside Apache, with the rights of www-data and no more."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import httpx
import pytest

from deploy.client import Lab
from tests.lab_world import Made
from tests.vm.guest import Guest, guest

PAGES = "/srv/placo/site"
SECRET = "/etc/placo/members.conf"

Open = Callable[[str, str], httpx.Response]


@pytest.fixture
def www(lab: Lab, beta: Made) -> Guest:
    """The web server of `beta`."""
    return guest(lab, "beta", beta.machine("www"))


@pytest.fixture
def opened(lab: Lab, beta: Made, www: Guest) -> Iterator[Open]:
    """Puts a page of this name into the site and opens it: below members/ as the platform's owner."""

    def put_and_open(name: str, source: str) -> httpx.Response:
        coded = base64.b64encode(source.encode()).decode()
        place = name if name.startswith("members/") else f"public/{name}"
        done = www.run(f"echo {coded} | base64 -d > {PAGES}/{place}")
        assert done.status == 0, done.text
        return lab.get(beta.url("web", "/") + name, "owner" if name.startswith("members/") else None)

    yield put_and_open
    www.run(f"rm -f {PAGES}/public/placo-test* {PAGES}/members/placo-test*")


def test_a_page_runs(opened: Open) -> None:
    answer = opened("placo-test.php", '<?php echo PHP_SAPI, " ", 6 * 7;')
    assert (answer.status_code, answer.text) == (200, "fpm-fcgi 42")
    assert "x-powered-by" not in answer.headers


def test_php_reads_no_secret_of_the_machine(opened: Open, www: Guest) -> None:
    assert www.run(f"grep -c BindPassword {SECRET}").status == 0
    source = (
        "<?php echo posix_getpwuid(posix_geteuid())['name'], ' ';"
        f"echo json_encode([@file_get_contents('{SECRET}'), @file_get_contents('/etc/placo/tls/key.pem')]), ' ';"
        f"echo shell_exec('cat {SECRET} /proc/*/environ 2>&1 | grep -c -i bindpassword');"
    )
    assert opened("placo-test.php", source).text.split() == ["www-data", "[false,false]", "0"]


def test_errors_are_logged_and_not_shown(opened: Open, www: Guest) -> None:
    answer = opened("placo-test.php", "<?php placo_nowhere();")
    assert (answer.status_code, answer.text) == (500, "")
    assert www.run("grep -c placo_nowhere /var/log/apache2/error.log").status == 0


def test_source_is_not_shown(opened: Open) -> None:
    for name in ("placo-test.phps", "placo-test.PHP"):
        answer = opened(name, "<?php /* hidden */ echo 1;")
        assert "hidden" not in answer.text, name


def test_members_page_knows_who_and_not_their_password(lab: Lab, opened: Open) -> None:
    source = (
        "<?php $seen = preg_grep('/AUTHORIZATION|AUTH_PW/', array_keys($_SERVER));"
        "echo $_SERVER['REMOTE_USER'], ' ', count($seen);"
    )
    answer = opened("members/placo-test.php", source)
    assert (answer.status_code, answer.text) == (200, f"{lab.accounts['owner'].uid} 0")
