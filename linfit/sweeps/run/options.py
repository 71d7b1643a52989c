"""Input of a command that runs fits: its options, its fits, and an observer of its progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from linfit.config import FitConfig
from linfit.sweeps.run.block_pipeline import CompletedFit
from linfit.tracking.write.caller_run import find_caller_run


@dataclass(frozen=True)
class RunOptions:
    """Options of a command.

    Every process that runs its fits knows them.
    """

    skip_done: bool = False
    """Leave out fits that the MLflow experiment has already, finished and by the same code."""
    skip_unstable: bool = False
    """Leave out fits whose learning rate is above the largest stable one."""
    question: str = ""
    """The question that the experiment's file asks."""
    typed: str = ""
    """The command as it is typed."""
    caller: str = field(default_factory=find_caller_run)
    """The MLflow run that is active now. A launcher may pickle it later, in another thread."""


@dataclass(frozen=True)
class Job:
    """A fit of a sweep before it runs."""

    config: FitConfig
    overrides: tuple[str, ...]
    """The overrides that made the config."""


class Observer(Protocol):
    """Receiver of the progress of a fit or a sweep."""

    def begin(self, total: int, steps: int) -> None:
        """Start with `total` fits of `steps` steps together."""

    def on_steps(self, made: int, spared: int) -> None:
        """Count the steps that fits made or that early stopping spared."""

    def advance(self, done: Sequence[CompletedFit]) -> None:
        """Count fits that are recorded."""

    def end(self) -> None:
        """Show no more."""


class SilentObserver:
    """Observer that shows nothing."""

    def begin(self, total: int, steps: int) -> None:
        return None

    def on_steps(self, made: int, spared: int) -> None:
        return None

    def advance(self, done: Sequence[CompletedFit]) -> None:
        return None

    def end(self) -> None:
        return None
