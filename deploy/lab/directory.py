"""The lab's OpenLDAP: configuration loaded by slapadd, entries added over its UNIX socket."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Mapping

from deploy.lab import identity, site
from deploy.lab.layout import BASE, Lab
from deploy.lab.programs import environment, private_command, slapd_binds
from deploy.lab.shell import render, run

_LOCAL_ROOT = "gidNumber=0+uidNumber=0,cn=peercred,cn=external,cn=auth"
_PORTAL = f"cn=portal,ou=system,{BASE}"
_ALREADY_EXISTS = 68


def prepare(lab: Lab) -> None:
    """Load the configuration into an empty slapd.d, again when it has changed; a directory that runs is left alone till its next start."""
    folder = lab.root / "directory"
    for name in ("config", "data", "tls"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name).chmod(0o700)
    loaded = folder / "configured"
    configuration = render("slapd.ldif.j2", base=BASE, root=_LOCAL_ROOT, portal=_PORTAL)
    digest = hashlib.sha256(configuration.encode()).hexdigest()
    if (not loaded.exists() or loaded.read_text() != digest) and not is_answering(lab):
        loaded.unlink(missing_ok=True)
        _forget_half_loaded(lab)
        identity.owned_by(folder, "openldap")
        slapadd = ["slapadd", "-n0", "-F", "/var/lib/ldap/config"]
        run(private_command(slapd_binds(lab), "openldap", slapadd), stdin=configuration, env=environment(lab))
        loaded.write_text(digest)
    identity.owned_by(folder, "openldap")


def is_answering(lab: Lab) -> bool:
    """Whether slapd answers on its UNIX socket."""
    if not lab.directory_socket.exists():
        return False
    return "peercred" in run(["ldapwhoami", *_as_local_root(lab)], accept=(0, 1, 52, 255), timeout=10)


def seed(lab: Lab) -> None:
    """Add the lab's people, groups and projects, once; what they are put into whenever it is not there."""
    done = lab.root / "directory" / "seeded"
    if done.exists():
        containers = render("containers.ldif.j2", base=BASE)
        run(["ldapadd", "-c", *_as_local_root(lab)], stdin=containers, accept=(0, _ALREADY_EXISTS))
        return
    content = entries(site.passwords(lab), identity.secret(lab, site.PORTAL_PASSWORD))
    # -c: an interrupted seeding goes on where it stopped.
    run(["ldapadd", "-c", *_as_local_root(lab)], stdin=content, accept=(0, _ALREADY_EXISTS))
    done.touch()


def entries(passwords: Mapping[str, str], portal_password: str) -> str:
    """The people, groups and projects of a lab as LDIF; `passwords` by uid."""
    return render(
        "entries.ldif.j2",
        base=BASE,
        mail_domain="placo.test",
        people=site.people(),
        projects=site.projects(),
        passwords=passwords,
        portal_password=portal_password,
        b64=lambda text: base64.b64encode(text.encode()).decode(),
    )


def _as_local_root(lab: Lab) -> list[str]:
    return ["-Q", "-Y", "EXTERNAL", "-H", lab.directory_uri]


def _forget_half_loaded(lab: Lab) -> None:
    folder = lab.root / "directory" / "config"
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
