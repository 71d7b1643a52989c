"""Heat maps: which are made, and what their cells say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from linfit.errors import ConfigError
from linfit.views.analysis.compare import compare_methods
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import Chart, LeftOut
from linfit.views.charts.sweeps import heat_map
from tests.views.charts.drawn import SWEEPS, charts_of


def test_a_heat_map_of_any_two_swept_keys(usual: SweepData) -> None:
    chart = heat_map.plot_heat_map(usual, compare_methods(usual), "seed", "optimizer.lr")
    assert isinstance(chart, Chart) and chart.surface is not None
    assert chart.x.names == tuple(map(str, range(8)))
    cell = usual.table[(usual.table["seed"] == 3) & (usual.table["optimizer.lr"] == 0.007)][
        "excess_loss"
    ]
    assert chart.surface.z[1, 3] == pytest.approx(cell.median())
    with pytest.raises(ConfigError, match=r"no swept key 'sed': did you mean 'seed'\?"):
        heat_map.plot_heat_map(usual, compare_methods(usual), "sed")


#: Sweeps, their heat maps by name, and what the note says of fits that did not finish.
HEAT_MAPS = {
    "one method": (
        ("optimizer=sgd", "optimizer.lr=0.001,1.0", "optimizer.momentum=0.0,0.5", "seed=0,1"),
        {"heat_map": "Final excess loss"},
        "median over all else; ×: none finished; 4 diverged",
    ),
    "several methods": (
        ("optimizer=adam,adamw", "optimizer.lr=0.1,1.0", "optimizer.eps=1e-8,1e-6"),
        {
            "heat_map": "Final excess loss of adam",
            "heat_map_adamw": "Final excess loss of adamw",
        },
        "each cell is one fit",
    ),
    "not crossed": (SWEEPS["random"], {}, ""),
}


@pytest.mark.parametrize(("arguments", "titles", "note"), HEAT_MAPS.values(), ids=HEAT_MAPS)
def test_heat_maps_are_of_crossed_keys_one_for_each_method(
    arguments: tuple[str, ...],
    titles: dict[str, str],
    note: str,
    swept_of: Callable[..., SweepData],
) -> None:
    swept = swept_of(*arguments)
    made = {name: chart for name, chart in charts_of(swept).items() if name.startswith("heat")}
    assert {name: chart.title for name, chart in made.items()} == titles
    for chart in made.values():
        assert chart.surface is not None and chart.note.startswith(note)
        fits = [int(count.split()[2]) for row in chart.surface.counts for count in row]
        assert sum(fits) * len(made) == len(swept.results)
    if not titles:
        left_out = heat_map.plot_heat_map(swept, compare_methods(swept))
        assert isinstance(left_out, LeftOut) and "40 of the 1600 combinations" in left_out.reason


def test_a_cell_says_how_many_of_its_fits_finished_and_a_name_is_as_long_as_it_must_be() -> None:
    cells = [
        heat_map._text(*cell)
        for cell in (
            (3e-5, 9, 9),
            (721.4, 7, 9),
            (np.nan, 3, 9),
            (np.nan, 0, 2),
            (np.nan, 0, np.nan),
        )
    ]
    assert cells == ["3e-5", "721\n7/9", "×\n3/9", "×", ""]
    assert heat_map._names([0.00010001, 0.00010002, None]) == ["0.00010001", "0.00010002", "–"]
