"""Faults outside of linfit, done to real processes.

Kills, crashes at a flush, crowds, lost replies, full disks.
"""
