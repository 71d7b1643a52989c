"""What must hold before anything is run or written, and what is opened for it: devices, data, the store, what is finished already."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from omegaconf import OmegaConf

from linfit.config import FitConfig
from linfit.errors import ConfigError
from linfit.problem.checks import check, check_weights, impossible
from linfit.problem.datasets import Drawn
from linfit.problem.theory import optimum
from linfit.settings import MLflowTracking, Tracking
from linfit.sweeps.explanation import notice
from linfit.tracking import layout
from linfit.tracking.masking import hide_references
from linfit.tracking.opening import open_recorder
from linfit.tracking.recorder import Recorder

#: Fits of a sweep whose learning rate is looked at before it starts, and bytes of their data beyond which reading them twice would be felt.
LOOKED_AT, LARGE = 200, 2**24
NONE_LEFT = (
    "all {} fits are unstable and --skip-unstable leaves none: choose smaller learning rates"
)


def ready(configs: Sequence[FitConfig], several: bool = False) -> list[FitConfig]:
    """The configs with the devices and engines that run them, alone or as several; ConfigError where a device or the data is missing."""
    try:
        for dataset, dtype in dict.fromkeys((config.dataset, config.dtype) for config in configs):
            dataset.check(dtype)
        doubtful = [
            config for config in configs if config.split.validation or config.features.particular()
        ]
        for config in {
            (config.dataset, config.features, config.split): config for config in doubtful
        }.values():  # one seed of each
            check(config.dataset, config.features, config.split, config.seed)
        averaging = [
            config
            for config in configs
            if config.mean_over == "weights" and config.has_weighted_mean()
        ]
        for config in {(config.dataset, config.split): config for config in averaging}.values():
            check_weights(config.dataset, config.split, config.seed)
        _check_batches(configs)
        return [config.resolved(several) for config in configs]
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_batches(configs: Sequence[FitConfig]) -> None:
    """ValueError where a batch is larger than the data."""
    batches = {
        (one.dataset, one.split.validation, one.batch.num_drawn()): one
        for one in configs
        if not one.batch.is_full
    }
    for (_, _, size), config in batches.items():
        with impossible():
            config.batch.check(_fitted(config, size))


def _fitted(config: FitConfig, enough: int) -> int:
    """How many samples are fitted; where nobody knows without reading them, no more are read than `enough`."""
    if (known := config.dataset.num_samples()) is not None:
        return config.split.kept(known)
    kept = 0
    for read in accumulate(len(block.X) for block in config.dataset.blocks(config.seed)):
        kept = config.split.kept(read)
        if kept >= enough:
            break
    return kept


def recorder_of(config: FitConfig) -> Recorder:
    """The config's recorder."""
    return open_recorder(resolved_tracking(config), config.name)


def resolved_tracking(config: FitConfig) -> Tracking:
    """Its references to environment variables resolved: here, and they go no further."""
    tracking = config.tracking
    if not isinstance(tracking, MLflowTracking):
        return tracking
    for text in filter(None, (tracking.uri, tracking.artifacts)):
        hide_references(text)
    return MLflowTracking.model_validate(
        OmegaConf.to_container(OmegaConf.create(tracking.model_dump()), resolve=True)
    )


def check_tracking(config: FitConfig) -> None:
    """RecordingError where a store is named that cannot be one, or is another MLflow's: nothing has been written yet."""
    from linfit.tracking.migrations import require_current
    from linfit.tracking.store import locate

    tracking = resolved_tracking(config)
    if isinstance(tracking, MLflowTracking):
        store = locate(tracking.uri, tracking.artifacts)
        if store.file is not None:  # a server is asked when MLflow is there
            require_current(store)


def finished(config: FitConfig) -> dict[str, dict[str, float]]:
    """The fingerprints that are finished in the config's MLflow experiment, by the code there is now, with their final losses by name."""
    from linfit.tracking.code import code_digest

    history = recorder_of(config).history()
    return {} if history is None else history.finished(code_digest(config.plugins))


