"""What a catalogue holds: services, machines and software, as frozen values.

The three levels are PLACO's abstraction: a *service* is what a person picks, a *machine* is one virtual machine that a
service needs, *software* is what runs in a machine. Everything is read once (`placo.domain.catalogue.load_catalogue`)
and holds the text of its templates and scripts, so that nothing after loading touches the disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from placo.domain import aliases
from placo.domain.doors import Access, Login
from placo.domain.protocols import SMTP

OptionValue = bool | int | str
"""The value of an option that an owner chose."""

DATA_ROOT = "/srv/placo"
"""Where a machine's data volume is mounted: everything worth keeping is below."""

BASE_SOFTWARE = "base"
"""The software every machine has, never listed: the shared first layer of all images."""

DNS_LABEL_LENGTH = 63

MEMORY_STEP_MIB, MEMORY_MAX_MIB, VCPUS_MAX, DATA_MAX_GIB = 64, 262_144, 64, 16_384
"""Bounds of a size that anybody may ask for; the quota is what really limits it."""


@dataclass(frozen=True)
class Text:
    """A text in the two languages of the portal."""

    en: str
    fr: str

    def get(self, language: str) -> str:
        """The text in `language` ("fr", "fr-fr" ...); English for every other language."""
        return self.fr if language.lower().startswith("fr") else self.en

    def __str__(self) -> str:
        return self.en


class OptionType(StrEnum):
    """The kinds of value an option takes."""

    BOOLEAN = "boolean"
    CHOICE = "choice"
    SIZE = "size"
    INTEGER = "integer"
    TEXT = "text"
    ALIASES = "aliases"


CHOOSING = (OptionType.CHOICE, OptionType.SIZE)
"""The kinds of which one of a few values is chosen."""


def value_words(value: object) -> Text:
    """The value of an option: yes or no, else as it is."""
    if isinstance(value, bool):
        return Text("yes", "oui") if value else Text("no", "non")
    return Text(str(value), str(value))


class OptionError(ValueError):
    """A value that an option does not take; `text` says why, in both languages, `option` which one if it is known."""

    def __init__(self, text: Text, option: str | None = None) -> None:
        super().__init__(text.en)
        self.text = text
        self.option = option


def _alias_problem(error: aliases.AliasError) -> Text:
    what = error.subject
    return {
        "syntax": Text(
            f"“{what}” is not of the form name=person,person.",
            f"« {what} » n'est pas de la forme nom=personne,personne.",
        ),
        "name": Text(
            f"“{what}” cannot stand before the @: a to z, digits, and single . _ - between them, 64 characters at most.",
            f"« {what} » ne peut pas précéder le @ : a à z, chiffres, et des . _ - isolés entre eux, 64 caractères au plus.",
        ),
        "reserved": Text(f"“{what}” is reserved.", f"« {what} » est réservé."),
        "twice": Text(f"“{what}” is there twice.", f"« {what} » apparaît deux fois."),
        "many": Text(
            f"At “{what}” it is too much: {aliases.NAMES_MAX} addresses, {aliases.TARGETS_MAX} people each.",
            f"À partir de « {what} », c'est trop : {aliases.NAMES_MAX} adresses, {aliases.TARGETS_MAX} personnes chacune.",
        ),
        "loop": Text(f"This goes round in a circle: {what}.", f"Ceci tourne en rond : {what}."),
    }[error.problem]


