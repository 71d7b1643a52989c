"""Tests of linfit/sweeps."""
