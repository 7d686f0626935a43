"""Decoded faces by number: in memory, on disk, or decoded as they are asked for."""
