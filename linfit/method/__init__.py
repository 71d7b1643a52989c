"""Define how it is solved: models, initial weights, gradients and optimizers.

They know problems, not the engines.
"""
