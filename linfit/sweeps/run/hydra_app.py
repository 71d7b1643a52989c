"""`linfit run`: Hydra's own command line with every flag of it, but with errors of one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import get_args_parser
from hydra.core.utils import env_override, run_job
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from linfit.errors import ConfigError, LinfitError, RecordingError
from linfit.sweeps.catalogue.catalogue import read_question
from linfit.sweeps.catalogue.shell_completion import render_shell_script
from linfit.sweeps.compose.compose import set_hydra_config
from linfit.sweeps.compose.request import (
    RunRequest,
    compose_sweep,
    compose_unless_sweep,
    create_sweeper,
    open_request,
    validate_fit,
)
from linfit.sweeps.config_files.messages import COMPOSITION_ERRORS, explain_composition
from linfit.sweeps.config_files.overrides import read_raw_overrides
from linfit.sweeps.executors.processes import use_start_folder
from linfit.sweeps.folder.sweep_folder import (
    RUN_FOLDER_KEY,
    SETTINGS_FILE,
    SWEEP_FOLDER_KEY,
    require_unused,
)
from linfit.sweeps.preflight.checks import resolve_configs, select_unfinished
from linfit.sweeps.run.hydra_task import HydraTask
from linfit.sweeps.run.options import RunOptions
from linfit.sweeps.run.result import RunResult
from linfit.sweeps.run.session import RunSession
from linfit.sweeps.search_space.run_names import name_single_run
from linfit.system.scratch import note_leftover
from linfit.tracking.schema import descriptions
from linfit.tracking.secrets.masking import mask, mask_data


def execute(
    arguments: Sequence[str],
    options: RunOptions | None = None,
    session: RunSession | None = None,
    configure_logging: bool = False,
) -> RunResult:
    """Run what the arguments ask for, and return what came out.

    Raise ConfigError or RecordingError, before anything is written, if that cannot be.
    """
    with open_request(arguments) as request:
        asked = read_question(request.experiment)
        options = replace(
            options or RunOptions(),
            question=asked,
            typed=descriptions.format_run_command(arguments),
        )
        task = HydraTask(options, session)
        try:
            return _execute(request, task, configure_logging)
        except BaseException as error:
            task.kill()
            if isinstance(error, LinfitError):
                raise
            # Hydra raises all of these for an override that it cannot make sense of; some of them
            # are OSErrors.
            if isinstance(error, (*COMPOSITION_ERRORS, ValueError)):
                text = explain_composition(error, request.loader, request.experiment)
                raise ConfigError(text) from error
            # A closed pipe is the reader's doing. An error that a fit raises is in its result.
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                raise RecordingError(_describe_file(error)) from error
            raise


def _describe_file(error: OSError) -> str:
    """Return a line on a config file that cannot be read, or an output that cannot be written."""
    file = Path(str(error.filename))
    is_output = file.parent.name == ".hydra" or file.name == SETTINGS_FILE
    verb = "read" if file.suffix == ".yaml" and not is_output else "written"
    return f"{error.filename or 'a file'} cannot be {verb}: {error.strerror or error}"


def _execute(request: RunRequest, task: HydraTask, configure_logging: bool) -> RunResult:
    if _show(request):
        return RunResult()
    composed = compose_unless_sweep(request, configure_logging)
    if composed is None:
        return _run_sweep(request, task, configure_logging)
    return _run_fit(request, task, composed, configure_logging)


def _show(request: RunRequest) -> bool:
    """Print what a flag asks for; False if no flag asks for anything but to run."""
    hydra = request.hydra
    flags = request.flags
    experiment = request.experiment
    overrides = request.overrides
    if flags.help:
        arguments = argparse.Namespace(**{**vars(flags), "overrides": overrides})
        hydra.app_help(experiment, get_args_parser(), arguments)
    elif flags.hydra_help:
        arguments = argparse.Namespace(**{**vars(flags), "overrides": overrides})
        with _called("linfit run"):
            hydra.hydra_help(experiment, get_args_parser(), arguments)
    elif flags.cfg:
        hydra.show_cfg(experiment, overrides, flags.cfg, flags.package, flags.resolve)
    elif flags.info:
        hydra.show_info(flags.info, config_name=experiment, overrides=overrides)
    elif flags.shell_completion:
        if script := render_shell_script(overrides):
            sys.stdout.write(script)
        else:
            hydra.shell_completion(config_name=experiment, overrides=overrides)
    elif flags.experimental_rerun:
        raise ConfigError(
            "--experimental-rerun reads a pickle, which linfit never does: run the experiment "
            "again with its overrides"
        )
    else:
        return False
    return True


@contextmanager
def _called(name: str) -> Iterator[None]:
    """Set the name by which Hydra says how it is called."""
    own = sys.argv[0]
    sys.argv[0] = name
    try:
        yield
    finally:
        sys.argv[0] = own


@contextmanager
def prepare_folder(place: Path) -> Iterator[None]:
    """Make a run's folder before the run starts in the store.

    If the run does not start, the folder is removed, with those that were made for it.
    """
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
    """Mask the passwords in what Hydra writes into a run's folder.

    The store is open by now, and nothing needs a password any more.
    """
    with flag_override(composed, ["readonly", "struct"], [False, False]):
        # Unresolved, so that a reference to the environment stays one.
        composed.tracking = mask_data(OmegaConf.to_container(composed.tracking, resolve=False))
        overrides = composed.hydra.overrides
        overrides.task = list(map(mask, read_raw_overrides(overrides.task)))
        overrides.hydra = list(map(mask, read_raw_overrides(overrides.hydra)))
        job = composed.hydra.job
        job.env_set = {name: f"${{oc.env:{name}}}" for name in job.env_set}
        job.override_dirname = mask(job._get_node("override_dirname")._value())


def _run_fit(
    request: RunRequest, task: HydraTask, composed: DictConfig, configure_logging: bool
) -> RunResult:
    """Run one fit as Hydra.run does.

    Unlike there, the config is validated, the folder is known to be writable, and the run has
    started in the store before Hydra writes anything.
    """
    fit = validate_fit(request, composed)
    if task.options.skip_done and not select_unfinished(resolve_configs([fit.config]), [0.0]):
        return RunResult()
    with set_hydra_config(composed):
        folder = Path(str(composed.hydra.run.dir))
    require_unused(folder, RUN_FOLDER_KEY, *filter(None, [composed.hydra.output_subdir]))
    with prepare_folder(folder):
        name = name_single_run(request.experiment, fit.config, fit.overrides)
        task.session.start_single(fit.config, name, task.options)

    composed.hydra.mode = RunMode.RUN
    variables: Any = OmegaConf.to_container(composed.hydra.job.env_set)
    hide_passwords(composed)
    results: list[RunResult] = []

    def run_started(_: DictConfig) -> float:
        with use_start_folder(composed.hydra.runtime.cwd):
            result = task.session.run_single(folder.absolute())
        results.append(result)
        assert result.fit is not None
        return result.fit.objective

    callbacks = Callbacks(composed)
    callbacks.on_run_start(config=composed, config_name=request.experiment)
    context = HydraContext(config_loader=request.loader, callbacks=callbacks)
    with env_override(variables):  # Hydra writes them as references to the environment
        job = run_job(run_started, composed, RUN_FOLDER_KEY, None, context, configure_logging)
    callbacks.on_run_end(config=composed, config_name=request.experiment, job_return=job)
    _ = job.return_value  # raises what the job raised
    return results[0]


def _run_sweep(request: RunRequest, task: HydraTask, configure_logging: bool) -> RunResult:
    """Run a sweep as Hydra.multirun does, with the sweeper and config of `linfit plan`."""
    composed = compose_sweep(request, configure_logging)
    callbacks = Callbacks(composed)
    with set_hydra_config(composed):
        require_unused(Path(str(composed.hydra.sweep.dir)), SWEEP_FOLDER_KEY)
        callbacks.on_multirun_start(config=composed, config_name=request.experiment)
        sweeper = create_sweeper(request, composed, task, callbacks)
        sweeper.sweep(arguments=read_raw_overrides(composed.hydra.overrides.task))
    callbacks.on_multirun_end(config=composed, config_name=request.experiment)
    return task.finish()
