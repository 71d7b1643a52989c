"""The output of `linfit script`: the plain torch program of a run or of an experiment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from linfit.config import FitConfig
from linfit.errors import ConfigError
from linfit.script.program import render_script
from linfit.sweeps.compose.compose import load_plugins
from linfit.sweeps.compose.request import compose_fit, explain_errors, list_swept_keys, request_fit
from linfit.sweeps.config_files.messages import notify_user
from linfit.sweeps.config_files.search_path import find_experiments
from linfit.system.host import quote_words
from linfit.system.output import print_data

LAST_RUN = "last"


def show_script(
    arguments: Sequence[str], uri: str | None = None, data: str | None = None, trust: bool = False
) -> None:
    """Print the program of a stored run, or of what `linfit run` with these arguments fits.

    ConfigError if there is none.
    """
    named = [argument for argument in arguments if _is_run(argument)]
    if not named:
        if uri is not None or data is not None or trust:
            raise ConfigError(
                "--uri, --data and --trust go with a RUN: "
                "give a run id, the beginning of one, or last"
            )
        program = render_script(*_of_experiment(arguments))
    elif len(arguments) > 1:
        raise ConfigError(
            f"the program of run {named[0]} is that of its stored config: "
            "overrides go with an experiment"
        )
    else:
        stored = _of_run(
            named[0],
            uri,
            None if data is None else Path(data),
            trust,
        )
        program = render_script(*stored)
    print_data(program.removesuffix("\n"))


def _is_run(argument: str) -> bool:
    if argument in find_experiments():
        return False
    return argument == LAST_RUN or re.fullmatch(r"[0-9a-f]{1,32}", argument) is not None


def _of_experiment(arguments: Sequence[str]) -> tuple[FitConfig, str]:
    request = request_fit(arguments)
    with explain_errors(request):
        fit = compose_fit(request)
    if keys := list_swept_keys(fit):
        notify_user(
            f"{request.experiment} sweeps over {', '.join(keys)}: "
            "this is one fit, with the values that they have beside the sweep"
        )
    typed = quote_words(["linfit", "run", *arguments])
    return fit.config, f"The fit of `{typed}`, as a plain torch program."


def _of_run(
    reference: str, uri: str | None, data: Path | None, trust: bool
) -> tuple[FitConfig, str, str]:
    """Return the stored config of a run, with a title and its setting of MKL.

    The config is untrusted: plug-ins are imported only with `trust`, and only data that are
    allowed are opened.
    """
    from linfit.engine.product_settings import find_mkl_setting
    from linfit.tracking.provenance.environment import read_machine_tag
    from linfit.tracking.read.access import ReadPolicy
    from linfit.tracking.read.original import authorize_config
    from linfit.tracking.read.reader import RunReader
    from linfit.tracking.schema import mlflow_names
    from linfit.tracking.store.store import resolve_store

    load_plugins(())  # those of installed packages
    permits = ReadPolicy(load_plugins if trust else None, data)
    record = RunReader(resolve_store(uri)).find_run(
        reference, mlflow_names.FIT if reference == LAST_RUN else None
    )
    config = authorize_config(record, permits)
    if config.engine.name != "single":
        notify_user(
            f"the engine {config.engine.name} fitted it, whose sums run in another order: "
            "the program agrees with it but for rounding"
        )
    title = f"The fit of run {record.run_id}, {record.name}, as a plain torch program."
    return config, title, find_mkl_setting(read_machine_tag(record.root.tags) or {})
