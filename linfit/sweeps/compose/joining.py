"""Join sections, each composed with its own overrides, to what Hydra composes of all of them.

Hydra merges one file after the other, then applies overrides. A section of the result depends on
its own overrides alone if

- the files that these overrides include or replace have the section as their package, and include
  other files by name only, none by group,
- no defaults list names a file by what is chosen elsewhere (`${optimizer}`),
- no interpolation was followed meanwhile: each one is still in the composed config.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any

from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.default_element import ConfigDefault, InputDefault, ResultDefault
from omegaconf import OmegaConf

from linfit.sweeps.compose.fast_path import ComposedOverride
from linfit.sweeps.compose.sections import ConfigSection, Sections
from linfit.sweeps.config_files.overrides import parse_overrides

#: Sections that are remembered, each with the overrides of its own.
MAX_CACHED_SECTIONS = 4096


class ConfigFiles:
    """The config files of an experiment, as Hydra merges them."""

    def __init__(
        self, repository: CachingConfigRepository, experiment: str, own: Sequence[str]
    ) -> None:
        self._repository = repository
        self._experiment = experiment
        self._hydra_overrides = own

    def are_independent(self, composed: Sections) -> bool:
        """Return True if no section decides another.

        The sections are composed without overrides.
        """
        for file in self._common:
            if any(map(_is_interpolation, self._includes(file))):
                return False
        return self._keep_interpolations(self._common, composed)

    def are_confined(self, section: str, overrides: Sequence[str], composed: Sections) -> bool:
        """Return True if a section's overrides change its own files alone."""
        merged = self._merged(overrides)
        for file in _difference(self._common, merged):
            if file.package != section or not all(map(_is_fixed, self._includes(file))):
                return False
        return self._keep_interpolations(merged, composed)

    def _keep_interpolations(self, merged: Sequence[ResultDefault], composed: Sections) -> bool:
        """Return True if every interpolation of the files is still in the composed sections."""
        found: dict[str, str | None] = {}
        for section in composed.values():
            found |= section.survey
        for file in merged:
            for key, text in self._interpolations(file):
                if found.get(key) != text:
                    return False
        return True

    @cached_property
    def _common(self) -> list[ResultDefault]:
        return self._merged(())

    def _merged(self, overrides: Sequence[str]) -> list[ResultDefault]:
        """Return the files that Hydra merges, by the rules of its own defaults lists."""
        parsed = parse_overrides([*self._hydra_overrides, *overrides])
        whole = {"prepend_hydra": True, "skip_missing": False}
        return create_defaults_list(self._repository, self._experiment, parsed, **whole).defaults

    def _includes(self, file: ResultDefault) -> Sequence[InputDefault]:
        loaded = self._repository.load_config(str(file.config_path))
        if loaded is None:
            return ()
        return loaded.defaults_list or ()

    def _interpolations(self, file: ResultDefault) -> Iterator[tuple[str, str]]:
        loaded = self._repository.load_config(str(file.config_path))
        if loaded is None:
            return
        data = OmegaConf.to_container(loaded.config, resolve=False)
        for key, text in _interpolations(file.package or "", data):
            if key.partition(".")[0] != "hydra":
                yield key, text


class SectionJoiner:
    """Joiner of sections, which `compose` lets Hydra compose of overrides."""

    def __init__(self, files: ConfigFiles, compose: Callable[[Sequence[str]], Sections]) -> None:
        self._files = files
        self._compose = compose
        self._section = lru_cache(MAX_CACHED_SECTIONS)(self._new_section)

    def join_sections(self, parts: Sequence[ComposedOverride]) -> Sections | None:
        """Return the sections that overrides make.

        None if Hydra has to compose the overrides together.
        """
        by_section: dict[str, tuple[ComposedOverride, ...]] = {}
        for part in parts:
            if part.section is None or part.section == "hydra":
                return None
            by_section[part.section] = (*by_section.get(part.section, ()), part)
        if len(by_section) < 2 or self._common is None:
            return None

        joined = dict(self._common)
        for name, own in by_section.items():
            section = self._section(name, own)
            if section is None:
                return None
            joined[name] = section
        return joined

    @cached_property
    def _common(self) -> Sections | None:
        """The sections without overrides, None if they depend on each other."""
        try:
            sections = self._compose(())
        except Exception:  # of any kind: the jobs may choose components that make it valid
            return None
        if not self._files.are_independent(sections):
            return None
        return sections

    def _new_section(self, name: str, parts: tuple[ComposedOverride, ...]) -> ConfigSection | None:
        """Compose a section; None if its overrides may change or need other sections."""
        overrides = [part.text for part in parts]
        merged = [part.text for part in parts if not part.chooses]
        if len(merged) > 1 and any("${" in text for text in merged):
            # One may read, through the interpolation, what another one deletes or replaces.
            return None

        try:
            sections = self._compose(overrides)
        except Exception:  # of any kind: other overrides may make it valid
            return None
        if not self._files.are_confined(name, overrides, sections):
            return None
        return sections.get(name)


def _difference(before: Sequence[Any], after: Sequence[Any]) -> list[Any]:
    """Return the items between the common beginning and the common end of two lists."""
    start = _count_equal(before, after)
    end = _count_equal(before[start:][::-1], after[start:][::-1])
    return [*before[start : len(before) - end], *after[start : len(after) - end]]


def _count_equal(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Return how many items two lists have in common at their beginning."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


def _is_fixed(default: InputDefault) -> bool:
    """Return True if an entry of a defaults list is one file by its name."""
    return isinstance(default, ConfigDefault) and not _is_interpolation(default)


def _is_interpolation(default: InputDefault) -> bool:
    """Return True for `optimizer: ${dataset}`.

    Hydra's own method works only for an entry that is part of a tree.
    """
    return "${" in repr(default)


def _interpolations(key: str, data: Any) -> Iterator[tuple[str, str]]:
    """Yield the keys at or below `key` that hold interpolations, with their text."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield from _interpolations(f"{key}.{name}" if key else str(name), value)
    elif "${" in str(data):
        yield key, str(data)
