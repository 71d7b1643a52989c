"""What sweep.py prints."""

from __future__ import annotations

from typing import Any

BOUND = 1.5
#: How many times as long as linfit each is meant to take, at these numbers of runs.
GOALS = {
    1000: {"hydra": 100, "optuna": 40, "expert": 8},
    10_000: {"hydra": 300, "optuna": 120, "expert": 25},
}
TITLES = {
    "hydra": "Hydra basic + torch.optim + client",
    "joblib": "Hydra joblib + torch.optim + client",
    "optuna": "Optuna's loop, one process",
    "modelbatch": "ModelBatch",
}


def show_startup(seconds: dict[str, float]) -> None:
    print(f"Start-up on an existing store (median of whole processes; bound {BOUND}× the imports)")
    ours = 0.0
    for name, time in seconds.items():
        ours = time if name.startswith("linfit") else ours
        print(
            f"  {name:<40}{time:>8.2f} s"
            + ("" if name.startswith("linfit") else f"   linfit takes {ours / time:.2f}×")
        )


def show(size: int, one: dict[str, Any], peers: dict[str, dict[str, float]]) -> None:
    """The table of one size."""
    linfit, floors, goals = one["linfit"], one["floors"], GOALS.get(size, {})
    ours = linfit["seconds"]
    print(f"\n{size} runs × 1000 steps")
    print(f"{'':<40}{'seconds':>10}{'ms/run':>10}{'÷ linfit':>10}{'kB/run':>9}")

    def line(title: str, seconds: float, disk: float | None = None, note: str = "") -> None:
        kilobytes = "" if disk is None else f"{disk / 1e3:.1f}"
        print(
            (
                f"{title:<40}{seconds:>10.2f}{seconds / size * 1e3:>10.2f}"
                f"{seconds / ours:>10.2f}{kilobytes:>9}  {note}"
            ).rstrip()
        )

    line("linfit", ours, linfit["disk"], f"peak memory {linfit['megabytes']:.0f} MB")
    for phase, seconds in linfit["split"].items():
        line(f"  {phase}", seconds)
    line("linfit pictures=false", linfit["without pictures"])
    for name, measured in peers.items():
        seconds = max(measured["seconds"] + (size - measured["runs"]) * measured["per run"], 0.0)
        goal = f", goal {goals[name]}×" if name in goals else ""
        line(TITLES[name], seconds, measured["disk"], f"scaled from {measured['runs']:.0f}{goal}")
    if "expert" in one:
        logged = int(one["expert"]["logged"])
        notes = [f"logging scaled from {logged}"] * (logged < size) + [
            f"goal {goals[name]}×" for name in ("expert",) if name in goals
        ]
        line("by hand, stacked", one["expert"]["seconds"], one["expert"]["disk"], ", ".join(notes))
    for name, seconds in floors.items():
        line(f"floor: {name}", seconds)
    floor = sum(floors.values())
    line("floor: all", floor)
    own, tracking = (
        linfit["split"]["composition"] + linfit["split"]["fitting"],
        linfit["split"]["tracking"],
    )
    bare = linfit["without pictures"] / floor
    print(
        f"linfit is {ours / floor:.2f}× all floors (bound {BOUND}×), "
        f"{bare:.2f}× with pictures=false"
    )
    print(f"composition plus fitting {own:.2f} s, tracking {tracking:.2f} s")
