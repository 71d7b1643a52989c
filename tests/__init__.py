"""The tests, in the order of the house.

helpers.py holds the tables that the generic ones iterate over.
"""
