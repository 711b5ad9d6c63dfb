"""From files to values: one function for each of the three levels of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from jinja2 import Environment, TemplateSyntaxError, meta

from placo.domain import stock
from placo.domain.catalogue_endpoints import read_endpoint
from placo.domain.catalogue_errors import Problem
from placo.domain.catalogue_model import (
    DATA_MAX_GIB,
    DATA_ROOT,
    MEMORY_MAX_MIB,
    MEMORY_STEP_MIB,
    VCPUS_MAX,
    FileTemplate,
    Machine,
    Option,
    OptionError,
    OptionType,
    Port,
    Probe,
    Route,
    Service,
    Size,
    Software,
)
from placo.domain.catalogue_names import (
    ANSWER,
    HOST,
    HOST_EXAMPLE,
    MAIL_DOMAIN,
    NAME,
    OPTION_NAME,
    OWNER,
    PACKAGE,
    PATH,
)
from placo.domain.catalogue_reader import Table, open_table
from placo.domain.protocols import HTTPS, PUBLIC, SMTP, SSH, STREAMS

TEMPLATE_NAMES = frozenset(
    {"platform", "machine", "network", "directory", "gateway", "endpoints", "options", "keys", "tls"}
)
"""What a file template may use (see placo.domain.archive)."""

IMPORT_IT = f"Import the image ({stock.IMPORT}) and write the name that this prints, such as {stock.EXAMPLE}; or remove the key."


def parse_service(path: Path, root: Path, problems: list[Problem]) -> Service | None:
    """`services/<id>.toml`."""
    table = open_table(path, root, problems)
    return None if table is None else read_service(table, path.stem)


def read_service(table: Table, name: str) -> Service:
    """The service that a manifest describes."""
    if not re.fullmatch(NAME, name):
        table.complain("", f'"{name}" is no service name.', "Name the file like web.toml.")
    service = Service(
        id=name,
        icon=table.text("icon", r"[a-z0-9]+(-[a-z0-9]+)*", "world-www"),
        title=table.bilingual("title"),
        summary=table.bilingual("summary"),
        help=table.bilingual("help"),
        machines=table.strings("machines", NAME, "www", required=True),
        needs=table.strings("needs", NAME, "web"),
        options=tuple(_parse_option(option) for option in table.tables("options")),
        endpoints=tuple(read_endpoint(endpoint) for endpoint in table.tables("endpoints")),
    )
    table.close()
    return service


def _parse_option(table: Table) -> Option:
    name = table.text("name", OPTION_NAME, "php")
    kind = table.text("type", "|".join(OptionType), OptionType.BOOLEAN.value)
    choices = table.strings("choices", r".+", "small")
    pattern = table.raw("pattern")
    if pattern is not None and not _is_pattern(pattern):
        table.complain("pattern", "is not a regular expression.", 'Write something like "[a-z]+".')
        pattern = None
    default = table.raw("default")
    option = Option(
        name=name,
        type=OptionType(kind),
        title=table.bilingual("title"),
        default=default if isinstance(default, bool | int | str) else False,
        choices=choices,
        titles=table.bilinguals("titles", choices),
        machine=table.text("machine", NAME, "www") if kind == OptionType.SIZE else "",
        minimum=table.optional_integer("min"),
        maximum=table.optional_integer("max"),
        pattern=pattern if isinstance(pattern, str) else None,
        required=table.boolean("required", False),
        changeable=table.boolean("changeable", False),
    )
    table.close()
    _check_option(table, option, default)
    return option


def _is_pattern(pattern: object) -> bool:
    try:
        re.compile(pattern)  # type: ignore[call-overload]
    except (re.error, TypeError):
        return False
    return isinstance(pattern, str)


def _check_option(table: Table, option: Option, default: object) -> None:
    """Do the keys of an option go with its type, and does it take its own default?"""
    bounded = option.type in (OptionType.INTEGER, OptionType.TEXT, OptionType.ALIASES)
    if (option.type is OptionType.CHOICE) != bool(option.choices):
        remedy = "Give a list of choices to an option of type choice, and to no other."
        table.complain("choices", f"does not go with type {option.type.value}.", remedy)
        return
    if not bounded and (option.minimum is not None or option.maximum is not None):
        table.complain("min", f"bounds do not go with type {option.type.value}.", "Remove min and max.")
    if option.pattern is not None and option.type is not OptionType.TEXT:
        table.complain("pattern", f"does not go with type {option.type.value}.", "Remove it.")
    if option.minimum is not None and option.maximum is not None and option.minimum > option.maximum:
        table.complain("min", "is more than max.", "Exchange them.")
        return
    if default is None:
        table.complain("default", "is missing.", "Say what is taken when the owner chooses nothing.")
        return
    if option.type is OptionType.SIZE and option.changeable:
        table.complain(
            "changeable", "does not go with type size.", "Remove it: sizes can always be chosen anew."
        )
    if option.type is OptionType.SIZE:
        return  # which sizes there are is said by the machine: catalogue_checks
    try:
        option.check(default)
    except OptionError as error:
        table.complain("default", f"{default!r} is refused: {error}", "Give a default that the option takes.")


def parse_machine(folder: Path, root: Path, problems: list[Problem]) -> Machine | None:
    """`machines/<name>/machine.toml`."""
    table = open_table(folder / "machine.toml", root, problems)
    return None if table is None else read_machine(table, folder.name)


def read_machine(table: Table, name: str) -> Machine:
    """The kind of machine that a manifest describes."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,11}", name):
        table.complain(
            "", f'"{name}" is no machine name.', "Name the folder like www, 12 characters at most."
        )
    machine = Machine(
        name=name,
        title=table.bilingual("title"),
        memory_mib=table.integer("memory_mib", 128, 1 << 20),
        vcpus=table.integer("vcpus", 1, 256),
        system_disk_gib=table.integer("system_disk_gib", 1, 1 << 14),
        data_volume_gib=table.integer("data_volume_gib", 1, 1 << 17),
        owned=table.boolean("owned", default=False),
        image=table.text("image", f"({stock.NAME})?", stock.EXAMPLE, default="", remedy=IMPORT_IT),
        software=table.strings("software", NAME, "apache", required=True),
        ports=tuple(_parse_port(port) for port in table.tables("ports")),
        routes=tuple(_parse_route(route) for route in table.tables("routes")),
        probe=_parse_probe(table.table("probe")),
        backup_paths=_parse_backup(table.table("backup")),
        sizes=tuple(_parse_size(size) for size in table.tables("sizes")),
    )
    table.close()
    return machine


