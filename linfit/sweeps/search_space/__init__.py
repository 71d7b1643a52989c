"""Read what a sweep varies: axes, filters, names."""
