"""A sweep as its tables hold it: one row for each fit, what was varied, and the curves.

Every view of a sweep reads one `SweepData`. Each property is computed once, when first
asked for.
"""

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
from linfit.problem.problem import Problem
from linfit.problem.theory.optimum import Optimum
from linfit.problem.types import Array
from linfit.sweeps.search_space.run_names import (
    create_section_reader,
    expand_varying_sections,
    find_varying_keys,
)
from linfit.tracking.read.access import load_arrays, locate_data
from linfit.tracking.read.config import read_config, read_config_data
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.grid_labels import find_label
from linfit.tracking.schema.objective import (
    OBJECTIVE_COLUMN,
    THEORY_KEY,
    SweepObjective,
    identify_problem,
)
from linfit.tracking.store.store import Store
from linfit.tracking.tables.manifest import read_sweep_info
from linfit.tracking.tables.parquet import read_table
from linfit.tracking.tables.parts import TABLE_SCHEMAS
from linfit.tracking.tables.swept_columns import name_column
from linfit.views.analysis.grouping import (
    FitGroups,
    SweptKeys,
    collect_options,
    group_fits,
    sort_keys,
)
from linfit.views.analysis.rounding_floor import clip_to_floor, compute_floor
from linfit.views.analysis.sweep_curves import SweepCurves

FINISHED_STATUSES = (Status.COMPLETED.value, Status.CONVERGED.value)
LEARNING_RATE = "optimizer.lr"
#: Keys that a sweep may give in each job without varying the fits.
UNVARIED_KEYS = ("name", "tracking", "pictures", "objective", "theory")


