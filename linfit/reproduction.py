"""`linfit reproduce`: a run once more from what was stored, and a verdict; `linfit diff`: two runs beside each other.

    reference → source (configs and outcomes as stored, originals.py) → fits → differences → runs of their own that point at the first

Everything stored is checked before anything runs: a fit whose config, data or weights were changed is refused, never judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from linfit.config import FitConfig
from linfit.engine.fit import Fit, Status
from linfit.engine.surroundings import isolated
from linfit.errors import ConfigError
from linfit.settings import MLflowTracking, NoTracking, Tracking
from linfit.sweeps.changing import changed
from linfit.sweeps.composition import load_plugins
from linfit.sweeps.nesting import nest
from linfit.sweeps.repeating import Sample, repeat, repeat_sample
from linfit.tracking import environment, layout
from linfit.tracking.access import Permits
from linfit.tracking.changes import Change, changes, config_changes
from linfit.tracking.comparison import OTHER, Difference, Verdict, difference
from linfit.tracking.opening import open_recorder
from linfit.tracking.originals import (
    Original,
    Source,
    from_files,
    from_run,
    from_sweep,
    from_sweep_folder,
)
from linfit.tracking.outcomes import Outcome
from linfit.tracking.reading import LAST, Reader, Record
from linfit.tracking.store import Store, locate

SAMPLE = 20
#: Among what is changed on purpose: the verdict alone, which needs no store.
UNRECORDED = "tracking=none"


@dataclass(frozen=True)
class Repetition:
    """One fit run again: what it repeats, the verdict, and why where it is not `identical`."""

    name: str
    reproduces: str
    """The id of the run that it repeats."""
    verdict: Verdict
    why: str = ""
    run_id: str = ""
    """The repetition's own."""
    difference: Difference | None = None
    then: Outcome | None = None
    now: Outcome | None = None


@dataclass(frozen=True)
class Reproduction:
    """A run, or a sample of a sweep, run again: `changes` is what is not as it was when it was recorded."""

    name: str
    reproduces: str
    run_id: str
    changes: list[Change]
    repetitions: list[Repetition]
    overrides: tuple[str, ...] = ()
    """What was changed on purpose."""
    known: bool = True
    """Whether it was kept where its numbers come from; otherwise `changes` has the config's only."""

    def count(self, verdict: Verdict) -> int:
        return sum(repetition.verdict is verdict for repetition in self.repetitions)

    @property
    def verdict(self) -> Verdict:
        """That of its worst fit: differs, refused, equal within tolerance, identical."""
        order = (Verdict.DIFFERS, Verdict.REFUSED, Verdict.EQUAL)
        return next((verdict for verdict in order if self.count(verdict)), Verdict.IDENTICAL)


@isolated
def reproduce(
    reference: str | Path = LAST,
    *,
    sample: int | None = None,
    seed: int = 0,
    overrides: Sequence[str] = (),
    data: str | Path | None = None,
    trust: bool = False,
    workers: int = 1,
    uri: str | None = None,
    artifacts: str | None = None,
) -> Reproduction:
    """Runs a recorded run again in the engine that ran it, and says whether its losses and weights have the same bits.

    >>> linfit.reproduce("last").verdict  # doctest: +SKIP
    <Verdict.IDENTICAL: 'identical'>

    `reference` is a run id, the beginning of one, `last`, a `config.json`, or a folder below `outputs/`. Of a sweep, `sample` fits are
    drawn with `seed` and run in `workers` processes. `overrides` are KEY=VALUE that are changed on purpose. Data files are opened
    below the working directory and below `data`; plug-ins are imported only with `trust`. The repetition is recorded in the
    store of `uri` with the tag `linfit.reproduces`, or nowhere with `tracking=none` among the overrides; its files are written beside
    the store, or below `artifacts`. Raises ConfigError or LinfitError where it cannot be done.
    """
    load_plugins(())  # those of installed packages
    store = locate(uri, artifacts)
    permits = Permits(load_plugins if trust else None, None if data is None else Path(data))
    source = find(store, str(reference), sample, seed, permits)
    given = tuple(override for override in overrides if override != UNRECORDED)
    tracking = (
        NoTracking()
        if UNRECORDED in overrides
        else MLflowTracking(uri=store.uri, artifacts=store.artifacts)
    )
    ready = [
        _Ready(original, changed(original.config, given))
        for original in source.originals
        if original.config is not None
    ]
    if not ready:
        return Reproduction(
            source.name,
            source.run_id,
            "",
            [],
            [_refused(original) for original in source.originals],
            given,
        )
    return _repeat(source, ready, given, tracking, workers)