def missing(configs: Sequence[FitConfig], values: list[float]) -> list[int]:
    """The places of the configs that are not finished in their MLflow experiment; the others' objectives are filled in."""
    known = finished(configs[0])
    places = []
    for place, config in enumerate(configs):
        losses = known.get(config.fingerprint()) if known else None
        if losses is None:
            places.append(place)
        else:
            values[place] = _objective(config, losses)
    if len(places) < len(configs):
        notice(
            f"{len(configs) - len(places)} of {len(configs)} fits are finished already and left out"
        )
    return places


def _objective(config: FitConfig, losses: Mapping[str, float]) -> float:
    """Return the `Fit.objective` of a fit of which a store keeps the final losses; it keeps none of a diverged one."""
    if not losses:
        return math.inf
    if config.objective != "auto":
        return losses.get(config.objective, math.inf)
    if config.split.validation:
        return losses.get(layout.VALIDATION, math.inf)
    seen = config.problem().cast(config.dtype)
    return optimum(seen, config.loss, config.shrinkage()).loss + losses.get(layout.EXCESS, math.inf)


def stable(configs: Sequence[FitConfig], places: Sequence[int], any_before: bool) -> list[int]:
    """Those of the places whose learning rate is not above the largest stable one; ConfigError where a sweep would have none."""
    above = _unstable(configs)
    kept = [place for place in places if place not in above]
    if not kept and not any_before:
        raise ConfigError(NONE_LEFT.format(len(places)))
    if len(kept) < len(places):
        notice(f"{len(places) - len(kept)} of {len(places)} fits are unstable and left out")
    return kept


def announce_unstable(configs: Sequence[FitConfig]) -> None:
    """Says how many of the fits are unstable, of a large sweep from some of them spread over it; data that are large are not read for it."""
    known = [config for config in configs if _may_be_unstable(config)]
    some = known[:: -(-len(known) // LOOKED_AT)] if known else []
    _announce_doubtful(configs, [config for config in some if not config.batch.is_full])
    above = _unstable(some)
    if not above:
        return
    if len(configs) == 1:
        notice(
            "note: this fit is unstable: lr {:g} is above {:.4g}, the largest stable one".format(
                *above[0]
            )
        )
        return
    asked = (
        f"{len(configs)} fits"
        if len(some) == len(known)
        else f"{len(some)} fits looked at of {len(configs)}"
    )
    notice(
        f"note: {len(above)} of {asked} are unstable: `linfit plan` shows which, --skip-unstable leaves them out"
    )


def _announce_doubtful(configs: Sequence[FitConfig], batched: Sequence[FitConfig]) -> None:
    """Says how many of the fits by batches may diverge: their bound is enough, and not always necessary."""
    if not batched:
        return
    from linfit.sweeps.stability import doubtful

    above = doubtful(batched)
    if not above:
        return
    bound = "up to which batches are stable whatever they draw"
    if len(configs) == 1:
        lr, largest = above[0]
        notice(f"note: this fit may diverge: lr {lr:g} is above {largest:.4g}, {bound}")
    else:
        notice(
            f"note: {len(above)} fits may diverge: their lr is above that {bound}: `linfit plan` shows which"
        )


def _may_be_unstable(config: FitConfig) -> bool:
    """Whether a bound of its learning rate is stated, and soon found."""
    dataset = config.dataset
    drawn = 8 * dataset.n * sum(dataset.shape()) if isinstance(dataset, Drawn) else 0
    soon = drawn + sum(Path(file).stat().st_size for file in dataset.files()) <= LARGE
    return (
        soon
        and config.optimizer.knows_its_bound()
        and config.loss.quadratic
        and config.schedule.is_constant
    )


def refuse_unstable(config: FitConfig) -> None:
    """ConfigError where a fit alone is unstable."""
    if above := _unstable([config]):
        raise ConfigError(
            "this fit is unstable: lr {:g} is above {:.4g}, the largest stable one; nothing was run".format(
                *above[0]
            )
        )


def _unstable(configs: Sequence[FitConfig]) -> dict[int, tuple[float, float]]:
    from linfit.sweeps.stability import unstable  # it needs torch, which takes seconds to import

    return unstable(configs)
