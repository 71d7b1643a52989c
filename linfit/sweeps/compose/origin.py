"""Where a composed config comes from, and which values a replaced component left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.default_element import ResultDefault
from hydra.types import RunMode
from omegaconf import DictConfig

from linfit.config import GROUPS
from linfit.sweeps.config_files.overrides import collect_keys, read_raw_overrides


@dataclass(frozen=True)
class Origin:
    """The experiment, the overrides and the loader of a config."""

    experiment: str
    overrides: Sequence[str]
    loader: ConfigLoaderImpl
    hydra_overrides: Sequence[str] = ()
    """Overrides of Hydra's own config, which may name more folders of config files."""
    base: Origin | None = None
    """An origin without those overrides that include files of their own group alone."""

    @staticmethod
    def from_hydra(hydra: Any, loader: Any) -> Origin:
        """Return the origin of a config that `loader` composed.

        It is read from the config's `hydra` node.
        """
        return Origin(
            str(hydra.job.config_name),
            read_raw_overrides(hydra.overrides.task),
            loader,
            read_raw_overrides(hydra.overrides.hydra),
        )

    @cached_property
    def keys(self) -> set[str]:
        """The keys that the overrides give."""
        return collect_keys(self.overrides)

    @cached_property
    def inherited(self) -> Callable[[str], set[str]]:
        """Function from a group to its keys in inherited experiments.

        These are experiments below the one that replaces the group.
        """
        if self.base is not None:
            return self.base.inherited
        return cache(partial(_keys_inherited, origin=self))


def drop_stale_values(data: dict[str, Any], origin: Origin, tell: Callable[[str], None]) -> None:
    """Drop values that a replaced component does not have.

    Only the experiment's values are dropped. The command line replaces a component, or an
    experiment that inherits from another one. A value given where the component is chosen, or on
    the command line, is a mistake and is kept.
    """
    for group, base in GROUPS.items():
        values = data.get(group)
        if not isinstance(values, dict):
            continue
        chosen = base.choices.get(str(values.get("name")))
        if chosen is None:
            continue
        unknown = [key for key in values if key not in chosen.model_fields]
        if not unknown:
            continue
        stale = _left_behind(unknown, group, origin)
        if not stale:
            continue
        data[group] = {key: value for key, value in values.items() if key not in stale}
        for key in stale:
            given = f"{group}.{key}={values[key]}"
            tell(f"{group}={values['name']} has no {key}: the experiment's {given} is left out")


def _left_behind(keys: Iterable[str], group: str, origin: Origin) -> list[str]:
    """Return those of a group's keys that belong to a replaced component."""
    given = {key.split(".")[1] for key in origin.keys if key.startswith(f"{group}.")}
    left = [key for key in keys if key not in given]
    if not left or group in origin.keys:
        return left
    inherited = origin.inherited(group)
    return [key for key in left if key in inherited]


def _keys_inherited(group: str, origin: Origin) -> set[str]:
    """Return the keys of a group in experiments below the one that replaces its component."""
    overrides = [*origin.hydra_overrides, *origin.overrides]
    found = origin.loader.compute_defaults_list(origin.experiment, overrides, RunMode.RUN)
    replaced = found.overrides.override_metadata.get(group)
    if replaced is None or replaced.containing_config_path is None:
        return set()

    _, files = origin.loader._parse_overrides_and_create_caching_repo(origin.experiment, overrides)
    inherited: set[str] = set()
    own: set[str] = set()
    for default in found.defaults:
        loaded = files.load_config(str(default.config_path))
        if loaded is None or default.package or not isinstance(loaded.config, DictConfig):
            continue
        given = loaded.config.get(group)
        if not isinstance(given, DictConfig):
            continue
        if replaced.containing_config_path in _includers(default, found.defaults):
            inherited.update(map(str, given))
        else:
            own.update(map(str, given))
    return inherited - own


def _includers(default: ResultDefault, defaults: Sequence[ResultDefault]) -> Iterator[str]:
    """Yield the files that include a file, from the nearest up to the experiment."""
    parents = {each.config_path: each.parent for each in defaults}
    path = default.parent
    while path is not None:
        yield path
        path = parents.get(path)
