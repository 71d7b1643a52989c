"""A sweep as its tables keep it: one row for each fit, what was varied, and the curves. Everything that looks at a sweep starts here."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pydantic_core import from_json

from linfit.config import FitConfig
from linfit.engine.fit import Status
from linfit.errors import LinfitError
from linfit.problem.problem import Array, Problem
from linfit.problem.theory import Optimum, optimum
from linfit.sweeps.naming import leaf_keys, sections_of, varying_keys
from linfit.tracking import layout
from linfit.tracking.access import located, take_arrays
from linfit.tracking.manifest import about_of
from linfit.tracking.objective import OBJECTIVE, Contest, problem_key
from linfit.tracking.parquet_tables import read_table
from linfit.tracking.store import Store
from linfit.tracking.stored import data_of, read_config
from linfit.tracking.tables import SCHEMAS
from linfit.views.grouping import Groups, Keys, group_fits, options_of, sort_keys

FINISHED = (Status.COMPLETED.value, Status.CONVERGED.value)
LR = "optimizer.lr"
#: What a sweep may give in each job and does not vary.
SHARED = ("name", "tracking", "pictures", "objective")


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
    store: Store | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of its tables by name, as far as its run has kept them."""
    is_stored: bool = False
    """True where it was read back, so that somebody else may have written it."""

    @cached_property
    def manifest(self) -> pa.Table:
        return _read(self, layout.MANIFEST, ["row", "overrides", "fingerprint", "config"])

    @cached_property
    def said(self) -> dict[str, str]:
        """What its experiment asks, `question`, and the command that asked it, `typed`; empty where the manifest does not say."""
        about = about_of(self.files[layout.MANIFEST])
        return {
            key: str(about.get(key, "")) if isinstance(about, dict) else ""
            for key in ("question", "typed")
        }

    @cached_property
    def results(self) -> pd.DataFrame:
        """`results.parquet`, in the order of rows."""
        found = _read(self, layout.RESULTS).to_pandas().sort_values("row", ignore_index=True)
        if self.is_stored and not set(found["row"]) <= set(range(len(self.manifest))):
            raise LinfitError(
                f"{self.files[layout.RESULTS]} has a row that the manifest has not: it was changed after it was written"
            )
        return found

    @cached_property
    def configs(self) -> list[dict[str, Any]]:
        """The config of each fit that has a result, as plain data, as it was stored."""
        texts = self.manifest["config"].to_pylist()
        rows = self.results["row"].tolist()
        if self.is_stored:
            return [data_of(texts[row]) for row in rows]
        with _uncollected():
            return [
                from_json(texts[row], cache_strings="all")["config"] for row in rows
            ]  # a third of the time of json.loads

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The keys that the sweep varies, in the order in which they were given.

        Of a section that was replaced whole they are those below it.
        """
        overrides = self.manifest["overrides"].to_pylist()
        keys = leaf_keys(varying_keys(overrides), overrides, sections_of(self.configs))
        return tuple(
            key for key in keys if key not in SHARED and not key.startswith(("hydra.", "tracking."))
        )

    @cached_property
    def options(self) -> dict[str, list[str | None]]:
        """The names of the components that were chosen for each fit, of each group of which one was chosen."""
        overrides = self.manifest["overrides"].to_pylist()
        return options_of([overrides[row] for row in self.results["row"].tolist()])

    def values(self, key: str) -> list[Any]:
        """The value of a key in each fit's config: a component's name, a number, text; None where a config has no such key.

        A component has the name by which it was chosen: `optimizer=fast` is `fast`, whatever is in `fast.yaml`.
        """
        own = [_plain(part) for part in sections_of(self.configs)(key)]
        chosen = self.options.get(key, own)
        return (
            [option or value for option, value in zip(chosen, own, strict=True)]
            if key in self.options
            else own
        )

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each fit: what the sweep varies, then what came out."""
        first = ("row", "name", "run_id")
        varied = {column(key): pd.Series(self.values(key)) for key in self.varying}
        ends = {name: self.results[name] for name in self.results if name not in (*first, *varied)}
        return pd.DataFrame({**{name: self.results[name] for name in first}, **varied, **ends})

    @cached_property
    def keys(self) -> Keys:
        """What each key is that has several values in these fits: a seed, part of the problem, a choice, or a number."""
        several = [key for key in self.varying if len(set(self.values(key))) > 1]
        return sort_keys(several, self.values)

    @cached_property
    def groups(self) -> Groups:
        """The problem, the method, the setting and the repetition of each fit."""
        return group_fits(self.configs, self.options, self.keys)

    @cached_property
    def distinct(self) -> Swept:
        """The sweep with equal fits once: of those with one fingerprint the first that did not fail."""
        prints = self.manifest["fingerprint"].to_pylist()
        failed = (self.results["status"] == Status.FAILED).to_numpy()
        own = pd.Series([prints[row] for row in self.results["row"].tolist()])
        kept = np.sort(
            own.iloc[np.argsort(failed, kind="stable")].drop_duplicates().index.to_numpy()
        )
        if len(kept) == len(own):
            return self
        once = replace(self)
        vars(once)["results"] = self.results.iloc[kept].reset_index(drop=True)
        vars(once)["configs"] = [self.configs[place] for place in kept]
        return once

    @cached_property
    def by(self) -> str | None:
        """The recorded loss by which all fits are compared; None where they cannot be."""
        firsts = dict(zip(reversed(self.groups.problems), reversed(self.configs), strict=True))
        objective = self.configs[0].get("objective", "auto") if self.configs else "auto"
        return Contest(objective, map(problem_key, firsts.values())).by

    @cached_property
    def compared(self) -> Array:
        """The numbers by which all fits are compared, infinity unless a fit finished; excess losses where there are none."""
        if self.by in (layout.EXCESS, None):
            return self.excess
        values = self.results[layout.LOSS].astype(float)
        for name in (layout.VALIDATION, OBJECTIVE):  # tables of before have no objective
            if name in self.results:
                values = self.results[name].astype(float).fillna(values)
        return np.where(self.finished & np.isfinite(values), values, np.inf)

    @property
    def best(self) -> int | None:
        """The place in the table of the best fit, of equals the first; None where none finished, or they cannot be compared."""
        finite = len(self.compared) and np.isfinite(self.compared).any()
        return int(self.compared.argmin()) if finite and self.by is not None else None

    @cached_property
    def finished(self) -> NDArray[np.bool_]:
        """Which fits of the table neither diverged nor failed."""
        return np.asarray(
            self.results["status"].isin(FINISHED)
            & np.isfinite(self.results["excess_loss"].astype(float))
        )

    @cached_property
    def excess(self) -> Array:
        """The final excess losses of the table's fits, infinity unless a fit finished."""
        return np.where(self.finished, self.results["excess_loss"].to_numpy(float), np.inf)

    @cached_property
    def curves(self) -> Curves:
        table = _read(self, layout.CURVES).combine_chunks()
        steps, losses, excess, path = (
            _flat(table[name]) for name in ("step", "loss", "excess_loss", "path")
        )
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
        return config, seen, optimum(seen, config.loss, config.shrinkage())


def column(key: str) -> str:
    """The name under which a swept key stands in the table, where `loss` is a number."""
    return "loss function" if key == "loss" else key


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


def _read(swept: Swept, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    file = swept.files[name]
    try:
        return read_table(file, columns or SCHEMAS[name].names, sha256=swept.hashes.get(name))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise LinfitError(f"{file} cannot be read: {' '.join(str(error).split())}") from error


def _flat(lists: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Where each list of a column starts, and all of them end to end."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    return array.offsets.to_numpy(), array.values.to_numpy(zero_copy_only=False)
