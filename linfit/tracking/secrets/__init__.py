"""Mask passwords and other secrets in everything that is written or printed."""
