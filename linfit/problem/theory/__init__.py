"""Compute the exactly known answer of a problem, and how far it can be relied on."""
