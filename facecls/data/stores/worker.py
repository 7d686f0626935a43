"""Faces as the workers of a torch `DataLoader` read them; light to import, because a spawned worker imports it first."""

import os
import signal
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from facecls.data.listing import Paths
from facecls.errors import ImageError
from facecls.faces.geometry import Geometry, read_face

Reason = tuple[str, str]  # a file, and why it cannot be read


class ReadFaces(Dataset[Tensor]):
    """Images by number, a batch at a time."""

    def __init__(self, paths: Paths, geometry: Geometry) -> None:
        self.paths = paths
        self.geometry = geometry

    def __getitems__(self, numbers: list[int]) -> Tensor | Reason:
        """Uint8 (B, S, S, 3), or the first image that cannot be read: DataLoader cannot pass our error on."""
        side = self.geometry.image_size
        faces = torch.empty((len(numbers), side, side, 3), dtype=torch.uint8)
        array = faces.numpy()
        for place, number in enumerate(numbers):
            try:
                array[place] = read_face(self.paths[number], self.geometry)
            except ImageError as error:
                return error.path, error.reason
        return faces


def available_cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def as_it_is(batch: Any) -> Any:
    """For a `DataLoader` that is not to collate anything."""
    return batch


def leave_interrupts_to_the_parent(_: int) -> None:
    """Ctrl-C goes to all processes of a terminal; the parent still needs its batch to end the step and save."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
