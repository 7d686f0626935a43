"""Stores of decoded images: in memory, on the device, in a disk cache, or decoded on each access."""
