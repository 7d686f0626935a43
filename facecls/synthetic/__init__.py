"""Synthetic faces of random people, drawn with Pillow, to try facecls without data."""
