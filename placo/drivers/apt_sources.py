"""The Debian mirrors that this machine uses, as lines for building an image.

Image builds name no mirror of their own: they take what apt is configured with here (one-line and deb822 formats,
sources.list(5)), and of that only the release that guests run, so that packages of third parties never get in.
"""

from __future__ import annotations

from pathlib import Path

APT_FOLDER = Path("/etc/apt")


def _one_line(text: str) -> list[tuple[str, str, list[str], list[str]]]:
    """(options, URI, suites, components) of each ``deb`` line."""
    found = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].strip()
        if not words.startswith("deb ") and not words.startswith("deb\t"):
            continue
        words = words[3:].strip()
        options = ""
        if words.startswith("["):
            options, _, words = words[1:].partition("]")
        parts = words.split()
        if len(parts) >= 2:
            found.append((options.strip(), parts[0], [parts[1]], parts[2:]))
    return found


def _deb822(text: str) -> list[tuple[str, str, list[str], list[str]]]:
    """The same of each stanza that is enabled. A key that is embedded in the stanza (multi-line Signed-By) is not used."""
    found = []
    for stanza in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t":
                fields[name] += " " + line.strip()
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        key = fields.get("signed-by", "")
        options = f"signed-by={key}" if key.startswith("/") and " " not in key else ""
        for uri in fields.get("uris", "").split():
            found.append(
                (options, uri, fields.get("suites", "").split(), fields.get("components", "").split())
            )
    return found


def debian_sources(suite: str, folder: Path = APT_FOLDER) -> list[str]:
    """``deb [options] URI suite main`` lines for `suite` and its updates; LookupError if apt here knows none."""
    entries = []
    listed = folder / "sources.list"
    if listed.is_file():
        entries += _one_line(listed.read_text(encoding="utf-8"))
    parts = folder / "sources.list.d"
    for path in sorted(parts.glob("*.list")) if parts.is_dir() else []:
        entries += _one_line(path.read_text(encoding="utf-8"))
    for path in sorted(parts.glob("*.sources")) if parts.is_dir() else []:
        entries += _deb822(path.read_text(encoding="utf-8"))
    wanted = (suite, f"{suite}-updates", f"{suite}-security")
    lines = []
    for options, uri, suites, components in entries:
        for name in suites:
            if name in wanted and "main" in components:
                line = f"deb [{options}] {uri} {name} main" if options else f"deb {uri} {name} main"
                if line not in lines:
                    lines.append(line)
    if not any(line.split()[-2] == suite for line in lines):
        raise LookupError(f"apt on this machine has no source for Debian {suite}: add one to {folder}")
    return lines
