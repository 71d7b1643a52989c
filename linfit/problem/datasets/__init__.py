"""Datasets: where samples come from. `Dataset` is what a plug-in subclasses."""

from linfit.problem.datasets.synthetic import Dataset as Dataset
