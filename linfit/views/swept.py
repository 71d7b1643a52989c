"""A sweep as its tables keep it: one row for each fit, what was varied, and the curves. Everything that looks at a sweep starts here."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet
from pydantic_core import from_json

from linfit.config import GROUPS, FitConfig
from linfit.engine.fit import Status
from linfit.errors import LinfitError
from linfit.problem.problem import Array, Problem
from linfit.problem.theory import Optimum, optimum
from linfit.sweeps.naming import varying_keys
from linfit.tracking import layout
from linfit.tracking.data import located, take_arrays
from linfit.tracking.manifest import about_of
from linfit.tracking.stored import read_config

FINISHED = (Status.COMPLETED.value, Status.CONVERGED.value)
LR = "optimizer.lr"
SEEDS = ("seed", "dataset.seed", "init.seed")
#: What decides which problem is solved, and in which units its loss is: fits of different problems do not compare.
PROBLEM = ("dataset", "loss", "penalty")


@dataclass(frozen=True)
class Keys:
    """The keys that a sweep varies, by what they are."""

    problem: tuple[str, ...]
    choices: tuple[str, ...]
    numbers: tuple[str, ...]
    seeds: tuple[str, ...]


@dataclass(frozen=True)
class Curves:
    """The curves of the fits that have one, end to end: fit `rows[i]` has the points `starts[i]` to `starts[i + 1]`."""

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    steps: NDArray[np.int64]
    losses: Array
    excess: Array
    path_starts: NDArray[np.int64]
    path: Array
    """Where the weights of each fit start, and all of them, of fits with few enough: one or two for each point."""

    @cached_property
    def places(self) -> dict[int, int]:
        return {row: place for place, row in enumerate(self.rows.tolist())}

    def of(self, row: int) -> tuple[NDArray[np.int64], Array]:
        """The steps `[k]` and the excess losses `[k]` of a fit, empty if it has none."""
        place = self.places.get(row)
        if place is None:
            return self.steps[:0], self.excess[:0]
        part = slice(self.starts[place], self.starts[place + 1])
        return self.steps[part], self.excess[part]

    def path_of(self, row: int) -> Array:
        """The weights `[k, p·q]` on a fit's way, `[k, 0]` if they were not kept."""
        points, place = len(self.of(row)[0]), self.places.get(row)
        if place is None or not points:
            return np.empty((points, 0))
        return self.path[self.path_starts[place] : self.path_starts[place + 1]].reshape(points, -1)

    def initial(self, row: int) -> float:
        """The excess loss before the first update; NaN of a fit without a curve."""
        excess = self.of(row)[1]
        return float(excess[0]) if len(excess) else float("nan")


