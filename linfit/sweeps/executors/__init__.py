"""Run the fits of a sweep: in this process, in several, or on a cluster."""
