"""The optimum of smooth convex losses of the linear predictor: minimum, certificate, existence."""
