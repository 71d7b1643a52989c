"""Check what must hold before anything runs or is written."""
