"""Plug-ins through which Hydra finds linfit. Hydra searches only this namespace package.

The work is done in `linfit/sweeps/`.
"""
