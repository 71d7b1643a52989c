"""Repetitions as runs of their own, which name the run they repeat and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType

from linfit.config import FitConfig
from linfit.engine.fit import Fit
from linfit.engine.prediction import theory_of
from linfit.scratch import temporary_folder
from linfit.settings import MLflowTracking
from linfit.sweeps.folder import About, Folder
from linfit.sweeps.recording import now, write_files
from linfit.sweeps.running import run_all
from linfit.sweeps.sweep_run import SweepRun
from linfit.sweeps.workers import Workers
from linfit.tracking import environment, run_records
from linfit.tracking.accounts import account
from linfit.tracking.manifest import PlannedFits, write_manifest
from linfit.tracking.objective import Contest
from linfit.tracking.recorder import Recorder

Judge = Callable[[int, Fit], dict[str, str]]
"""Returns the tags of the repetition of the fit at an index: the repeated run and the verdict."""


def repeat(
    config: FitConfig,
    name: str,
    recorder: Recorder,
    judge: Judge,
    above: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Run a fit and record it as a single run; return the run's id.

    `above` are tags of its parent.
    """
    start = now()
    [(_, fit)] = run_all([config], Workers())
    tags = {**environment.tags(config), **above, **judge(0, fit)}
    begun = run_records.started(account(config), name, start, tags)
    run_id = recorder.begin(begun)
    with temporary_folder() as folder:
        files = [*write_files(folder, fit), *environment.write(folder, config)]
        known = theory_of(fit)
        row = run_records.finished(
            begun, fit, now(), theory=None if known is None else known.numbers()
        )
        recorder.end(run_id, row, files)
    return run_id


@dataclass(frozen=True)
class Sample:
    """Fits of a sweep that are run again together."""

    name: str
    configs: Sequence[FitConfig]
    varying: Sequence[str]
    """Keys that their own sweep varied."""
    tags: Mapping[str, str]
    """Tags of the run that becomes their parent."""


def repeat_sample(
    sample: Sample, recorder: Recorder, judge: Judge, workers: int
) -> tuple[str, list[str]]:
    """Run fits in `workers` processes and record them as a sweep; return all run ids.

    They are the sweep's, and those of its fits in order.
    """
    configs = sample.configs
    accounts = [account(config, sample.varying) for config in configs]
    fits = PlannedFits(configs, accounts, [()] * len(configs))
    where = Workers(workers)
    with temporary_folder() as temporary:
        folder = Folder(temporary)
        about = About.new(sample.name, sample.varying, where, now())
        write_manifest(folder.path, fits, asdict(about))
        environment.write(folder.path, configs[0])
        tags = {**environment.tags(configs[0]), **sample.tags}
        row = run_records.sweep_started(sample.name, now(), accounts, sample.varying, tags)
        contest = Contest.of_configs(configs)
        # By default each repetition becomes a run, without files.
        first = configs[0].model_copy(update={"tracking": MLflowTracking()})
        sweep = SweepRun(recorder, folder, row, about, first, contest)
        sweep.start()
        try:
            for place, fit in run_all(configs, Workers(workers)):
                record = fits.accounts[place]
                sweep.add(place, record.name(place), fit, record, judge(place, fit))
            sweep.finish()
        except BaseException:
            sweep.kill()
            raise
    return sweep.run_id, [sweep.done[index].run_id for index in range(len(configs))]
