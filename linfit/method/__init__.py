"""How it is solved: models, initial weights, gradients, optimizers. Knows problems, not the engines that run it."""
