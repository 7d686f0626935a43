"""Seeds for random draws: each draw is a function of (seed, epoch, step) and its name, never of hidden state.

A resumed run repeats the draws of an uninterrupted one, and no generator state has to be saved.
"""

import hashlib

import torch


def seed_of(*numbers: int | str) -> int:
    """A 63-bit seed hashed from numbers and names, the same on every machine and in every version."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*numbers: int | str) -> torch.Generator:
    """A CPU generator with that seed: draws on the CPU are the same for every device."""
    return torch.Generator().manual_seed(seed_of(*numbers))


def seed_everything(*numbers: int | str) -> None:
    """Seeds torch's global generators, from which dropout draws."""
    torch.manual_seed(seed_of(*numbers))
