"""The fits of a sweep without a result, grouped by the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from linfit.engine.fit import Status
from linfit.errors import LinfitError
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.analysis.theory import compute_stable_rate


@dataclass(frozen=True)
class FailureGroup:
    """Fits that diverged or failed for one reason."""

    names: tuple[str, ...]
    status: str
    why: str
    details: str = ""
    steps: tuple[int, ...] = ()
    """The step at which each of the fits diverged."""

    @property
    def when(self) -> str:
        """The steps at which the fits diverged, in words."""
        if not self.steps:
            return ""
        first = min(self.steps)
        last = max(self.steps)
        return f"at step {first}: " if first == last else f"at steps {first} to {last}: "


def explain_failure(swept: SweepData, index: int) -> FailureGroup:
    """Return why a fit diverged or failed."""
    result = swept.results.iloc[index]
    names = (str(result["name"]),)
    status = str(result["status"])
    if status == Status.FAILED:
        error = str(result["error"] or "").strip()
        last_line = error.splitlines()[-1] if error else "nothing was kept of it"
        return FailureGroup(names, status, last_line, error)

    limit = swept.configs[index]["stop"]["divergence"]
    why = f"the loss was not finite, or above {limit:g} times the initial loss"
    why += _explain_rate(swept, index)
    return FailureGroup(
        names,
        status,
        why,
        steps=(int(result["diverged_at_step"]),),
    )


def group_failures(failures: Sequence[FailureGroup]) -> list[FailureGroup]:
    """Return each reason once, with all fits that have it."""
    groups: dict[tuple[str, ...], FailureGroup] = {}
    for failure in failures:
        key = (failure.status, failure.why, failure.details)
        if key in groups:
            before = groups[key]
            names = before.names + failure.names
            steps = before.steps + failure.steps
            groups[key] = replace(before, names=names, steps=steps)
        else:
            groups[key] = failure
    return list(groups.values())


def _explain_rate(swept: SweepData, index: int) -> str:
    """Return a clause if the learning rate is above the largest stable one."""
    try:
        config, problem, optimum = swept.load_instance(int(swept.results["row"][index]))
    except (LinfitError, ValueError, OSError):
        return ""
    bound = compute_stable_rate(config, problem, optimum)
    lr = config.as_dict()["optimizer"].get("lr")
    if bound is None or lr is None or lr <= bound:
        return ""
    return f"; the learning rate {lr:g} is above the largest stable one, {bound:.4g}"