@dataclass(frozen=True)
class SweepData:
    """A sweep that has ended: its tables, and the records of its parent run."""

    name: str
    experiment: str
    run_id: str
    files: Mapping[str, Path]
    tags: Mapping[str, str] = field(default_factory=dict)
    start: int = 0
    end: int | None = None
    store: Store | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the tables by name, as far as the parent run has recorded them."""
    is_stored: bool = False
    """True if the sweep was read back: somebody else may have written its tables."""
    experiment_id: str = ""
    """The MLflow experiment's; empty if nothing was recorded."""

    @cached_property
    def manifest(self) -> pa.Table:
        return self._read_table(
            mlflow_names.MANIFEST, ["row", "overrides", "fingerprint", "config"]
        )

    @cached_property
    def request(self) -> dict[str, str]:
        """The experiment's `question` and the command `typed`, each empty if unknown."""
        about = read_sweep_info(self.files[mlflow_names.MANIFEST])
        known = about if isinstance(about, dict) else {}
        return {key: str(known.get(key, "")) for key in ("question", "typed")}

    @cached_property
    def results(self) -> pd.DataFrame:
        """`results.parquet`, in the order of rows."""
        table = self._read_table(mlflow_names.RESULTS).to_pandas()
        found = table.sort_values("row", ignore_index=True)
        if self.is_stored and not set(found["row"]) <= set(range(len(self.manifest))):
            raise LinfitError(
                f"{self.files[mlflow_names.RESULTS]} has a row that the manifest has not: "
                "it was changed after it was written"
            )
        return found

    @cached_property
    def configs(self) -> list[dict[str, Any]]:
        """The stored config of each fit that has a result, as plain data."""
        texts = self.manifest["config"].to_pylist()
        rows = self.results["row"].tolist()
        if self.is_stored:
            return [read_config_data(texts[row]) for row in rows]

        with _collector_paused():
            # A third of the time of json.loads.
            return [from_json(texts[row], cache_strings="all")["config"] for row in rows]

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The keys that the sweep varies, in the order in which they were given.

        A section that was replaced whole counts as the keys below it.
        """
        overrides = self.manifest["overrides"].to_pylist()
        keys = expand_varying_sections(
            find_varying_keys(overrides), overrides, create_section_reader(self.configs)
        )
        beside = ("hydra.", "tracking.")
        return tuple(key for key in keys if key not in UNVARIED_KEYS and not key.startswith(beside))

    @cached_property
    def options(self) -> dict[str, list[str | None]]:
        """The component chosen by name for each fit, by group.

        Only groups with a choice.
        """
        overrides = self.manifest["overrides"].to_pylist()
        return collect_options([overrides[row] for row in self.results["row"].tolist()])

    def list_values(self, key: str) -> list[Any]:
        """Return the value of a key in each fit's config.

        None where it has no such key.

        A component is the name by which it was chosen: `optimizer=fast` is `fast`, whatever
        `fast.yaml` holds. Other values are a number or text.
        """
        own = [_simplify(part) for part in create_section_reader(self.configs)(key)]
        if key not in self.options:
            return own
        return [option or value for option, value in zip(self.options[key], own, strict=True)]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each fit.

        What the sweep varies, then what came out.
        """
        first = ["row", "name", "run_id"]
        varied = {name_column(key): pd.Series(self.list_values(key)) for key in self.varying}
        rest = self.results.drop(columns=[*first, *varied], errors="ignore")
        columns = dict(self.results[first].items()) | varied | dict(rest.items())
        return pd.DataFrame(columns)

    @cached_property
    def keys(self) -> SweptKeys:
        """The keys with several values in these fits, by what each of them is."""
        several = [key for key in self.varying if len(set(self.list_values(key))) > 1]
        return sort_keys(several, self.list_values)

    @cached_property
    def groups(self) -> FitGroups:
        """The problem, the method, the setting and the repetition of each fit."""
        overrides = self.manifest["overrides"].to_pylist()
        grids = [find_label(overrides[row]) for row in self.results["row"].tolist()]
        return group_fits(self.configs, self.options, self.keys, grids)

    @cached_property
    def distinct(self) -> SweepData:
        """The sweep with equal fits once.

        Of one fingerprint the first that did not fail.
        """
        prints = self.manifest["fingerprint"].to_pylist()
        own = pd.Series([prints[row] for row in self.results["row"].tolist()])
        failed = (self.results["status"] == Status.FAILED).to_numpy()
        failed_last = np.argsort(failed, kind="stable")
        kept = np.sort(own.iloc[failed_last].drop_duplicates().index.to_numpy())
        if len(kept) == len(own):
            return self

        once = replace(self)
        # Fill two cached properties: all others follow from them.
        vars(once)["results"] = self.results.iloc[kept].reset_index(drop=True)
        vars(once)["configs"] = [self.configs[index] for index in kept]
        return once

    @property
    def objective(self) -> str:
        """What the sweep's configs ask to be compared by."""
        return str(self.configs[0].get("objective", "auto")) if self.configs else "auto"

    @property
    def dtypes(self) -> set[str]:
        """The dtypes of the fits."""
        return set(self.list_values("dtype"))

    @cached_property
    def has_answers(self) -> bool:
        """True if the fits have excess losses, which theory=none leaves out."""
        return all(config.get(THEORY_KEY) != "none" for config in self.configs)

    @cached_property
    def compared_by(self) -> str | None:
        """The recorded loss that compares all fits, None where nothing does."""
        firsts = dict(zip(reversed(self.groups.problems), reversed(self.configs), strict=True))
        return SweepObjective(self.objective, map(identify_problem, firsts.values())).ranking_loss

    @cached_property
    def compared_values(self) -> Array:
        """The loss named by `by` of each fit.

        Infinity unless the fit finished.

        Excess losses, if there are any, where nothing compares all fits.
        """
        if self.compared_by == mlflow_names.EXCESS:
            return self.excess
        if self.compared_by is None and self.has_answers:
            return self.excess

        values = self.results[mlflow_names.LOSS].astype(float)
        for name in (mlflow_names.VALIDATION, OBJECTIVE_COLUMN):
            if name in self.results:  # older tables have no objective
                values = self.results[name].astype(float).fillna(values)
        return np.where(self.finished & np.isfinite(values), values, np.inf)

    @property
    def best(self) -> int | None:
        """Index of the best fit, of equals the first.

        None without one.
        """
        if self.compared_by is None or not np.isfinite(self.compared_values).any():
            return None
        return int(self.compared_values.argmin())

    @cached_property
    def finished(self) -> NDArray[np.bool_]:
        """True for each fit that neither diverged nor failed."""
        ended_well = self.results["status"].isin(FINISHED_STATUSES)
        losses = self.results["excess_loss"].astype(float)
        if not self.has_answers:
            losses = losses.fillna(self.results["loss"].astype(float))
        return np.asarray(ended_well & np.isfinite(losses))

    @cached_property
    def excess(self) -> Array:
        """The final excess loss of each fit.

        Infinity unless the fit finished.
        """
        found = np.where(self.finished, self.results["excess_loss"].to_numpy(float), np.inf)
        return np.where(np.isnan(found), np.inf, found)

    @cached_property
    def shown_losses(self) -> Array:
        """The final losses that pictures show: excess losses from their floors on, if known.

        Infinity unless the fit finished.
        """
        if self.has_answers:
            return clip_to_floor(self.excess, self.floors)
        return np.where(self.finished, self.results["loss"].to_numpy(float), np.inf)

    @property
    def shown_name(self) -> str:
        """The name of `shown_losses`."""
        return mlflow_names.EXCESS if self.has_answers else mlflow_names.LOSS

    @cached_property
    def floors(self) -> Array:
        """The rounding floor of each fit's excess loss."""
        fits = zip(self.initial.tolist(), self.list_values("dtype"), strict=True)
        return np.array([compute_floor(initial, dtype) for initial, dtype in fits])

    @cached_property
    def initial(self) -> Array:
        """The excess loss of each fit before its first update, NaN without a curve."""
        return np.array([self.curves.find_initial(row) for row in self.results["row"].tolist()])

    @cached_property
    def curves(self) -> SweepCurves:
        return SweepCurves.from_table(self._read_table(mlflow_names.CURVES), self.has_answers)

    def read_config(self, row: int) -> FitConfig:
        """Return a fit's config.

        ConfigError if what is stored cannot be trusted.
        """
        return read_config(self.manifest["config"][row].as_py())

    def load_config(self, row: int) -> FitConfig:
        """Return a fit's config with its data.

        LinfitError or ValueError where they are gone.
        """
        config = locate_data(self.read_config(row))
        load_arrays(config, self.files[mlflow_names.MANIFEST].with_name)
        return config

    def load_instance(self, row: int) -> tuple[FitConfig, Problem, Optimum]:
        """Return a fit's config, the problem in the fit's dtype, and its exact optimum.

        LinfitError or ValueError where the data are gone.
        """
        config = self.load_config(row)
        problem = config.problem().cast(config.dtype)
        return config, problem, config.find_optimum(problem)

    def _read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        file = self.files[name]
        try:
            wanted = columns or TABLE_SCHEMAS[name].names
            return read_table(file, wanted, sha256=self.sha256.get(name))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise LinfitError(f"{file} cannot be read: {' '.join(str(error).split())}") from error


def _simplify(part: Any) -> Any:
    """Return a component's name, a list as JSON, and everything else unchanged."""
    if isinstance(part, dict):
        return part.get("name")
    return json.dumps(part, ensure_ascii=False) if isinstance(part, list) else part


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the collector of reference cycles, restoring its state afterwards.

    Many new objects, none in a cycle, would start the collector again and again.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
