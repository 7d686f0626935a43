"""Pixels: from a file to a square of RGB."""