def _parse_size(table: Table) -> Size:
    size = Size(
        name=table.text("name", NAME, "small"),
        title=table.bilingual("title"),
        memory_mib=table.integer("memory_mib", 128, MEMORY_MAX_MIB),
        vcpus=table.integer("vcpus", 1, VCPUS_MAX),
        data_volume_gib=table.integer("data_volume_gib", 1, DATA_MAX_GIB),
    )
    if size.memory_mib % MEMORY_STEP_MIB:
        remedy = f"Write a multiple of {MEMORY_STEP_MIB}."
        table.complain("memory_mib", f"{size.memory_mib} is no multiple of {MEMORY_STEP_MIB}.", remedy)
    table.close()
    return size


def _parse_port(table: Table) -> Port:
    port = Port(
        name=table.text("name", NAME, "https"),
        port=table.integer("port", 1, 65535),
        protocol=table.text("protocol", "tcp|udp", "tcp", default="tcp"),
    )
    table.close()
    return port


def _parse_route(table: Table) -> Route:
    protocol = table.text("protocol", "|".join(PUBLIC), HTTPS)
    route = Route(
        service=table.text("service", NAME, "web"),
        host=table.text("host", MAIL_DOMAIN if protocol == SMTP else HOST, HOST_EXAMPLE),
        port=table.integer("port", 1, 65535),
        protocol=protocol,
    )
    table.close()
    return route


def _parse_probe(table: Table) -> Probe:
    if not table.data:  # already reported as missing
        return Probe(HTTPS, HOST_EXAMPLE, "/", (200,), 5.0)
    protocol = table.text("protocol", "|".join((HTTPS, *STREAMS, SSH)), HTTPS)
    web = protocol == HTTPS
    probe = Probe(
        protocol=protocol,
        host=table.text("host", HOST, HOST_EXAMPLE),
        path=table.text("path", PATH, "/", default="/") if web else "",
        expect_status=table.integers("expect_status", 100, 599, 200) if web else (),
        timeout_s=float(table.integer("timeout_s", 1, 60, default=5)),
    )
    table.close()
    return probe


