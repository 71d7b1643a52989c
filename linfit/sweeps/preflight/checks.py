"""Checks before anything is run or written: devices, data, the store, finished fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from linfit.config import FitConfig
from linfit.engine.product_settings import find_stack_form
from linfit.errors import ConfigError
from linfit.method.init import Given
from linfit.problem.datasets import Dataset
from linfit.problem.measures import find_measure
from linfit.problem.theory.feasibility import (
    check_feasibility,
    check_targets,
    check_weights,
    pass_value_errors,
)
from linfit.settings import MLflowTracking, Tracking
from linfit.sweeps.config_files.messages import notify_user
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.objective import orient_value
from linfit.tracking.secrets.masking import hide_references
from linfit.tracking.write.open import open_recorder
from linfit.tracking.write.recorder import Recorder

#: Fits of a sweep whose learning rate is checked before it starts.
MAX_EXAMINED = 200
#: Bytes of data beyond which reading them twice takes noticeable time.
LARGE_DATA = 2**24
NONE_STABLE = (
    "all {} fits are unstable and --skip-unstable leaves none: choose smaller learning rates"
)


def resolve_configs(configs: Sequence[FitConfig], several: bool = False) -> list[FitConfig]:
    """Return the configs with their device and engine, run alone or as several.

    ConfigError if a device or the data is missing, or if the environment asks for a form of
    products that is none.
    """
    find_stack_form()
    try:
        for dataset, dtype in dict.fromkeys((config.dataset, config.dtype) for config in configs):
            dataset.check_data(dtype)
        _check_features(configs)
        _check_starts(configs)
        _check_targets(configs)
        _check_weights(configs)
        _check_batches(configs)
        return [config.resolved(several) for config in configs]
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_features(configs: Sequence[FitConfig]) -> None:
    """Raise ValueError if held-out samples lack values that the features need.

    One seed of each dataset is checked, and one fold unless features are learnt from it.
    """
    doubtful = {}
    for config in configs:
        split = config.split
        if not config.features.can_fail() and not config.dataset.has_text():
            if not split.holds_out():
                continue
            split = split.first_fold().model_copy(update={"seed": None})
        parts = (config.dataset, config.features, split, config.loss.target_kind)
        doubtful[parts] = config.seed
    for parts, seed in doubtful.items():
        check_feasibility(*parts, seed)


def _check_starts(configs: Sequence[FitConfig]) -> None:
    """Raise ValueError if initial weights have another shape than data with text need."""
    distinct = {
        (config.dataset, config.features, config.init): config
        for config in configs
        if isinstance(config.init, Given) and config.dataset.has_text()
    }
    for config in distinct.values():
        config.init.check_shape(*config.problem().shape[1:])


def _check_targets(configs: Sequence[FitConfig]) -> None:
    """Raise ValueError if a loss does not take the targets; note which look like a quantity.

    One seed of each is checked.
    """
    distinct = {
        (config.dataset, config.split, config.loss.target_kind): config for config in configs
    }
    noted: dict[Dataset, str] = {}
    for config in distinct.values():
        note = check_targets(config.dataset, config.split, config.loss, config.seed)
        if note:
            noted.setdefault(config.dataset, note)
    for note in noted.values():
        notify_user(f"note: {note}")


def _check_weights(configs: Sequence[FitConfig]) -> None:
    """Raise ValueError if the weights of samples allow no mean."""
    averaging = {
        (config.dataset, config.split, config.loss.target_kind): config.seed
        for config in configs
        if config.mean_over == "weights" and config.has_weighted_mean()
    }
    for parts, seed in averaging.items():
        check_weights(*parts, seed)


def _check_batches(configs: Sequence[FitConfig]) -> None:
    """Raise ValueError if a batch is larger than the data."""
    batches = {
        (
            config.dataset,
            config.split.model_copy(update={"seed": None}),
            config.batch.num_drawn(),
        ): config
        for config in configs
        if not config.batch.is_full
    }
    for config in batches.values():
        with pass_value_errors():
            config.batch.check_size(_count_fitted(config, config.batch.num_drawn()))


def _count_fitted(config: FitConfig, enough: int) -> int:
    """Return the number of fitted samples.

    If it takes reading to count them, no more than `enough` are read.
    """
    kept = 0
    for count in config.dataset.count_samples(config.seed):
        kept = config.split.count_fitted(count)
        if kept >= enough:
            break
    return kept


def open_config_recorder(config: FitConfig) -> Recorder:
    """Open the config's recorder."""
    return open_recorder(resolve_tracking(config), config.name)


def resolve_tracking(config: FitConfig) -> Tracking:
    """Return the config's tracking with its references to the environment resolved.

    They are resolved only here, and their values are hidden in all output.
    """
    tracking = config.tracking
    if not isinstance(tracking, MLflowTracking):
        return tracking
    for text in filter(None, (tracking.uri, tracking.artifacts)):
        hide_references(text)
    return MLflowTracking.model_validate(
        OmegaConf.to_container(OmegaConf.create(tracking.model_dump()), resolve=True)
    )


def check_tracking(config: FitConfig) -> None:
    """Raise RecordingError, before anything is written, if the store is unusable.

    It cannot be a store, or belongs to another MLflow. A server is asked later, by MLflow.
    """
    from linfit.tracking.store.migrations import require_current
    from linfit.tracking.store.store import resolve_store

    tracking = resolve_tracking(config)
    if isinstance(tracking, MLflowTracking):
        store = resolve_store(tracking.uri, tracking.artifacts)
        if store.file is not None:
            require_current(store)


