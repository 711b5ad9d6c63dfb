"""From the manifest to values: the endpoints of a service, with who may come in there and how."""

from __future__ import annotations

from placo.domain.catalogue_model import Endpoint
from placo.domain.catalogue_names import (
    FIELD,
    HOST,
    HOST_EXAMPLE,
    MAIL_DOMAIN,
    MARK,
    NAME,
    OPTION_NAME,
    PATH,
    QUERY_PATH,
)
from placo.domain.catalogue_reader import Table
from placo.domain.doors import KEY, KINDS, PASSWORD, REFUSED, Access, Login, LoginKind
from placo.domain.protocols import FOUND, HTTPS, PUBLIC, SMTP, SSH

LOGIN_EXAMPLE = 'login = { by = "basic" }'


def read_endpoint(table: Table) -> Endpoint:
    """One of `[[endpoints]]`."""
    protocol = table.text("protocol", "|".join(PUBLIC), HTTPS)
    endpoint = Endpoint(
        name=table.text("name", NAME, "site"),
        machine=table.text("machine", NAME, "www"),
        protocol=protocol,
        host=table.text("host", MAIL_DOMAIN if protocol == SMTP else HOST, HOST_EXAMPLE),
        path=table.text("path", PATH, "/", default="/") if protocol != SSH else "/",
        title=table.bilingual("title"),
        access=Access(table.text("access", "|".join(Access), Access.MEMBERS.value)),
        public_if=table.text("public_if", f"({OPTION_NAME})?", "public", default=""),
        owners_if=table.text("owners_if", f"({OPTION_NAME})?", "owners_only", default=""),
        login=_read_login(table.table("login", LOGIN_EXAMPLE)),
        user=table.text("user", f"({NAME})?", "root", default="") if protocol == SSH else "",
        found_as=table.strings("found_as", "|".join(FOUND), FOUND[0]) if protocol == HTTPS else (),
    )
    table.close()
    _check_access(table, endpoint)
    return endpoint


def _read_login(table: Table) -> Login:
    if not table.data:  # already reported as missing
        return Login(LoginKind.BASIC)
    kind = LoginKind(table.text("by", "|".join(LoginKind), LoginKind.BASIC.value))
    if kind is LoginKind.BASIC:
        login = Login(
            kind,
            path=table.text("path", f"({QUERY_PATH})?", "/members/", default=""),
            refused=table.integers("refused", 400, 499, 401, default=REFUSED),
        )
    elif kind is LoginKind.FORM:
        login = Login(
            kind,
            path=table.text("path", f"({QUERY_PATH})?", "/login", default=""),
            user=table.text("user", FIELD, "user"),
            password=table.text("password", FIELD, "password"),
            inside=table.text("inside", MARK, 'href="/logout"'),
        )
    elif kind is LoginKind.SSH:
        login = Login(kind, ways=table.strings("with", f"{PASSWORD}|{KEY}", KEY, required=True))
    else:
        login = Login(kind)
    table.close()
    return login


def _check_access(table: Table, endpoint: Endpoint) -> None:
    """Do access, log-in and protocol of an endpoint go together?"""
    kinds, by = KINDS[endpoint.protocol], endpoint.login.by
    if by not in kinds:
        known = ", ".join(f'"{kind}"' for kind in kinds)
        table.complain("login.by", f'"{by}" is no way into {endpoint.protocol}.', f"Write one of: {known}.")
    elif by is LoginKind.NONE and endpoint.access is not Access.PUBLIC:
        message = f"nobody logs in, but only {endpoint.access} may come in."
        table.complain("login.by", message, f'Say how they log in ({LOGIN_EXAMPLE}), or access = "public".')
    if endpoint.access is Access.PUBLIC and (endpoint.public_if or endpoint.owners_if):
        key = "public_if" if endpoint.public_if else "owners_if"
        table.complain(key, "goes with what is not for everybody.", 'Remove it, or write access = "members".')
