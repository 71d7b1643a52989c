"""Repetitions as runs of their own, which name the run they repeat and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType

from linfit.config import FitConfig
from linfit.engine.fit import Fit
from linfit.engine.prediction.predict import predict_from_fit
from linfit.settings import MLflowTracking
from linfit.sweeps.executors.executor import run_fits
from linfit.sweeps.executors.processes import ExecutorSpec
from linfit.sweeps.folder.sweep_folder import SweepFolder, SweepInfo
from linfit.sweeps.run.block_pipeline import milliseconds_now, write_run_files
from linfit.sweeps.run.sweep_run import SweepRun
from linfit.system.scratch import temporary_folder
from linfit.tracking.provenance import environment
from linfit.tracking.schema import run_records
from linfit.tracking.schema.config_record import record_config
from linfit.tracking.schema.objective import SweepObjective
from linfit.tracking.tables.manifest import PlannedFits, write_manifest
from linfit.tracking.write.recorder import Recorder

TagRepetition = Callable[[int, Fit], dict[str, str]]
"""Returns the tags of the repetition of the fit at an index: the repeated run and the verdict."""


def repeat_run(
    config: FitConfig,
    name: str,
    recorder: Recorder,
    judge: TagRepetition,
    above: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Run a fit, record it as a single run; return its id.

    `above` are tags of its parent.
    """
    start = milliseconds_now()
    [(_, fit)] = run_fits([config], ExecutorSpec())
    tags = {**environment.collect_environment_tags(config), **above, **judge(0, fit)}
    begun = run_records.record_start(record_config(config), name, start, tags)
    run_id = recorder.start_run(begun)
    with temporary_folder() as folder:
        files = [*write_run_files(folder, fit), *environment.write_environment(folder, config)]
        known = predict_from_fit(fit)
        row = run_records.record_result(
            begun, fit, milliseconds_now(), theory=None if known is None else known.to_numbers()
        )
        recorder.end_run(run_id, row, files)
    return run_id


@dataclass(frozen=True)
class RepeatedSample:
    """Fits of a sweep that are run again together."""

    name: str
    configs: Sequence[FitConfig]
    varying: Sequence[str]
    """Keys that their own sweep varied."""
    tags: Mapping[str, str]
    """Tags of the run that becomes their parent."""
    naming: Sequence[Sequence[str]] = ()
    """The overrides that name each fit."""


def repeat_sample(
    sample: RepeatedSample, recorder: Recorder, judge: TagRepetition, workers: int
) -> tuple[str, list[str]]:
    """Run fits in `workers` processes and record them as a sweep.

    Return all run ids. They are the sweep's, and those of its fits in order.
    """
    configs = sample.configs
    overrides = sample.naming or [()] * len(configs)
    records = []
    for config, naming in zip(configs, overrides, strict=True):
        records.append(record_config(config, sample.varying, naming))
    fits = PlannedFits(configs, records, overrides)
    where = ExecutorSpec(workers)
    with temporary_folder() as temporary:
        folder = SweepFolder(temporary)
        about = SweepInfo.create(sample.name, sample.varying, where, milliseconds_now())
        write_manifest(folder.path, fits, asdict(about))
        environment.write_environment(folder.path, configs[0])
        tags = {**environment.collect_environment_tags(configs[0]), **sample.tags}
        row = run_records.record_sweep_start(
            sample.name, milliseconds_now(), records, sample.varying, tags
        )
        contest = SweepObjective.from_configs(configs)
        # By default each repetition becomes a run, without files.
        first = configs[0].model_copy(update={"tracking": MLflowTracking()})
        sweep = SweepRun(recorder, folder, row, about, first, contest)
        sweep.start()
        try:
            for place, fit in run_fits(configs, ExecutorSpec(workers)):
                record = fits.records[place]
                sweep.add(place, record.name_at(place), fit, record, judge(place, fit))
            sweep.finish()
        except BaseException:
            sweep.kill()
            raise
    return sweep.run_id, [sweep.completed[index].run_id for index in range(len(configs))]
