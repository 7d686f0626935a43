"""Exact copies and near-duplicates among images."""
