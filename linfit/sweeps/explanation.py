"""What Hydra and OmegaConf say in paragraphs, said in one line: what came, what is allowed, what to do."""

from __future__ import annotations

import re
import sys

from hydra.core.config_loader import ConfigLoader
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from linfit.component import unknown
from linfit.config import GROUPS
from linfit.errors import printable
from linfit.sweeps import locations

#: What the parser of overrides says of text that is none; the first names an exception of its own, and nothing else.
_SYNTAX = re.compile(r"LexerNoViableAltException|((?:mismatched input|extraneous input|no viable alternative).*)")


def notice(text: str) -> None:
    """Tells the user something that is no error."""
    print(f"linfit: {printable(text)}", file=sys.stderr)


def explain_composition(error: Exception, loader: ConfigLoader, experiment: str) -> str:
    """One line for an exception that Hydra's composition raised."""
    text = str(error)
    cause = error.__cause__
    if isinstance(error, OverrideParseException) and (found := _SYNTAX.match(text)):
        key, why = error.override.partition("=")[0], f" ({found[1]})" if found[1] else ""
        return f"{error.override} cannot be read{why}: text with special characters stands in quotes, {key}='…'"
    if "Cannot find primary config" in text:
        return unknown("experiment", experiment, list(locations.experiments()))
    if found := re.search(r"Could not find '(?:(.+)/)?([^/']+)'", text):
        return _no_option(loader, found[1] or "", found[2])
    if isinstance(cause, OmegaConfBaseException) and isinstance(cause.parent_node, DictConfig) and "not in " in str(cause):
        return _no_key(str(cause.full_key), cause.parent_node)
    if found := re.search(r"Ambiguous value for argument '(.+?)'", text):
        key, values = found[1].split("=", 1)
        if key in GROUPS:
            return f"{found[1]} has several values: add -m to sweep over them"
        return f"{found[1]} has several values: add -m to sweep over them, or write {key}=[{values}] for a list"
    if found := re.search(r"Could not override '(.+?)'", text):
        return f"{found[1]!r} cannot be overridden: {_one_line(text)}"
    return _one_line(f"{text}: {cause}" if isinstance(cause, OmegaConfBaseException) else text)


def _no_option(loader: ConfigLoader, group: str, name: str) -> str:
    options = loader.get_group_options(group) if group else list(locations.experiments())
    return unknown(group or "experiment", name, options)


def _no_key(full_key: str, parent: DictConfig) -> str:
    above, _, key = full_key.rpartition(".")
    known = [str(name) for name in parent if name != "hydra"]
    component = OmegaConf.select(parent, "name", default=None) if above else None
    return unknown("key", key, known) + (f" in {above}={component}" if component else f" in {above}" if above else "")


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "http" not in line]
    return " ".join(lines)[:500]
