"""What is solved: datasets, losses, and what is known of the answer. Knows nothing of how it is solved."""
