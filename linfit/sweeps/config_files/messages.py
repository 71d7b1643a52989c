"""One line for each error of Hydra and OmegaConf: what came, what is allowed, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from traceback import walk_tb
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from linfit.component import describe_unknown
from linfit.config import GROUPS
from linfit.errors import escape_unprintable, shorten
from linfit.override import Override
from linfit.sweeps.config_files import search_path
from linfit.sweeps.config_files.quoting import correct_quoting
from linfit.sweeps.config_files.sources import read_package_header
from linfit.sweeps.config_files.syntax import explain_syntax
from linfit.synonyms import HYDRA_PACKAGES, find_meant_key, find_meant_keys
from linfit.system.host import quote_word
from linfit.system.output import print_to_stderr
from linfit.tracking.secrets.masking import mask

#: Errors of composition that the user can mend. It raises OSError too, for unreadable files.
COMPOSITION_ERRORS = (
    HydraException,
    OmegaConfBaseException,
    YAMLError,
    UnicodeDecodeError,
    RecursionError,
)
#: Top configs of working directories that the user was told of.
_told: set[Path] = set()


def notify_user(text: str) -> None:
    """Tell the user something that is no error."""
    print_to_stderr(f"linfit: {escape_unprintable(mask(text))}")


def tell_of_replaced_top() -> None:
    """Note once that the working directory replaces the top config.

    Experiments build on that config.
    """
    for folder in search_path.user_folders(search_path.CONF):
        file = folder / f"{search_path.TOP_CONFIG}.yaml"
        if file.is_file() and file not in _told:
            _told.add(file)
            notify_user(
                f"note: {search_path.CONF}/{file.name} of the working directory replaces linfit's "
                f"own, which every experiment builds on"
            )


def explain_composition(error: Exception, loader: ConfigLoader, experiment: str) -> str:
    """Return one line for an exception that Hydra's composition raised."""
    if not isinstance(error, HydraException) and (line := _explain_file(error, loader)):
        return line
    if headless := explain_missing_header(experiment):
        return headless

    text = str(error)
    if isinstance(error, OverrideParseException):
        return explain_syntax(error.override, text)
    if found := re.search("Sweep parameters '(.+)' requires --multirun", text):
        return _explain_function(found[1])
    if "Cannot find primary config" in text:
        return describe_unknown("experiment", experiment, list(search_path.find_experiments()))
    if found := re.search(r"Could not (?:find|load) '(?:(.+)/)?([^/']*)'", text):
        return _explain_option(loader, found[1] or "", found[2])
    if isinstance(cause := error.__cause__, OmegaConfBaseException) and "not in " in str(cause):
        parent = cause.parent_node
        if isinstance(parent, DictConfig):
            return _explain_key(str(cause.full_key), parent)
    if found := re.search(r"Ambiguous value for argument '(.+?)'", text):
        return _explain_ambiguous(found[1])
    return _explain_merge(error)


def explain_missing_header(experiment: str) -> str:
    """Return one line if an experiment lacks its header.

    An experiment in a folder needs one. The text is empty if none is missing. The header puts its
    keys at the top of the config.
    """
    file = search_path.find_experiments().get(experiment)
    if file is None or "/" not in experiment:
        return ""
    with suppress(ValueError):  # loading the file reports a header that is wrong
        if read_package_header(file)["package"] == "_global_":
            return ""
    return (
        f"{file} stands in a folder, where its keys would be those of "
        f"{experiment.rpartition('/')[0]}: begin it with # @package _global_"
    )


def explain_interpolation(error: OmegaConfBaseException) -> str:
    """Return one line for a broken or circular reference.

    It names the key that holds the reference.
    """
    key = f"{error.full_key}: " if error.full_key else ""
    return key + str(error).splitlines()[0]


def _explain_merge(error: Exception) -> str:
    """Return one line for a value that cannot be merged, or for any other exception."""
    text = str(error)
    cause = error.__cause__
    if found := re.search(r"Could not override '(.+?)'", text):
        return f"{found[1]!r} cannot be overridden: {_one_line(text)}"
    if found := re.search(r"Error merging override (\S+)", text):
        return f"{found[1]}: {str(cause or text).splitlines()[0]}"
    if isinstance(error, OmegaConfBaseException):
        return explain_interpolation(error)
    if isinstance(cause, OmegaConfBaseException):
        text = f"{text}: {cause}"
    return _one_line(text)


