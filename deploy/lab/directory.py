"""The lab's OpenLDAP: configuration loaded once by slapadd, entries added over its UNIX socket."""

from __future__ import annotations

import base64
import shutil

from deploy.lab import identity, site
from deploy.lab.layout import BASE, Lab
from deploy.lab.programs import environment, private_command, slapd_binds
from deploy.lab.shell import render, run

_LOCAL_ROOT = "gidNumber=0+uidNumber=0,cn=peercred,cn=external,cn=auth"
_PORTAL = f"cn=portal,ou=system,{BASE}"
_ALREADY_EXISTS = 68


def prepare(lab: Lab) -> None:
    """Load the configuration into an empty slapd.d; nothing to do when it is there."""
    folder = lab.root / "directory"
    for name in ("config", "data", "tls"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name).chmod(0o700)
    loaded = folder / "configured"
    if not loaded.exists() and not (folder / "seeded").exists():
        configuration = render("slapd.ldif.j2", base=BASE, root=_LOCAL_ROOT, portal=_PORTAL)
        _forget_half_loaded(lab)
        identity.owned_by(folder, "openldap")
        slapadd = ["slapadd", "-n0", "-F", "/var/lib/ldap/config"]
        run(private_command(slapd_binds(lab), "openldap", slapadd), stdin=configuration, env=environment(lab))
        loaded.touch()
    identity.owned_by(folder, "openldap")


def is_answering(lab: Lab) -> bool:
    """Whether slapd answers on its UNIX socket."""
    if not lab.directory_socket.exists():
        return False
    return "peercred" in run(["ldapwhoami", *_as_local_root(lab)], accept=(0, 1, 52, 255), timeout=10)


def seed(lab: Lab) -> None:
    """Add the lab's people, groups and projects, once."""
    done = lab.root / "directory" / "seeded"
    if done.exists():
        return
    entries = render(
        "entries.ldif.j2",
        base=BASE,
        mail_domain="placo.test",
        people=site.people(),
        projects=site.projects(),
        passwords=site.passwords(lab),
        portal_password=identity.secret(lab, site.PORTAL_PASSWORD),
        b64=lambda text: base64.b64encode(text.encode()).decode(),
    )
    # -c: an interrupted seeding goes on where it stopped.
    run(["ldapadd", "-c", *_as_local_root(lab)], stdin=entries, accept=(0, _ALREADY_EXISTS))
    done.touch()


def _as_local_root(lab: Lab) -> list[str]:
    return ["-Q", "-Y", "EXTERNAL", "-H", lab.directory_uri]


def _forget_half_loaded(lab: Lab) -> None:
    folder = lab.root / "directory" / "config"
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
