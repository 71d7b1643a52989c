"""Measurements next to other ways to do the same; README.md says what each prints.

A package, because old wheels of pyarrow install another package of this name.
"""
