"""The dataset of the stream store's `DataLoader` workers; imports little, as every spawned worker imports it."""

import signal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from facecls.data.listing import Indices, Paths
from facecls.data.stores.memory import MainFaces, read_at
from facecls.errors import ImageError
from facecls.faces.geometry import Geometry
from facecls.warning_filters import ignore_image_warnings

ReadFailure = tuple[str, str]  # a path, and why the file cannot be read


class FaceDataset(Dataset[Tensor]):
    """Decodes images by index, a batch at a time."""

    def __init__(self, paths: Paths, geometry: Geometry, found: MainFaces = ()) -> None:
        self.paths = paths
        self.geometry = geometry
        self.found = found

    def __getitems__(self, indices: Indices) -> Tensor | ReadFailure:
        """Uint8 (B, S, S, 3), or the first unreadable image: DataLoader cannot re-raise an ImageError."""
        side = self.geometry.image_size
        faces = torch.empty((len(indices), side, side, 3), dtype=torch.uint8)
        array = faces.numpy()
        for position, index in enumerate(indices.tolist()):
            try:
                array[position] = read_at(self.paths, index, self.geometry, self.found)
            except ImageError as error:
                return error.path, error.reason
        return faces


def configure_worker(_: int) -> None:
    """A `worker_init_fn`: on Ctrl-C, which reaches all processes, the parent still needs batches to finish and save."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ignore_image_warnings()
