"""What Hydra and OmegaConf say in paragraphs, said in one line: what came, what is allowed, what to do."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from traceback import walk_tb

from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from linfit.component import unknown
from linfit.config import GROUPS
from linfit.errors import printable
from linfit.output import tell
from linfit.sweeps import locations
from linfit.sweeps.quoting import corrected, typed
from linfit.sweeps.sources import read_header
from linfit.tracking.masking import mask

#: What composing raises that the user can mend; it raises OSError too, of a file that cannot be read.
UNCOMPOSED = (HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError, RecursionError)
#: What the parser of overrides says of text that is none; the first names an exception of its own, and nothing else.
_SYNTAX = re.compile(
    r"(?:Error parsing override .*\n)?"
    r"(?:LexerNoViableAltException|((?:mismatched input|extraneous input|no viable alternative|HydraException while).*))"
)
#: Configs of working directories of which the user has been told.
_told: set[Path] = set()


def notice(text: str) -> None:
    """Tells the user something that is no error."""
    tell(f"linfit: {printable(mask(text))}")


def tell_of_own_top() -> None:
    """Say once that the working directory has a config of its own for what every experiment builds on."""
    for folder in locations.users(locations.CONF):
        file = folder / f"{locations.TOP}.yaml"
        if file.is_file() and file not in _told:
            _told.add(file)
            notice(
                f"note: {locations.CONF}/{file.name} of the working directory replaces linfit's own, which every experiment builds on"
            )


def explain_composition(error: Exception, loader: ConfigLoader, experiment: str) -> str:
    """One line for an exception that Hydra's composition raised."""
    text = str(error)
    cause = error.__cause__
    if isinstance(
        error, YAMLError | UnicodeDecodeError | OSError | RecursionError
    ) and not isinstance(error, HydraException):
        return _unreadable(error, loader)
    if headless := without_header(experiment):
        return headless
    if isinstance(error, OverrideParseException) and (found := _SYNTAX.match(text)):
        return _unparsed(error.override, found[1])
    if "Cannot find primary config" in text:
        return unknown("experiment", experiment, list(locations.experiments()))
    if found := re.search(r"Could not (?:find|load) '(?:(.+)/)?([^/']*)'", text):
        return _no_option(loader, found[1] or "", found[2])
    if (
        isinstance(cause, OmegaConfBaseException)
        and isinstance(cause.parent_node, DictConfig)
        and "not in " in str(cause)
    ):
        return _no_key(str(cause.full_key), cause.parent_node)
    if found := re.search(r"Ambiguous value for argument '(.+?)'", text):
        key, values = found[1].split("=", 1)
        if key in GROUPS:
            return f"{found[1]} has several values: add -m to sweep over them"
        return (
            f"{found[1]} has several values: add -m to sweep over them, "
            f"or write {typed(key, f'[{values}]')} for a list, {corrected(found[1])} for one text"
        )
    if found := re.search(r"Could not override '(.+?)'|Error merging override (\S+)", text):
        return (
            f"{found[1]!r} cannot be overridden: {_one_line(text)}"
            if found[1]
            else f"{found[2]}: {str(cause or text).splitlines()[0]}"
        )
    return _plainly(error)


def _plainly(error: Exception) -> str:
    """One line for an exception that has none of its own."""
    if isinstance(error, OmegaConfBaseException):
        return explain_interpolation(error)
    cause = error.__cause__
    return _one_line(
        f"{error}: {cause}" if isinstance(cause, OmegaConfBaseException) else str(error)
    )


def without_header(experiment: str) -> str:
    """One line if the experiment stands in a folder without the header that puts its keys at the top; otherwise empty."""
    file = locations.experiments().get(experiment)
    if file is None or "/" not in experiment or _package(file) == "_global_":
        return ""
    return f"{file} stands in a folder, where its keys would be those of {experiment.rpartition('/')[0]}: begin it with # @package _global_"


def _package(file: Path) -> str | None:
    with suppress(ValueError):  # a header that is none is said where the file is loaded
        return read_header(file)["package"]
    return None


def explain_interpolation(error: OmegaConfBaseException) -> str:
    """One line for a reference that leads nowhere, or to itself, with the key that holds it."""
    key = f"{error.full_key}: " if error.full_key else ""
    return key + str(error).splitlines()[0]


def _circle(error: RecursionError) -> str:
    """One line for config files that include one another, which Hydra follows until Python stops it."""
    frames = (
        frame
        for frame, _ in walk_tb(error.__traceback__)
        if frame.f_code.co_name == "_create_defaults_tree_impl"
    )
    paths = [path for frame in frames if (path := frame.f_locals.get("path"))]
    first = next((path for path in paths if paths.count(path) > 1), None)
    if first is None:
        return _one_line(str(error))
    start = paths.index(first)
    circle = paths[start : paths.index(first, start + 1) + 1]
    if set(circle) == {locations.TOP}:
        return f"{locations.experiments()[locations.TOP]} takes the place of linfit's own {locations.TOP}.yaml: give it another name"
    return f"the defaults of {' → '.join(circle)} go round in a circle: leave one of them out"


def _unreadable(error: Exception, loader: ConfigLoader) -> str:
    """One line for a file that is no YAML, no UTF-8, in a circle with others, or may not be read, with its name."""
    if isinstance(error, RecursionError):
        return _circle(error)
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}: mend the YAML there"
    if isinstance(error, UnicodeDecodeError):
        return f"{_file_with(error.object, loader)} is not encoded in UTF-8: save it as UTF-8"
    if isinstance(error, OSError):
        return f"{error.filename or 'a config file'} cannot be read: {error.strerror or error}"
    return _one_line(str(error))


def _file_with(part: bytes, loader: ConfigLoader) -> str:
    """The config file in which the bytes stand: what cannot be decoded does not say where it was read."""
    folders = [
        Path(entry.path.removeprefix("file://"))
        for entry in loader.get_search_path().get_path()
        if entry.path
    ]
    files = (
        file
        for folder in folders
        if folder.is_dir()
        for file in folder.rglob("*.yaml")
        if file.is_file()
    )
    return next((str(file) for file in files if part in file.read_bytes()), "a config file")


def _no_option(loader: ConfigLoader, group: str, name: str) -> str:
    options = loader.get_group_options(group) if group else list(locations.experiments())
    return unknown(group or "experiment", name, options)


def _no_key(full_key: str, parent: DictConfig) -> str:
    above, _, key = full_key.rpartition(".")
    known = [str(name) for name in parent if name != "hydra"]
    component = OmegaConf.select(parent, "name", default=None) if above else None
    return unknown("key", key, known) + (
        f" in {above}={component}" if component else f" in {above}" if above else ""
    )


def _unparsed(override: str, why: str | None) -> str:
    """One line for an override that Hydra's parser rejects with such a complaint, or with none that says anything."""
    left_open = (
        f"{opened} is not closed"
        for opened, closed in ("[]", "{}", "()")
        if override.count(opened) > override.count(closed)
    )
    if open_one := next(left_open, ""):
        return f"{override} cannot be read: {open_one}"
    because = f" ({why})" if why else ""
    return f"{override} cannot be read{because}: text with special characters stands in quotes, {corrected(override)}"


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "http" not in line]
    return " ".join(lines)[:500]
