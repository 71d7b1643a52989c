"""Repetitions as runs of their own: each points at the run that it repeats, and says how it came out."""

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
from linfit.tracking import environment, layout
from linfit.tracking.accounts import account
from linfit.tracking.manifest import PlannedFits, write_manifest
from linfit.tracking.objective import Contest
from linfit.tracking.recorder import Recorder

Judge = Callable[[int, Fit], dict[str, str]]
"""The tags of the repetition of the fit at a place: what it repeats, and how it came out."""


def repeat(
    config: FitConfig,
    name: str,
    recorder: Recorder,
    judge: Judge,
    above: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Runs a fit, and records it as a single run, with the tags of what is `above` it; returns its id."""
    start = now()
    [(_, fit)] = run_all([config], Workers())
    begun = layout.started(
        account(config), name, start, {**environment.tags(config), **above, **judge(0, fit)}
    )
    run_id = recorder.begin(begun)
    with temporary_folder() as folder:
        files = [*write_files(folder, fit), *environment.write(folder, config)]
        known = theory_of(fit)
        row = layout.finished(begun, fit, now(), theory=None if known is None else known.numbers())
        recorder.end(run_id, row, files)
    return run_id


@dataclass(frozen=True)
class Sample:
    """Fits of a sweep that are run again together: their configs, and what their own sweep varied."""

    name: str
    configs: Sequence[FitConfig]
    varying: Sequence[str]
    tags: Mapping[str, str]
    """Of the run that becomes their parent."""


def repeat_sample(
    sample: Sample, recorder: Recorder, judge: Judge, workers: int
) -> tuple[str, list[str]]:
    """Runs fits in `workers` processes, and records them as a sweep; returns its id, and theirs, in order."""
    configs = sample.configs
    fits = PlannedFits(
        configs, [account(config, sample.varying) for config in configs], [()] * len(configs)
    )
    with temporary_folder() as temporary:
        folder, about = (
            Folder(temporary),
            About.new(sample.name, sample.varying, Workers(workers), now()),
        )
        write_manifest(folder.path, fits, asdict(about))
        environment.write(folder.path, configs[0])
        tags = {**environment.tags(configs[0]), **sample.tags}
        row = layout.sweep_started(sample.name, now(), fits.accounts, sample.varying, tags)
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
    return sweep.run_id, [sweep.done[place].run_id for place in range(len(configs))]