@dataclass(frozen=True)
class Option:
    """Something the owner can choose about a service.

    `minimum` and `maximum` bound an integer, or the length of a text; `pattern` is a regular expression that a whole
    text has to match; `choices` are the values of a choice, `titles` what they are called. The choices of a size are the
    sizes of `machine`. One that is `changeable` may be chosen anew when the service is there: its machines are told. A text of the type "aliases" is one of placo.domain.aliases; that
    its people exist is checked where there is a directory.
    """

    name: str
    type: OptionType
    title: Text
    default: OptionValue
    choices: tuple[str, ...] = ()
    titles: Mapping[str, Text] = field(default_factory=dict)
    machine: str = ""
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None
    required: bool = False
    changeable: bool = False

    @property
    def again(self) -> bool:
        """Whether it can be chosen anew while the platform lives. A size can: that changes the machine, not what it is told."""
        return self.changeable or self.type is OptionType.SIZE

    def check(self, value: object) -> OptionValue:
        """`value` if this option takes it (no conversion is made), else OptionError."""
        if self.type is OptionType.BOOLEAN:
            if isinstance(value, bool):
                return value
            raise OptionError(Text("Answer yes or no.", "Répondez par oui ou par non."))
        if self.type is OptionType.INTEGER:
            return self._check_integer(value)
        if not isinstance(value, str):
            raise OptionError(Text("A text is expected.", "Un texte est attendu."))
        if self.type in CHOOSING:
            if value in self.choices:
                return value
            known = ", ".join(self.choices)
            raise OptionError(Text(f"Choose one of: {known}.", f"Choisissez parmi : {known}."))
        text = self._check_text(value)
        if self.type is OptionType.ALIASES:
            try:
                aliases.parse(text)
            except aliases.AliasError as error:
                raise OptionError(_alias_problem(error)) from error
        return text

    def words(self, value: object) -> Text:
        """What a value is called: a choice by its title, if it has one."""
        return self.titles.get(str(value)) or value_words(value)

    @property
    def named(self) -> tuple[tuple[str, Text], ...]:
        """The choices, each with what it is called."""
        return tuple((choice, self.words(choice)) for choice in self.choices)

    def _check_integer(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise OptionError(Text("A whole number is expected.", "Un nombre entier est attendu."))
        if self.minimum is not None and value < self.minimum:
            raise OptionError(Text(f"At least {self.minimum}.", f"Au moins {self.minimum}."))
        if self.maximum is not None and value > self.maximum:
            raise OptionError(Text(f"At most {self.maximum}.", f"Au plus {self.maximum}."))
        return value

    def _check_text(self, value: str) -> str:
        if not value:
            if self.required:
                raise OptionError(Text("This cannot be empty.", "Ce champ ne peut pas être vide."))
            return value
        if any(ord(character) < 32 or ord(character) == 127 for character in value):
            raise OptionError(Text("No control characters.", "Pas de caractère de contrôle."))
        if self.minimum is not None and len(value) < self.minimum:
            raise OptionError(
                Text(f"At least {self.minimum} characters.", f"Au moins {self.minimum} caractères.")
            )
        if self.maximum is not None and len(value) > self.maximum:
            raise OptionError(
                Text(f"At most {self.maximum} characters.", f"Au plus {self.maximum} caractères.")
            )
        if self.pattern is not None and not re.fullmatch(self.pattern, value):
            raise OptionError(
                Text(f"This has to match {self.pattern}.", f"Ceci doit correspondre à {self.pattern}.")
            )
        return value


@dataclass(frozen=True)
class Endpoint:
    """An address that people use. `host` is a label below the edge's domain; `path` may name options of the service.

    `protocol` is one of placo.domain.protocols.PUBLIC; of "smtp" the host is a domain of mail addresses. `access` says who may come
    in; `public_if` and `owners_if` name options (yes or no) that say otherwise where the owner chose so. `user` is
    as whom everybody logs in by ssh; without one, people do so with their own names. `found_as` is what programs look for at this
    address in the DNS (placo.domain.protocols.FOUND).
    """

    name: str
    machine: str
    protocol: str
    host: str
    path: str
    title: Text
    access: Access
    public_if: str
    owners_if: str
    login: Login
    user: str = ""
    found_as: tuple[str, ...] = ()

    def label(self, slug: str) -> str:
        """The DNS label of this endpoint for the platform `slug`."""
        return self.host.replace("{slug}", slug)

    def path_for(self, slug: str, options: Mapping[str, OptionValue]) -> str:
        """The path with the platform's slug and the service's options filled in."""
        return _filled(self.path, slug, options)

    def login_path_for(self, slug: str, options: Mapping[str, OptionValue]) -> str:
        """The path at which a log-in is tried."""
        return _filled(self.login.path or self.path, slug, options)

    def access_for(self, options: Mapping[str, OptionValue]) -> Access:
        """Who may come in, given what the owner chose."""
        if self.public_if and options.get(self.public_if) is True:
            return Access.PUBLIC
        if self.owners_if and options.get(self.owners_if) is True:
            return Access.OWNERS
        return self.access


def _filled(path: str, slug: str, options: Mapping[str, OptionValue]) -> str:
    path = path.replace("{slug}", slug)
    for name, value in options.items():
        path = path.replace("{" + name + "}", str(value))
    return path


@dataclass(frozen=True)
class Service:
    """What a person picks. `needs` are other services that come with it."""

    id: str
    icon: str
    title: Text
    summary: Text
    help: Text
    machines: tuple[str, ...]
    needs: tuple[str, ...]
    options: tuple[Option, ...]
    endpoints: tuple[Endpoint, ...]

    @property
    def has_addresses(self) -> bool:
        """It takes mail: nothing for a site without a mail gateway."""
        return any(endpoint.protocol == SMTP for endpoint in self.endpoints)

    def defaults(self) -> dict[str, OptionValue]:
        """The options nobody has touched."""
        return {option.name: option.default for option in self.options}

    def complete(self, chosen: Mapping[str, object]) -> dict[str, OptionValue]:
        """All options: what was chosen, checked, and defaults for the rest.

        Raises OptionError with `option` set for a value that is not taken, and for an option that does not exist.
        """
        known = {option.name: option for option in self.options}
        for name in chosen:
            if name not in known:
                raise OptionError(Text(f"There is no option {name}.", f"Il n'y a pas d'option {name}."), name)
        values = self.defaults()
        for name, value in chosen.items():
            try:
                values[name] = known[name].check(value)
            except OptionError as error:
                raise OptionError(error.text, name) from error
        return values


@dataclass(frozen=True)
class Port:
    """A port on which a machine listens; `protocol` is "tcp" or "udp"."""

    name: str
    port: int
    protocol: str


@dataclass(frozen=True)
class Route:
    """A public name at the edge that leads, in its protocol, to `port` of the machine when `service` is part of the platform."""

    service: str
    host: str
    port: int
    protocol: str

    def label(self, slug: str) -> str:
        """The DNS label of this route for the platform `slug`."""
        return self.host.replace("{slug}", slug)


@dataclass(frozen=True)
class Probe:
    """How to know that a machine works: GET `path` on the public name answers one of `expect_status` within `timeout_s`.

    In the other protocols: the server greets.
    """

    protocol: str
    host: str
    path: str
    expect_status: tuple[int, ...]
    timeout_s: float

    def label(self, slug: str) -> str:
        """The DNS label to ask for the platform `slug`."""
        return self.host.replace("{slug}", slug)


@dataclass(frozen=True)
class Size:
    """A size that a machine may have, by a name."""

    name: str
    title: Text
    memory_mib: int
    vcpus: int
    data_volume_gib: int


@dataclass(frozen=True)
class Machine:
    """One kind of virtual machine. `software` is in order of installation and does not list the base.

    `owned`: its system disk holds what its administrators installed; never rebuilt. `sizes` are those that an option of a
    service may choose from; where none does, the machine's own numbers hold. `image` is the stock image that it is made
    of (placo.domain.stock); empty where PLACO builds one.
    """

    name: str
    title: Text
    memory_mib: int
    vcpus: int
    system_disk_gib: int
    data_volume_gib: int
    software: tuple[str, ...]
    ports: tuple[Port, ...]
    routes: tuple[Route, ...]
    probe: Probe
    backup_paths: tuple[str, ...]
    owned: bool = False
    sizes: tuple[Size, ...] = ()
    image: str = ""

    def sized(self, name: str) -> Machine:
        """The same kind of machine in one of its sizes; as it is where it has none of that name."""
        for size in self.sizes:
            if size.name == name:
                numbers = {key: getattr(size, key) for key in ("memory_mib", "vcpus", "data_volume_gib")}
                return replace(self, **numbers)
        return self


@dataclass(frozen=True)
class FileTemplate:
    """A file of the guest: Jinja2 `text`, absolute `target`, `mode` bits, `owner` as "user:group".

    `first`: only where its folder is not there yet, for what people will make their own.
    """

    source: str
    target: str
    mode: int
    owner: str
    first: bool
    text: str = field(repr=False)


@dataclass(frozen=True)
class Software:
    """What runs in a machine. `build` (in the image) and `configure` (in the guest) are the texts of shell scripts.

    `answers`: what packages ask when they are installed (lines of debconf-set-selections); `locales`: languages whose translations
    the image keeps.
    """

    id: str
    title: Text
    packages: tuple[str, ...]
    files: tuple[FileTemplate, ...]
    build: str | None = field(repr=False)
    configure: str | None = field(repr=False)
    answers: tuple[str, ...] = ()
    locales: tuple[str, ...] = ()
