"""Tests of linfit/problem."""
