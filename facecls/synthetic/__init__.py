"""Synthetic faces: invented people, drawn with Pillow."""
