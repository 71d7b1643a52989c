"""linfit runs, compares and reproduces gradient-descent fits of linear-in-parameter models.

>>> import linfit
>>> config = linfit.compose(["optimizer=adam", "optimizer.lr=0.1"])
>>> linfit.fit(config).status
<Status.COMPLETED: 'completed'>

Threads may call these functions at any time: they take turns. Settings of the caller in torch and
numpy (autocast, default device and dtype, gradient modes, transforms, numbers of threads, error
states) do not reach a fit, and are restored afterwards.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from linfit.system.version import __version__

if TYPE_CHECKING:
    from linfit.config import FitConfig as FitConfig
    from linfit.engine.dispatch import fit as fit
    from linfit.engine.fit import Fit as Fit
    from linfit.engine.fit import Status as Status
    from linfit.problem.datasets.arrays import arrays as arrays
    from linfit.publication import sweep as sweep
    from linfit.reproduction import reproduce as reproduce
    from linfit.sweeps.compose.request import compose as compose
    from linfit.views.results import Results as Results
    from linfit.views.results import load as load

#: Public names, and the modules that define them. They are imported at their first use, so that
#: `import linfit` imports neither torch nor MLflow.
_PUBLIC = {
    "FitConfig": "linfit.config",
    "arrays": "linfit.problem.datasets.arrays",
    "Fit": "linfit.engine.fit",
    "Status": "linfit.engine.fit",
    "compose": "linfit.sweeps.compose.request",
    "fit": "linfit.engine.dispatch",
    "reproduce": "linfit.reproduction",
    "Results": "linfit.views.results",
    "load": "linfit.views.results",
    "sweep": "linfit.publication",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'linfit' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