@dataclass(frozen=True)
class _Ready:
    """A fit that can be run: what it was, and the config to run."""

    original: Original
    config: FitConfig
    found: list[tuple[Difference, Outcome]] = field(default_factory=list)

    def judge(self, fit: Fit, given: Sequence[str]) -> dict[str, str]:
        assert self.original.outcome is not None
        assert self.original.config is not None
        now = Outcome.of(fit)
        found = difference(
            self.original.outcome, now, common=self.original.config.record != self.config.record
        )
        if fit.status is Status.FAILED and self.original.outcome.status != Status.FAILED:
            last = (fit.error or "").strip().splitlines()[-1:]
            found = replace(
                found,
                verdict=Verdict.REFUSED,
                why=f"it could not be run again: {''.join(last) or 'it failed'}",
            )
        self.found.append((found, now))
        tags = {
            **layout.reproduction(self.original.run_id),
            layout.VERDICT: self.found[0][0].verdict.value,
        }
        return {**tags, layout.CHANGED: " ".join(given)} if given else tags

    def repetition(self, run_id: str) -> Repetition:
        (found, now), original = self.found[0], self.original
        return Repetition(
            original.name,
            original.run_id,
            found.verdict,
            found.why,
            run_id,
            found,
            original.outcome,
            now,
        )


def find(store: Store, reference: str, sample: int | None, seed: int, permits: Permits) -> Source:
    """What `reference` names, read and checked; ConfigError or LinfitError where it cannot be run again."""
    path = Path(reference)
    if not (path.suffix or len(path.parts) > 1 or path.is_dir()):
        return _of_record(Reader(store).find(reference), sample, seed, permits)
    known = None if store.file is not None and not store.file.exists() else Reader(store)
    if (path / layout.MANIFEST).is_file():
        return from_sweep_folder(path, known, sample or SAMPLE, seed, permits)
    found = from_files(path, known, permits)
    if isinstance(found, Record):
        return _of_record(found, sample, seed, permits)
    return found


def _of_record(record: Record, sample: int | None, seed: int, permits: Permits) -> Source:
    if record.kind == layout.SWEEP:
        return from_sweep(record, sample or SAMPLE, seed, permits)
    if sample is not None:
        raise ConfigError(f"run {record.run_id} is one fit: a sample is drawn from a sweep")
    return from_run(record, permits)


def _repeat(
    source: Source, ready: list[_Ready], given: tuple[str, ...], tracking: Tracking, workers: int
) -> Reproduction:
    """The recorder is opened first: no fit runs for a store that cannot be written."""
    recorder = open_recorder(tracking, source.experiment)
    above = nest(tracking, source.experiment)

    def judge(place: int, fit: Fit) -> dict[str, str]:
        return ready[place].judge(fit, given)

    if source.sweep:
        tags = {**above, **layout.reproduction(source.run_id)}
        sample = Sample(source.name, [one.config for one in ready], source.varying, tags)
        run_id, ids = repeat_sample(sample, recorder, judge, workers)
    else:
        run_id = repeat(ready[0].config, source.name, recorder, judge, above)
        ids = [run_id]
    repeated = {id(one.original): one.repetition(own) for one, own in zip(ready, ids, strict=True)}
    first = ready[0]
    assert first.original.config is not None
    found = [*config_changes(first.original.config, first.config)] if given else []
    found += changes(source.document, environment.document(first.config))
    repetitions = [
        repeated.get(id(original)) or _refused(original) for original in source.originals
    ]
    return Reproduction(
        source.name, source.run_id, run_id, found, repetitions, given, bool(source.document)
    )


def _refused(original: Original) -> Repetition:
    return Repetition(original.name, original.run_id, Verdict.REFUSED, original.why)


@isolated
def compare(store: Store, one: str, other: str, trust: bool = False) -> Reproduction:
    """Two recorded runs beside each other, as `linfit diff` shows them; nothing runs, and plug-ins are imported only with `trust`."""
    load_plugins(())
    reader = Reader(store)
    records = [reader.find(reference) for reference in (one, other)]
    configs = [record.config(load_plugins if trust else None) for record in records]
    then, now = (record.outcome(config) for record, config in zip(records, configs, strict=True))
    found = difference(then, now, common=configs[0].record != configs[1].record, other=OTHER)
    documents = [record.provenance() for record in records]
    repetition = Repetition(
        records[1].name,
        records[0].run_id,
        found.verdict,
        found.why,
        records[1].run_id,
        found,
        then,
        now,
    )
    differ = [*config_changes(*configs), *changes(*documents)]
    return Reproduction(records[0].name, records[0].run_id, records[1].run_id, differ, [repetition])
