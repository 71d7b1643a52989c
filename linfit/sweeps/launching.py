"""What linfit's sweeper and launcher do: compose and validate every fit of a sweep, then run them, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from linfit.errors import ConfigError
from linfit.sweeps.composition import fit_config
from linfit.sweeps.explanation import explain_composition
from linfit.sweeps.runner import Job, Runner


def enumerate_jobs(params: dict[str, Any], arguments: Sequence[str], context: HydraContext) -> list[list[str]]:
    """The overrides of every job of the grid that the study's params and the command line span; the command line wins."""
    given = [*(f"{key}={value}" for key, value in params.items()), *arguments]
    parser = OverridesParser.create(config_loader=context.config_loader)
    jobs: list[list[str]] = BasicSweeper.split_arguments(parser.parse_overrides(given), None)[0]
    return jobs


def launch(
    runner: Runner, config: DictConfig, context: HydraContext, job_overrides: Sequence[Sequence[str]], first: int
) -> list[JobReturn]:
    """Composes and validates all jobs, runs them, and returns one JobReturn each; a failed fit returns infinity, as a diverged one."""
    setup_globals()
    composed = [_compose(config, context, overrides, first + i) for i, overrides in enumerate(job_overrides)]
    experiment = str(config.hydra.job.config_name)
    jobs = [
        Job(_validate(job, overrides, experiment), tuple(filter_overrides(overrides)))
        for job, overrides in zip(composed, job_overrides, strict=True)
    ]
    _same_store(jobs)
    folder = Path(str(config.hydra.sweep.dir))
    results = runner.batch(jobs, experiment.rsplit("/", 1)[-1], folder, config)
    return [_returned(job, overrides, result.loss) for job, overrides, result in zip(composed, job_overrides, results, strict=True)]


def _compose(config: DictConfig, context: HydraContext, overrides: Sequence[str], number: int) -> DictConfig:
    try:
        composed: DictConfig = context.config_loader.load_sweep_config(config, list(overrides))
    except HydraException as error:
        raise ConfigError(
            f"{explain_composition(error, context.config_loader, str(config.hydra.job.config_name))} (in {' '.join(overrides)})"
        ) from error
    with open_dict(composed):
        composed.hydra.job.id = str(number)
        composed.hydra.job.num = number
    return composed


def _validate(composed: DictConfig, overrides: Sequence[str], experiment: str) -> Any:
    try:
        return fit_config(composed, overrides, experiment)
    except ConfigError as error:
        raise ConfigError(f"{error} (in {' '.join(overrides)})") from error


def _same_store(jobs: Sequence[Job]) -> None:
    """A sweep is one parent with its children: they stand in one MLflow experiment of one store."""
    for key in ("name", "tracking"):
        if any(getattr(job.config, key) != getattr(jobs[0].config, key) for job in jobs):
            raise ConfigError(f"{key} cannot be swept: the fits of a sweep are children of one run; start one sweep for each {key}")


def _returned(composed: DictConfig, overrides: Sequence[str], loss: float) -> JobReturn:
    with open_dict(composed):
        hydra = composed.pop("hydra")
    returned = JobReturn(overrides=list(overrides), cfg=composed, hydra_cfg=DictConfig({"hydra": hydra}), status=JobStatus.COMPLETED)
    returned.return_value = loss
    return returned