@dataclass(frozen=True)
class Swept:
    """A sweep that has ended: where its tables are, and what its parent run says of it."""

    name: str
    experiment: str
    run_id: str
    files: Mapping[str, Path]
    tags: Mapping[str, str] = field(default_factory=dict)
    start: int = 0
    end: int | None = None

    @cached_property
    def manifest(self) -> pa.Table:
        return _read(self.files[layout.MANIFEST], ["row", "overrides", "config"])

    @cached_property
    def said(self) -> dict[str, str]:
        """What its experiment asks, `question`, and the command that asked it, `typed`; empty where the manifest does not say."""
        about = about_of(self.files[layout.MANIFEST])
        return {key: str(about.get(key, "")) if isinstance(about, dict) else "" for key in ("question", "typed")}

    @cached_property
    def results(self) -> pd.DataFrame:
        """`results.parquet`, in the order of rows."""
        return _read(self.files[layout.RESULTS], None).to_pandas().sort_values("row", ignore_index=True)

    @cached_property
    def configs(self) -> list[dict[str, Any]]:
        """The config of each fit that has a result, as plain data, as it was stored."""
        texts = self.manifest["config"].to_pylist()
        rows = self.results["row"].tolist()
        with _uncollected():
            return [from_json(texts[row], cache_strings="all")["config"] for row in rows]  # a third of the time of json.loads

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The keys that the sweep varies, in the order in which they were given."""
        keys = varying_keys(self.manifest["overrides"].to_pylist())
        return tuple(key for key in keys if key not in ("name", "tracking", "pictures") and not key.startswith(("hydra.", "tracking.")))

    def values(self, key: str) -> list[Any]:
        """The value of a key in each fit's config: a component's name, a number, text; None where a config has no such key."""
        parts: list[Any] = self.configs
        for name in key.split("."):
            parts = [part.get(name) if isinstance(part, dict) else None for part in parts]
        return [_plain(part) for part in parts]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each fit: what the sweep varies, then what came out."""
        first = ("row", "name", "run_id")
        varied = {column(key): pd.Series(self.values(key)) for key in self.varying}
        ends = {name: self.results[name] for name in self.results if name not in (*first, *varied)}
        return pd.DataFrame({**{name: self.results[name] for name in first}, **varied, **ends})

    @cached_property
    def keys(self) -> Keys:
        """What each varying key is: a seed, part of the problem, a choice of method, or a number to be tuned."""
        seeds = tuple(key for key in self.varying if key in SEEDS)
        problem = tuple(key for key in self.varying if is_problem(key))
        rest = [key for key in self.varying if key not in (*seeds, *problem)]
        choices = tuple(key for key in rest if is_choice(key, self.values(key)))
        return Keys(problem, choices, tuple(key for key in rest if key not in choices), seeds)

    def labels(self, keys: Sequence[str]) -> list[str]:
        """Each fit in the words of some keys: `adam lr=0.1`; empty for no keys."""
        columns = [[_word(key, value) for value in self.values(key)] for key in keys]
        return [" ".join(word for word in words if word) for words in zip(*columns, strict=True)] if columns else [""] * len(self.configs)

    @cached_property
    def methods(self) -> list[str]:
        """The choice of method of each fit: `adam`; where the sweep varies none, its optimizer."""
        return self.labels(self.keys.choices or ("optimizer",))

    @cached_property
    def finished(self) -> NDArray[np.bool_]:
        """Which fits of the table neither diverged nor failed."""
        return np.asarray(self.results["status"].isin(FINISHED) & np.isfinite(self.results["excess_loss"].astype(float)))

    @cached_property
    def excess(self) -> Array:
        """The final excess losses of the table's fits, infinity unless a fit finished."""
        return np.where(self.finished, self.results["excess_loss"].to_numpy(float), np.inf)

    @cached_property
    def curves(self) -> Curves:
        table = _read(self.files[layout.CURVES], None).combine_chunks()
        steps, losses, excess, path = (_flat(table[name]) for name in ("step", "loss", "excess_loss", "path"))
        return Curves(table["row"].to_numpy(), *steps, losses[1], excess[1], *path)

    def config(self, row: int) -> FitConfig:
        """A fit's config; ConfigError if what is stored cannot be trusted."""
        return read_config(self.manifest["config"][row].as_py())

    def runnable(self, row: int) -> FitConfig:
        """The same with its data; LinfitError or ValueError where they are gone."""
        config = located(self.config(row))
        take_arrays(config, lambda name: self.files[layout.MANIFEST].with_name(name))
        return config

    def instance(self, row: int) -> tuple[FitConfig, Problem, Optimum]:
        """A fit's config, the problem that it saw, and the answer; LinfitError or ValueError where the data are gone."""
        config = self.runnable(row)
        seen = config.problem().cast(config.dtype)
        return config, seen, optimum(seen, config.loss, config.penalty.squared())


def column(key: str) -> str:
    """The name under which a swept key stands in the table, where `loss` is a number."""
    return "loss function" if key == "loss" else key


def is_problem(key: str) -> bool:
    """Whether a key decides what is solved, beside the seeds."""
    return key.split(".")[0] in PROBLEM and key not in SEEDS


def is_choice(key: str, values: Sequence[Any]) -> bool:
    """Whether a key is a choice of method rather than a number to be tuned."""
    return key in GROUPS or any(isinstance(value, bool) or (isinstance(value, str) and not value.startswith("[")) for value in values)


def _plain(part: Any) -> Any:
    """A component's name, a list as JSON, and everything else as it is."""
    if isinstance(part, dict):
        return part.get("name")
    return json.dumps(part) if isinstance(part, list) else part


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector of cycles, which so many new objects, none of them a cycle, would start again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _word(key: str, value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else json.dumps(value)
    return text if key in GROUPS or key == "dtype" else f"{key.rsplit('.', 1)[-1]}={text}"


def _read(file: Path, columns: list[str] | None) -> pa.Table:
    try:
        return parquet.read_table(file, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise LinfitError(f"{file} cannot be read: {' '.join(str(error).split())}") from error


def _flat(lists: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Where each list of a column starts, and all of them end to end."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    return array.offsets.to_numpy(), array.values.to_numpy(zero_copy_only=False)
