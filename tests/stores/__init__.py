"""Stores that versions of linfit wrote, and the script that writes one."""
