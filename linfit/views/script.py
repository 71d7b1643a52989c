"""The output of `linfit script`: the plain torch program of a run or of an experiment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from linfit.config import FitConfig
from linfit.errors import ConfigError
from linfit.listing import program
from linfit.output import print_data
from linfit.sweeps.composition import load_plugins
from linfit.sweeps.explanation import notice
from linfit.sweeps.locations import experiments
from linfit.sweeps.request import compose_fit, explained, request_fit, swept_keys
from linfit.system import quote_words

LAST = "last"


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
        config, title = _of_experiment(arguments)
    elif len(arguments) > 1:
        raise ConfigError(
            f"the program of run {named[0]} is that of its stored config: "
            "overrides go with an experiment"
        )
    else:
        config, title = _of_run(
            named[0],
            uri,
            None if data is None else Path(data),
            trust,
        )
    print_data(program(config, title).removesuffix("\n"))


def _is_run(argument: str) -> bool:
    if argument in experiments():
        return False
    return argument == LAST or re.fullmatch(r"[0-9a-f]{1,32}", argument) is not None


def _of_experiment(arguments: Sequence[str]) -> tuple[FitConfig, str]:
    request = request_fit(arguments)
    with explained(request):
        fit = compose_fit(request)
    if keys := swept_keys(fit):
        notice(
            f"{request.experiment} sweeps over {', '.join(keys)}: "
            "this is one fit, with the values that they have beside the sweep"
        )
    typed = quote_words(["linfit", "run", *arguments])
    return fit.config, f"The fit of `{typed}`, as a plain torch program."


def _of_run(
    reference: str, uri: str | None, data: Path | None, trust: bool
) -> tuple[FitConfig, str]:
    """Return the stored config of a run, with a title.

    The config is untrusted: plug-ins are imported only with `trust`, and only data that are
    allowed are opened.
    """
    from linfit.tracking import layout
    from linfit.tracking.access import Permits
    from linfit.tracking.originals import authorize_config
    from linfit.tracking.reading import Reader
    from linfit.tracking.store import locate

    load_plugins(())  # those of installed packages
    permits = Permits(load_plugins if trust else None, data)
    record = Reader(locate(uri)).find(reference, layout.FIT if reference == LAST else None)
    config = authorize_config(record, permits)
    if config.engine.name != "single":
        notice(
            f"the engine {config.engine.name} fitted it, whose sums run in another order: "
            "the program agrees with it but for rounding"
        )
    return config, f"The fit of run {record.run_id}, {record.name}, as a plain torch program."
