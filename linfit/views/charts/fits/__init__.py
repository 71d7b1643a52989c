"""The pictures of a fit."""
