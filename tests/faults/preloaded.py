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
import linfit.engine.stacked.run
import linfit.publication
import linfit.reproduction
import linfit.sweeps.preflight.stability
import linfit.sweeps.resume.find
import linfit.sweeps.resume.resume
import linfit.sweeps.run.hydra_app
import linfit.tracking.read.reader
import linfit.tracking.write.database
import linfit.verification
import linfit.views.report.artifacts
import linfit.views.report.description
import linfit.views.terminal.outcome
import linfit.views.terminal.progress  # noqa: F401
import tests.faults.harness  # noqa: F401
from linfit.tracking.provenance.code_digest import compute_code_digest

Plugins.instance()
compute_code_digest(())
os.environ.pop("PYTHONPATH", None)  # it led here, and is nothing to the processes that are forked