def _explain_file(error: Exception, loader: ConfigLoader) -> str:
    """Return one line, with the file's name, for a config file that cannot be read or parsed.

    Empty if the error is another one.
    """
    if isinstance(error, RecursionError):
        return _explain_circle(error)
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark) is not None:
        return f"{mark.name}, line {mark.line + 1}: {error.problem}: mend the YAML there"
    if isinstance(error, UnicodeDecodeError):
        file = _find_file_with(error.object, loader)
        return f"{file} is not encoded in UTF-8: save it as UTF-8"
    if isinstance(error, OSError):
        return f"{error.filename or 'a config file'} cannot be read: {error.strerror or error}"
    if isinstance(error, YAMLError):
        return _one_line(str(error))
    return ""


def _explain_circle(error: RecursionError) -> str:
    """Return one line for config files that include one another, until Python stops Hydra."""
    paths: list[str] = []
    for frame, _ in walk_tb(error.__traceback__):
        path = frame.f_locals.get("path")
        if path and frame.f_code.co_name == "_create_defaults_tree_impl":
            paths.append(path)
    first = next((path for path in paths if paths.count(path) > 1), None)
    if first is None:
        return _one_line(str(error))

    start = paths.index(first)
    circle = paths[start : paths.index(first, start + 1) + 1]
    if set(circle) == {search_path.TOP_CONFIG}:
        own = search_path.find_experiments()[search_path.TOP_CONFIG]
        return (
            f"{own} takes the place of linfit's own {search_path.TOP_CONFIG}.yaml: "
            "give it another name"
        )
    return f"the defaults of {' → '.join(circle)} go round in a circle: leave one of them out"


def _find_file_with(part: bytes, loader: ConfigLoader) -> str:
    """Find the config file that contains the bytes: a decoding error does not name its file."""
    for entry in loader.get_search_path().get_path():
        if not entry.path:
            continue
        for file in Path(entry.path.removeprefix("file://")).rglob("*.yaml"):
            if file.is_file() and part in file.read_bytes():
                return str(file)
    return "a config file"


def _explain_option(loader: ConfigLoader, group: str, name: str) -> str:
    options = loader.get_group_options(group) if group else list(search_path.find_experiments())
    text = describe_unknown(group or "experiment", name, options)
    if package := HYDRA_PACKAGES.get(group, {}).get(name):
        return f"{text}; to have it, pip install {package}"
    if group not in GROUPS:
        return text
    file = f"{search_path.CONF}/{group}/{name}.yaml"
    if name in GROUPS[group].choices:
        return (
            f"the {group} {name!r} has a class and no config file: write {file}, which begins with "
            f"name: {name}"
        )
    is_guessed = "did you mean" in text or "nearest" in text
    if is_guessed:
        return text
    return f"{text}; a plug-in's needs its module in plugins and {file} with name: {name}"


def _explain_key(full_key: str, parent: DictConfig) -> str:
    above, _, key = full_key.rpartition(".")
    known = [str(name) for name in parent if name != "hydra"]
    root: Any = parent._get_root()
    sections = {
        str(name): [str(own) for own in part] if isinstance(part, DictConfig) else []
        for name, part in root.items_ex(resolve=False)
        if name != "hydra"
    }
    in_hydra = full_key.startswith("hydra.")
    meant = None if in_hydra else find_meant_key(key, known, sections)
    text = describe_unknown("key", key, known, meant)
    if above:
        component = OmegaConf.select(parent, "name", default=None)
        text += f" in {above}={component}" if component else f" in {above}"
    if meant is not None or in_hydra:
        return text
    places = [above] if above else list(GROUPS)
    owners = dict.fromkeys(chain(*(_owners(place, key) for place in places)))
    return "; ".join([text, *owners])


def _owners(section: str, key: str) -> Iterator[str]:
    """Yield which components have a key that the chosen ones lack, under its name here."""
    for wanted in dict.fromkeys((f"{section}.{key}", *find_meant_keys(key))):
        group, _, own = wanted.rpartition(".")
        choices = GROUPS[group].choices.items() if group in GROUPS else ()
        names = [name for name, kind in choices if own in kind.model_fields]
        if names:
            yield f"{wanted} goes with {group}={' or '.join(sorted(names))}"


def _explain_ambiguous(override: str) -> str:
    """Return one line for several values where only a sweep takes several."""
    given = Override.read(override)
    if re.match(r"\w+\(", given.value or ""):
        return _explain_function(override)
    text = f"{shorten(override)} has several values: add -m to sweep over them"
    if len(override) > len(shorten(override)) or (given.key in GROUPS and not given.sign):
        return text
    listed = quote_word(given.with_value(f"[{given.value}]").text)
    return f"{text}, or write {listed} for a list, {correct_quoting(override)} for one text"


def _explain_function(override: str) -> str:
    """Return one line for `range(…)` and the like where only a sweep takes several values."""
    return f"{override} is a sweep: add -m"


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "http" not in line]
    return " ".join(lines)[:500]