def _parse_backup(table: Table) -> tuple[str, ...]:
    if not table.data:
        return ()
    paths = table.strings("paths", r"/.+", DATA_ROOT, required=True)
    for path in paths:
        if not _is_clean(path) or not PurePosixPath(path).is_relative_to(DATA_ROOT):
            table.complain(
                "paths", f'"{path}" is not on the data volume.', f"Keep what matters below {DATA_ROOT}."
            )
    table.close()
    return paths


def _is_clean(path: str) -> bool:
    return path.startswith("/") and str(PurePosixPath(path)) == path and ".." not in PurePosixPath(path).parts


def parse_software(folder: Path, root: Path, problems: list[Problem]) -> Software | None:
    """`software/<name>/`: software.toml, files/, and the scripts build and configure where there are any."""
    table = open_table(folder / "software.toml", root, problems)
    return None if table is None else read_software(table, folder, root)


def read_software(table: Table, folder: Path, root: Path) -> Software:
    """The software that a manifest and the files beside it describe."""
    if not re.fullmatch(NAME, folder.name):
        table.complain("", f'"{folder.name}" is no software name.', "Name the folder like apache.")
    files = tuple(_parse_file(file, folder) for file in table.tables("files"))
    software = Software(
        id=folder.name,
        title=table.bilingual("title"),
        packages=table.strings("packages", PACKAGE, "apache2"),
        files=files,
        build=_read_script(folder / "build", root, table.problems),
        configure=_read_script(folder / "configure", root, table.problems),
        answers=table.strings("answers", ANSWER, "sympa sympa/hostname string lists.example.org"),
        locales=table.strings("locales", r"[a-z]{2}", "fr"),
    )
    table.close()
    _report_strays(folder, table, {file.source for file in files})
    return software


def _parse_file(table: Table, folder: Path) -> FileTemplate:
    source = table.text("source", r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*", "site.conf.j2")
    target = table.text("target", r"/.+", "/etc/apache2/sites-available/site.conf")
    if not _is_clean(target):
        table.complain("target", f'"{target}" is not a plain absolute path.', "Write it without .. or //.")
    mode = table.text("mode", r"0[0-7]{3}", "0644", default="0644")
    owner = table.text("owner", OWNER, "root:root", default="root:root")
    first = table.boolean("first", default=False)
    table.close()
    text = ""
    try:
        text = (folder / "files" / source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        table.complain(
            "source", f"files/{source} cannot be read: {error}.", "Create the file, or correct the name."
        )
    _check_template(table, text, f"files/{source}")
    return FileTemplate(source, target, int(mode, 8), owner, first, text)


def _check_template(table: Table, text: str, name: str) -> None:
    environment = Environment(autoescape=False)  # noqa: S701 - configuration files, not HTML
    try:
        used = meta.find_undeclared_variables(environment.parse(text))
    except TemplateSyntaxError as error:
        table.complain(
            "source", f"{name} line {error.lineno}: {error.message}.", "Correct the Jinja2 syntax."
        )
        return
    for variable in sorted(used - TEMPLATE_NAMES):
        known = ", ".join(sorted(TEMPLATE_NAMES))
        table.complain("source", f'{name} uses "{variable}", which does not exist.', f"Use one of {known}.")


def _read_script(path: Path, root: Path, problems: list[Problem]) -> str | None:
    """The text of an executable shell script, None when there is no such file."""
    name = path.relative_to(root).as_posix()
    if not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(name, "", f"cannot be read: {error}.", "Make it a readable UTF-8 script."))
        return None
    if not path.stat().st_mode & 0o100:
        problems.append(Problem(name, "", "is not executable.", "chmod 755, and commit that."))
    if not text.startswith("#!/bin/sh"):
        problems.append(
            Problem(name, "", "does not start with #!/bin/sh.", "Guests run POSIX sh and nothing else.")
        )
    return text


def _report_strays(folder: Path, table: Table, declared: Iterable[str]) -> None:
    """A file that nobody declared is a mistake: it looks used and is not."""
    files = folder / "files"
    here = {path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()}
    for source in sorted(here - set(declared)):
        table.complain("files", f"files/{source} is not declared.", "Add [[files]] for it, or remove it.")