def find_finished_losses(config: FitConfig) -> dict[str, dict[str, float]]:
    """Return the final losses, by fingerprint, of fits finished by the current code.

    They are those of the config's MLflow experiment, with the measure that is its objective.
    """
    from linfit.tracking.provenance.code_digest import compute_code_digest

    history = open_config_recorder(config).open_history()
    if history is None:
        return {}
    keys = list(mlflow_names.LOSSES)
    if find_measure(by := config.resolve_objective()) is not None:
        keys.append(by)
    return history.find_finished(compute_code_digest(config.plugins), keys)


def select_unfinished(configs: Sequence[FitConfig], values: list[float]) -> list[int]:
    """Return the indices of configs that are not finished in their MLflow experiment.

    Fill in `values` with the objectives of the others.
    """
    known = find_finished_losses(configs[0])
    left: list[int] = []
    for index, config in enumerate(configs):
        losses = known.get(config.fingerprint()) if known else None
        if losses is None or _lacks_answer(config, losses):
            left.append(index)
        else:
            values[index] = _objective(config, losses)
    if done := len(configs) - len(left):
        notify_user(f"{done} of {len(configs)} fits are finished already and left out")
    return left


def _lacks_answer(config: FitConfig, losses: Mapping[str, float]) -> bool:
    """Return True if a finished fit was not measured against its optimum, which this config asks.

    A fit that diverged has no losses.
    """
    return config.has_answer() and bool(losses) and mlflow_names.EXCESS not in losses


def _objective(config: FitConfig, losses: Mapping[str, float]) -> float:
    """Return the `Fit.objective` of a fit with these stored losses; a diverged one has none."""
    if not losses:
        return math.inf
    by = config.resolve_objective()
    if by != "auto":
        found = losses.get(by)
        return math.inf if found is None else orient_value(by, found)
    seen = config.problem().cast(config.dtype)
    return config.find_optimum(seen).loss + losses.get(mlflow_names.EXCESS, math.inf)


def drop_unstable(
    configs: Sequence[FitConfig], places: Sequence[int], any_before: bool
) -> list[int]:
    """Return the indices in `places` of fits that are not unstable.

    ConfigError if a sweep without earlier batches would have no fit left.
    """
    above = _find_unstable(configs)
    kept = [index for index in places if index not in above]
    if not kept and not any_before:
        raise ConfigError(NONE_STABLE.format(len(places)))
    if dropped := len(places) - len(kept):
        notify_user(f"{dropped} of {len(places)} fits are unstable and left out")
    return kept


def warn_of_unstable(configs: Sequence[FitConfig]) -> None:
    """Tell the user how many fits are unstable.

    Of a large sweep a sample is checked, spread over it; large data are not read for it.
    """
    known = [config for config in configs if _has_cheap_bound(config)]
    step = max(1, math.ceil(len(known) / MAX_EXAMINED))
    some = known[::step]
    _announce_doubtful(configs, [config for config in some if not config.batch.is_full])
    above = _find_unstable(some)
    if not above:
        return
    if len(configs) == 1:
        notify_user(f"note: {_describe_unstable(*above[0])}")
        return
    checked = f"{len(configs)} fits"
    if len(some) < len(known):
        checked = f"{len(some)} fits looked at of {len(configs)}"
    notify_user(
        f"note: {len(above)} of {checked} are unstable: "
        f"`linfit plan` shows which, --skip-unstable leaves them out"
    )


def _announce_doubtful(configs: Sequence[FitConfig], batched: Sequence[FitConfig]) -> None:
    """Tell the user how many fits by batches may diverge.

    Their bound is sufficient, but not always necessary.
    """
    if not batched:
        return
    from linfit.sweeps.preflight.stability import find_doubtful

    above = find_doubtful(batched)
    if not above:
        return
    bound = "up to which batches are stable whatever they draw"
    if len(configs) == 1:
        lr, largest = above[0]
        notify_user(f"note: this fit may diverge: lr {lr:g} is above {largest:.4g}, {bound}")
    else:
        notify_user(
            f"note: {len(above)} fits may diverge: their lr is above that {bound}: "
            f"`linfit plan` shows which"
        )


def _has_cheap_bound(config: FitConfig) -> bool:
    """Return True if the config's learning rate has a bound that is soon computed."""
    if not config.optimizer.has_stable_lr() or not config.loss.quadratic:
        return False
    if not config.schedule.is_constant:
        return False
    dataset = config.dataset
    return (
        8 * dataset.num_drawn() + sum(Path(file).stat().st_size for file in dataset.list_files())
        <= LARGE_DATA
    )


def refuse_unstable(config: FitConfig) -> None:
    """Raise ConfigError if the only fit is unstable."""
    if above := _find_unstable([config]):
        raise ConfigError(f"{_describe_unstable(*above[0])}; nothing was run")


def _describe_unstable(lr: float, largest: float) -> str:
    return f"this fit is unstable: lr {lr:g} is above {largest:.4g}, the largest stable one"


def _find_unstable(configs: Sequence[FitConfig]) -> dict[int, tuple[float, float]]:
    # Stability needs torch, whose import takes seconds.
    from linfit.sweeps.preflight.stability import find_unstable

    return find_unstable(configs)
