"""Decide what pictures show, and draw them."""
