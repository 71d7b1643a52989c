"""Models, initial weights, gradients and optimizers. They know problems, not the engines."""
