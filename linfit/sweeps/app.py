"""`linfit run`: Hydra's own command line, with every flag of it, but with errors that say one thing in one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import NoReturn

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from linfit.errors import ConfigError, LinfitError, RecordingError
from linfit.shell import shell_script
from linfit.sweeps.catalogue import question
from linfit.sweeps.composition import fit_config, search_path, split
from linfit.sweeps.explanation import UNCOMPOSED, explain_composition
from linfit.sweeps.folder import SETTINGS
from linfit.sweeps.naming import single_name
from linfit.sweeps.runner import Runner
from linfit.sweeps.ways import deferred
from linfit.tracking import notes
from linfit.tracking.masking import mask, masked


def execute(arguments: Sequence[str], runner: Runner, configure_logging: bool = False) -> None:
    """Runs what `arguments` ask for; ConfigError or RecordingError before anything is written if that cannot be."""
    flags = parse(arguments)
    experiment, overrides = split(flags.overrides)
    experiment = flags.config_name or experiment
    runner.question, runner.typed = question(experiment), notes.command(arguments)
    with hydra_for(flags) as hydra:
        try:
            _execute(hydra, flags, experiment, overrides, runner, configure_logging)
        except BaseException as error:
            runner.kill()
            if isinstance(error, LinfitError):
                raise
            # Hydra raises all of these for an override that it cannot make sense of; some of them are OSErrors.
            if isinstance(error, (*UNCOMPOSED, ValueError)):
                raise ConfigError(explain_composition(error, hydra.config_loader, experiment)) from error
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):  # what a fit raises is its own
                raise RecordingError(_about_file(error)) from error
            raise


def _about_file(error: OSError) -> str:
    """One line for a config file that cannot be read, or one of the outputs that cannot be written."""
    file = Path(str(error.filename))
    output = file.parent.name == ".hydra" or file.name == SETTINGS
    verb = "read" if file.suffix == ".yaml" and not output else "written"
    return f"{error.filename or 'a file'} cannot be {verb}: {error.strerror or error}"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = get_args_parser()

    def error(message: str) -> NoReturn:
        raise ConfigError(f"{message}: `linfit run --help` lists the flags")

    parser.error = error  # type: ignore[method-assign]
    flags: argparse.Namespace = parser.parse_intermixed_args(list(arguments))
    several = [flag for flag in ("run", "multirun", "cfg", "info", "shell_completion") if getattr(flags, flag)]
    if len(several) > 1:
        raise ConfigError(f"only one of --{' and --'.join(several)} at a time")
    if flags.resolve and not (flags.cfg or flags.help):
        raise ConfigError("--resolve goes with --cfg or --help")
    return flags


@contextmanager
def hydra_for(flags: argparse.Namespace) -> Iterator[Hydra]:
    """Hydra on linfit's search path; its global state is afterwards as it was before."""
    before = Singleton.get_state()
    try:
        from hydra.core.global_hydra import GlobalHydra

        GlobalHydra.instance().clear()
        yield Hydra.create_main_hydra2("linfit", _search_path(flags))
    finally:
        Singleton.set_state(before)


def _search_path(flags: argparse.Namespace) -> ConfigSearchPath:
    path: ConfigSearchPath = search_path()
    for flag, folder in (("--config-path", flags.config_path), ("--config-dir", flags.config_dir)):
        if folder is None:
            continue
        if not Path(folder).is_dir():
            raise ConfigError(f"{flag} {folder!r} is no folder")
        anchor = SearchPathQuery(provider="schema") if flag == "--config-dir" else SearchPathQuery(provider="main")
        path.prepend("command-line", f"file://{Path(folder).absolute()}", anchor=anchor)
    return path


