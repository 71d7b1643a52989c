"""Tests of linfit/method."""
