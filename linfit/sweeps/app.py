"""`linfit run`: Hydra's own command line, with every flag of it, but with errors that say one thing in one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import get_args_parser
from hydra.core.utils import env_override, run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from linfit.errors import ConfigError, LinfitError, RecordingError
from linfit.scratch import note_leftover
from linfit.shell import shell_script
from linfit.sweeps.catalogue import question
from linfit.sweeps.composition import set_hydra_config
from linfit.sweeps.explanation import UNCOMPOSED, explain_composition
from linfit.sweeps.folder import RUN_KEY, SETTINGS, SWEEP_KEY, require_unused
from linfit.sweeps.naming import single_name
from linfit.sweeps.overrides import read_raw
from linfit.sweeps.request import (
    Request,
    compose_sweep,
    compose_unless_sweep,
    new_sweeper,
    open_request,
    validate_fit,
)
from linfit.sweeps.runner import Runner
from linfit.tracking import notes
from linfit.tracking.masking import mask, masked


def execute(arguments: Sequence[str], runner: Runner, configure_logging: bool = False) -> None:
    """Runs what `arguments` ask for; ConfigError or RecordingError before anything is written if that cannot be."""
    with open_request(arguments) as request:
        runner.question, runner.typed = question(request.experiment), notes.command(arguments)
        try:
            _execute(request, runner, configure_logging)
        except BaseException as error:
            runner.kill()
            if isinstance(error, LinfitError):
                raise
            # Hydra raises all of these for an override that it cannot make sense of; some of them are OSErrors.
            if isinstance(error, (*UNCOMPOSED, ValueError)):
                raise ConfigError(
                    explain_composition(error, request.loader, request.experiment)
                ) from error
            if isinstance(error, OSError) and not isinstance(
                error, BrokenPipeError
            ):  # what a fit raises is its own
                raise RecordingError(_about_file(error)) from error
            raise


def _about_file(error: OSError) -> str:
    """One line for a config file that cannot be read, or one of the outputs that cannot be written."""
    file = Path(str(error.filename))
    output = file.parent.name == ".hydra" or file.name == SETTINGS
    verb = "read" if file.suffix == ".yaml" and not output else "written"
    return f"{error.filename or 'a file'} cannot be {verb}: {error.strerror or error}"


def _execute(request: Request, runner: Runner, configure_logging: bool) -> None:
    hydra, flags, experiment, overrides = (
        request.hydra,
        request.flags,
        request.experiment,
        request.overrides,
    )
    if flags.help:
        hydra.app_help(
            config_name=experiment, args_parser=get_args_parser(), args=_with(flags, overrides)
        )
    elif flags.hydra_help:
        with _called("linfit run"):
            hydra.hydra_help(
                config_name=experiment, args_parser=get_args_parser(), args=_with(flags, overrides)
            )
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
        raise ConfigError(
            "--experimental-rerun reads a pickle, which linfit never does: run the experiment again with its overrides"
        )
    elif (composed := compose_unless_sweep(request, configure_logging)) is None:
        _multirun(request, runner, configure_logging)
    else:
        _run(request, runner, composed, configure_logging)


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


@contextmanager
def folder_for(place: Path) -> Iterator[None]:
    """A run's folder, made before the run begins in the store; gone again, with those that were made for it, if it does not begin."""
    made = [folder for folder in (place, *place.parents) if not folder.exists()]
    for folder in made:
        note_leftover(folder, "*")
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
        composed.tracking = masked(
            OmegaConf.to_container(composed.tracking, resolve=False)
        )  # a reference to the environment stays one
        composed.hydra.overrides.task = [
            mask(override) for override in read_raw(composed.hydra.overrides.task)
        ]
        composed.hydra.overrides.hydra = [
            mask(override) for override in read_raw(composed.hydra.overrides.hydra)
        ]
        composed.hydra.job.env_set = {
            name: f"${{oc.env:{name}}}" for name in composed.hydra.job.env_set
        }
        composed.hydra.job.override_dirname = mask(
            composed.hydra.job._get_node("override_dirname")._value()
        )


def _run(request: Request, runner: Runner, composed: DictConfig, configure_logging: bool) -> None:
    """What Hydra.run does, except that the config is validated, the folder can be written, and the run begun before anything is run."""
    fit = validate_fit(request, composed)
    if runner.skip_done and runner.is_finished(fit.config):
        return
    with set_hydra_config(composed):
        folder = Path(str(composed.hydra.run.dir))
    require_unused(folder, RUN_KEY, *filter(None, [composed.hydra.output_subdir]))
    with folder_for(folder):
        runner.begin(fit.config, single_name(request.experiment, fit.config, fit.overrides))
    composed.hydra.mode = RunMode.RUN
    variables: Any = OmegaConf.to_container(composed.hydra.job.env_set)
    hide_passwords(composed)
    callbacks = Callbacks(composed)
    callbacks.on_run_start(config=composed, config_name=request.experiment)
    context = HydraContext(config_loader=request.loader, callbacks=callbacks)
    with env_override(variables):  # which are written as references to them
        job = run_job(runner, composed, RUN_KEY, None, context, configure_logging)
    callbacks.on_run_end(config=composed, config_name=request.experiment, job_return=job)
    _ = job.return_value  # raises what the job raised


def _multirun(request: Request, runner: Runner, configure_logging: bool) -> None:
    """What Hydra.multirun does, with the sweeper and the config that `linfit plan` asks."""
    composed = compose_sweep(request, configure_logging)
    callbacks = Callbacks(composed)
    with set_hydra_config(composed):
        require_unused(Path(str(composed.hydra.sweep.dir)), SWEEP_KEY)
        callbacks.on_multirun_start(config=composed, config_name=request.experiment)
        sweeper = new_sweeper(request, composed, runner, callbacks)
        sweeper.sweep(arguments=read_raw(composed.hydra.overrides.task))
    callbacks.on_multirun_end(config=composed, config_name=request.experiment)
    runner.close()
