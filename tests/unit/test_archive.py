"""The settings archive: deterministic, complete, with the modes and owners that the catalogue says."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from placo.domain.catalogue import Catalogue, load_catalogue
from placo.drivers.archive import Identity, render_archive, stock_archive
from placo.drivers.ports import Rejected

ROOT = Path(__file__).resolve().parents[2]
WHO = Identity(
    tls_key=b"the key",
    tls_certificate=b"the certificate",
    ca=b"the authority",
    ssh_host_key=b"the host key",
    ssh_host_key_public=b"the public host key",
    entropy=b"the random bytes",
)
SECRETS = (WHO.tls_key, WHO.ssh_host_key, WHO.entropy)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(ROOT / "catalogue")


def context(**changes: Any) -> dict[str, Any]:
    tls = "/etc/placo/tls"
    return {
        "platform": {"slug": "alpha", "uuid": "u", "title": "A <b> & l'été", "project": "p", "domain": "d"},
        "network": {"gateway": "10.77.16.1", "prefix": 28},
        "machine": {
            "name": "www",
            "hostname": "www",
            "fqdn": "www.alpha.placo.internal",
            "uuid": "8e3a1e6e-0000-4000-8000-000000000001",
            "address": "10.77.16.2",
        },
        "directory": {
            "uri": "ldaps://directory.placo.internal:636",
            "host": "directory.placo.internal",
            "port": 636,
            "base": "dc=placo,dc=test",
            "people_base": "ou=people,dc=placo,dc=test",
            "keys_base": "ou=keys,dc=placo,dc=test",
            "members_dn": "cn=members,ou=alpha,ou=platforms,dc=placo,dc=test",
            "owners_dn": "cn=owners,ou=alpha,ou=platforms,dc=placo,dc=test",
            "bind_dn": "cn=www,ou=services,ou=alpha,ou=platforms,dc=placo,dc=test",
            "bind_password": "s3cret-of-www",
            "ca_file": f"{tls}/ca.pem",
        },
        "endpoints": [],
        "options": {"web": {"php": True, "owners_only": False}, "svn": {"repository": "thesis"}},
        "tls": {
            "key_file": f"{tls}/key.pem",
            "certificate_file": f"{tls}/certificate.pem",
            "ca_file": f"{tls}/ca.pem",
        },
    } | changes


def unpack(archive: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        for entry in tar:
            content = tar.extractfile(entry)
            assert content is not None, f"{entry.name} is not a file"
            found[entry.name] = (entry, content.read())
    return found


@pytest.mark.parametrize("machine", ["www", "svn"])
def test_the_same_input_gives_the_same_bytes(catalogue: Catalogue, machine: str) -> None:
    archive = render_archive(catalogue, machine, context(), WHO)
    assert archive == render_archive(catalogue, machine, context(), WHO)
    members = unpack(archive)
    first, *others = members
    assert first == "settings.env"
    assert others == sorted(others)
    assert {entry.mtime for entry, _ in members.values()} == {0}
    assert {entry.uid for entry, _ in members.values()} == {0}


def test_secrets_are_for_root_only(catalogue: Catalogue) -> None:
    members = unpack(render_archive(catalogue, "www", context(), WHO))
    secret = {
        name for name, (_, content) in members.items() if b"s3cret-of-www" in content or content in SECRETS
    }
    assert secret == {
        "entropy",
        "root/etc/placo/members.conf",
        "root/etc/placo/tls/key.pem",
        "root/etc/ssh/ssh_host_ed25519_key",
    }
    for name in secret:
        entry, _ = members[name]
        assert (entry.mode, entry.uname, entry.gname) == (0o600, "root", "root")


def test_everything_of_the_machine_is_there(catalogue: Catalogue) -> None:
    members = unpack(render_archive(catalogue, "svn", context(), WHO))
    assert [name for name in members if name.startswith("hooks/")] == [
        "hooks/01-apache",
        "hooks/02-subversion",
    ]
    assert members["hooks/02-subversion"][0].mode == 0o755
    assert members["root/etc/placo/tls/ca.pem"][1] == WHO.ca
    assert members["root/etc/placo/svn-repository"][1] == b"thesis\n"
    for software in catalogue.software_of("svn"):
        assert {f"root{file.target}" for file in software.files} <= set(members)


def test_php_is_the_owners_choice(catalogue: Catalogue) -> None:
    place = "root/etc/apache2/placo.d/site.conf"
    denied = b"SetHandler default-handler\n    Require all denied"
    on = unpack(render_archive(catalogue, "www", context(), WHO))
    assert denied not in on[place][1] and b"fcgi:" in on["root/etc/apache2/placo.d/php.conf"][1]
    options = {"web": {"php": False, "owners_only": False}}
    off = unpack(render_archive(catalogue, "www", context(options=options), WHO))
    assert denied in off[place][1]


def test_titles_are_escaped_in_pages(catalogue: Catalogue) -> None:
    page = unpack(render_archive(catalogue, "www", context(), WHO))["first/srv/placo/site/public/index.html"][
        1
    ]
    assert b"<b>" not in page and "l&#39;été".encode() in page


def test_settings_are_one_value_a_line_as_it_is(catalogue: Catalogue) -> None:
    nasty = 'a\'b $(touch x) `id` "c" = d'
    machine = context()["machine"] | {"hostname": nasty}
    found = unpack(render_archive(catalogue, "www", context(machine=machine), WHO))["settings.env"][1]
    values = dict(line.split("=", 1) for line in found.decode().splitlines())
    assert values["PLACO_HOSTNAME"] == nasty
    assert (values["PLACO_PREFIX"], values["PLACO_GATEWAY"]) == ("28", "10.77.16.1")
    for hostile in ("a\nPLACO_SLUG=other", "a\r", "a\0b"):
        with pytest.raises(Rejected, match="PLACO_HOSTNAME of machine www is not one line"):
            other = context(machine=machine | {"hostname": hostile})
            render_archive(catalogue, "www", other, WHO)


def test_a_name_that_the_context_lacks_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ROOT / "catalogue", tmp_path / "catalogue"))
    (folder / "software/php/files/php.conf.j2").write_text("{{ options.web.colour }}\n", encoding="utf-8")
    with pytest.raises(Rejected, match=r"software php, files/php\.conf\.j2.*colour"):
        render_archive(load_catalogue(folder), "www", context(), WHO)


def test_secrets_do_not_show_in_representations() -> None:
    assert not [secret for secret in SECRETS if secret.decode() in repr(WHO)]


def test_a_stock_image_is_brought_what_it_lacks(catalogue: Catalogue) -> None:
    with tarfile.open(fileobj=io.BytesIO(stock_archive(catalogue, "gateway"))) as archive:
        members = {member.name: member for member in archive.getmembers()}
        texts = {name: archive.extractfile(name).read().decode() for name in members}  # type: ignore[union-attr]
    assert texts["usr/sbin/placo-personalise"] == (ROOT / "guest/usr/sbin/placo-personalise").read_text()
    for name in ("data", "owners"):
        assert texts[f"usr/lib/placo/{name}"] == (ROOT / "guest/usr/lib/placo" / name).read_text()
    assert texts["usr/lib/placo/stock"] == (ROOT / "guest-stock/usr/lib/placo/stock").read_text()
    assert {"openssh-server", "lua-ldap", "nftables", "busybox-static"} <= set(
        texts["usr/lib/placo/packages"].split()
    )
    assert "linux-image-cloud-amd64" not in texts["usr/lib/placo/packages"], "the base is the image's own"
    builds = [name for name in sorted(members) if name.startswith("usr/lib/placo/build/")]
    assert builds == ["usr/lib/placo/build/00-ssh", "usr/lib/placo/build/01-gateway"]
    assert texts[builds[1]] == (ROOT / "catalogue/software/gateway/build").read_text()
    programs = [*builds, "usr/sbin/placo-personalise", "usr/lib/placo/stock"]
    assert {members[name].mode for name in programs} == {0o755}
    assert all((m.isfile(), m.uname, m.gname) == (True, "root", "root") for m in members.values())
    assert not any(name.startswith("/") or ".." in name for name in members)