def _execute(
    hydra: Hydra, flags: argparse.Namespace, experiment: str, overrides: list[str], runner: Runner, configure_logging: bool
) -> None:
    if flags.help:
        hydra.app_help(config_name=experiment, args_parser=get_args_parser(), args=_with(flags, overrides))
    elif flags.hydra_help:
        with _called("linfit run"):
            hydra.hydra_help(config_name=experiment, args_parser=get_args_parser(), args=_with(flags, overrides))
    elif flags.cfg:
        hydra.show_cfg(experiment, overrides, flags.cfg, flags.package, flags.resolve)
    elif flags.info:
        hydra.show_info(flags.info, config_name=experiment, overrides=overrides)
    elif flags.shell_completion:
        if script := shell_script(overrides):
            sys.stdout.write(script)
        else:
            hydra.shell_completion(config_name=experiment, overrides=overrides)
    elif flags.experimental_rerun:
        raise ConfigError("--experimental-rerun reads a pickle, which linfit never does: run the experiment again with its overrides")
    elif flags.multirun or _mode(hydra, experiment, overrides) == RunMode.MULTIRUN:
        hydra.multirun(experiment, runner, [*deferred(overrides), "hydra.mode=MULTIRUN"], with_log_configuration=configure_logging)
        runner.close()
    else:
        _run(hydra, experiment, overrides, runner, configure_logging)


@contextmanager
def _called(name: str) -> Iterator[None]:
    """With the name by which Hydra says how it is called."""
    own, sys.argv[0] = sys.argv[0], name
    try:
        yield
    finally:
        sys.argv[0] = own


def _with(flags: argparse.Namespace, overrides: list[str]) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(flags), "overrides": overrides})


def _mode(hydra: Hydra, experiment: str, overrides: list[str]) -> RunMode | None:
    """What `hydra.mode` says in the experiment: a study makes itself a sweep."""
    mode: RunMode | None = hydra.compose_config(
        experiment, deferred(overrides), run_mode=RunMode.MULTIRUN, with_log_configuration=False, validate_sweep_overrides=False
    ).hydra.mode
    return mode


@contextmanager
def folder_for(place: Path) -> Iterator[None]:
    """A run's folder, made before the run begins in the store; gone again, with those that were made for it, if it does not begin."""
    made = [folder for folder in (place, *place.parents) if not folder.exists()]
    try:
        place.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=place).close()
        yield
    except BaseException:
        with suppress(OSError):  # the store has been made in one of them
            for folder in made:
                folder.rmdir()
        raise


def hide_passwords(composed: DictConfig) -> None:
    """In what Hydra writes into a run's folder. The store is open by now, and nothing needs the password any more."""
    with flag_override(composed, ["readonly", "struct"], [False, False]):
        composed.tracking = masked(OmegaConf.to_container(composed.tracking, resolve=False))  # a reference to the environment stays one
        composed.hydra.overrides.task = [mask(override) for override in composed.hydra.overrides.task]
        composed.hydra.job.override_dirname = mask(composed.hydra.job.override_dirname)


def _run(hydra: Hydra, experiment: str, overrides: list[str], runner: Runner, configure_logging: bool) -> None:
    """What Hydra.run does, except that the config is validated, the folder can be written, and the run begun before anything is run."""
    overrides = [*overrides, "hydra.mode=RUN"]
    composed = hydra.compose_config(experiment, overrides, run_mode=RunMode.RUN, with_log_configuration=configure_logging)
    given = list(composed.hydra.overrides.task)
    config = fit_config(composed, given, experiment)
    if any(override.startswith("hydra.sweeper.") for override in overrides):
        raise ConfigError("hydra.sweeper says how to sweep, and this is one fit: add -m")
    if runner.skip_done and runner.is_finished(config):
        return
    with folder_for(Path(str(composed.hydra.run.dir))):
        runner.begin(config, single_name(experiment, config, given))
    hide_passwords(composed)
    callbacks = Callbacks(composed)
    callbacks.on_run_start(config=composed, config_name=experiment)
    context = HydraContext(config_loader=hydra.config_loader, callbacks=callbacks)
    job = run_job(runner, composed, "hydra.run.dir", None, context, configure_logging)
    callbacks.on_run_end(config=composed, config_name=experiment, job_return=job)
    _ = job.return_value  # raises what the job raised
