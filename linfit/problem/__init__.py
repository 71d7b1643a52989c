"""What is solved: datasets, losses, and what is known of the answer.

It knows nothing of how it is solved.
"""
