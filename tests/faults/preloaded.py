"""Import and compute in the server, once, what each process that it forks would otherwise repeat.

The server forks linfit's processes.
"""

from __future__ import annotations

import os

import matplotlib.backends.backend_agg
import matplotlib.backends.backend_svg  # noqa: F401
import pandas  # noqa: F401
import psutil  # noqa: F401
import pytest  # noqa: F401
import rich.live
import rich.table  # noqa: F401
import torch  # noqa: F401
from hydra.core.plugins import Plugins

import linfit.cli
import linfit.engine.dispatch
import linfit.engine.single
import linfit.engine.stacked
import linfit.publication
import linfit.reproduction
import linfit.sweeps.app
import linfit.sweeps.finding
import linfit.sweeps.resuming
import linfit.sweeps.stability
import linfit.tracking.database
import linfit.tracking.reading
import linfit.verification
import linfit.views.description
import linfit.views.illustration
import linfit.views.outcome
import linfit.views.progress  # noqa: F401
import tests.faults.harness  # noqa: F401
from linfit.tracking.code import code_digest

Plugins.instance()
code_digest(())
os.environ.pop("PYTHONPATH", None)  # it led here, and is nothing to the processes that are forked
