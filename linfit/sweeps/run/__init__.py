"""Run fits and sweeps, and hand them to the recorder."""
