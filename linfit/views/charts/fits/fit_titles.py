"""Titles of pictures that say which fit is drawn."""

from __future__ import annotations

from pathlib import PurePath

from linfit.engine.fit import Fit, Status


def title_fit(what: str, fit: Fit) -> str:
    """Return a title: what is drawn of a fit, its optimizer, its data, and how it diverged."""
    optimizer = fit.config.optimizer
    lr = getattr(optimizer, "lr", None) if "lr" in type(optimizer).model_fields else None
    named = optimizer.name if lr is None else f"{optimizer.name} lr={lr:g}"
    title = f"{what}: {named}, {_name_data(fit)}"
    if fit.status is Status.DIVERGED:
        return f"{title} (diverged at step {fit.diverged_at_step})"
    return title


def _name_data(fit: Fit) -> str:
    """Return the name of a fit's dataset: its file's if it is one, or that of a bundled set."""
    files = fit.config.dataset.list_files()
    if files:
        return PurePath(files[0]).name
    assert fit.problem is not None
    return fit.problem.source.rpartition(":")[2].partition("/")[0]
