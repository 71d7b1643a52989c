"""Define what is solved: datasets, losses, and the exactly known answer.

Nothing in here knows how it is solved.
"""
