"""Tests of linfit/engine."""
