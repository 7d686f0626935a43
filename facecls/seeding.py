"""Chance that follows from numbers: every random draw is a function of (seed, epoch, step), never of hidden state.

Nothing has to be saved for a run to go on exactly: whoever knows the three numbers draws the same again.
"""

import hashlib

import torch


def seed_of(*numbers: int | str) -> int:
    """A well-mixed 63-bit seed for a tuple of numbers and names, the same on every machine and in every version."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*numbers: int | str) -> torch.Generator:
    """A CPU generator for the draw that these numbers name; draw on the CPU so that every device sees the same."""
    return torch.Generator().manual_seed(seed_of(*numbers))


def seed_everything(*numbers: int | str) -> None:
    """Sets torch's global generators (dropout draws from them) to the draw that these numbers name."""
    torch.manual_seed(seed_of(*numbers))
