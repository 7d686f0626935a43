"""The stream store: decodes images on each access, ahead of time in worker processes, for data larger than memory and disk."""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_convert

from facecls.data.fingerprints import (
    decoded_cache_folder,
    find_fingerprints,
    fingerprint_files,
    read_fingerprints,
    write_fingerprints,
)
from facecls.data.listing import Indices, Paths
from facecls.data.stores.memory import FaceArray, MainFaces, ReadErrors, decode
from facecls.data.stores.worker import FaceDataset, ReadFailure, configure_worker
from facecls.device import Device, available_cores
from facecls.errors import DataError, FaceclsError, ImageError
from facecls.faces.geometry import Geometry


class StreamStore:
    """Images decoded by a torch `DataLoader` whose workers live as long as the store.

    workers: number of processes; None for one per core.
    start_method: `fork`, `spawn` or `forkserver`; None for the default of the platform.
    """

    def __init__(
        self,
        paths: Paths,
        geometry: Geometry,
        workers: int | None = None,
        start_method: str | None = None,
        found: MainFaces = (),
    ) -> None:
        self._dataset = FaceDataset(paths, geometry, found)
        self._workers = workers or available_cores()
        self._start_method = start_method
        self.image_size = geometry.image_size
        self._plan: list[Any] = []  # the indices (B,) of the batches to read next
        self._loader: DataLoader[Any] | None = None

    def __len__(self) -> int:
        return len(self._dataset.paths)

    def __getitem__(self, indices: Indices) -> FaceArray:
        """Raises ImageError if a file can no longer be read."""
        return _require_faces(self._dataset.__getitems__(indices)).numpy()

    def take(self, indices: Indices) -> "StreamStore":
        paths, found = self._dataset.paths.take(indices), self._dataset.found
        taken = [found[index] for index in indices.tolist()] if found else ()
        return StreamStore(paths, self._dataset.geometry, self._workers, self._start_method, taken)

    def batches(self, plan: Sequence[Indices], device: Device) -> Iterator[Tensor]:
        """As `Store.batches`; only one plan at a time: a second call ends the first.

        Raises ImageError if a file can no longer be read.
        """
        if self._loader is None:
            self._loader = DataLoader(
                self._dataset,
                batch_sampler=self._plan,
                num_workers=self._workers,
                collate_fn=default_convert,  # a batch is a tensor already
                pin_memory=device.type == "cuda",
                worker_init_fn=configure_worker,
                multiprocessing_context=multiprocessing.get_context(self._start_method),
                persistent_workers=True,
                generator=torch.Generator(),  # the loader seeds its workers from it, instead of the global generator
            )
        self._plan[:] = plan
        # Started here, not in the generator, which may run in a prefetch thread that ends before the workers do.
        loaded = iter(self._loader)
        return (device.send(_require_faces(batch)) for batch in loaded)


def _require_faces(batch: Tensor | ReadFailure) -> Tensor:
    if isinstance(batch, Tensor):
        return batch
    path, reason = batch
    raise ImageError(path, f"{reason}; it was readable at the start", hint="restore the file and continue with `--resume`")


def open_stream(
    paths: Paths,
    geometry: Geometry,
    root: Path,
    cache_dir: Path | None,
    advance: Callable[[int], object],
    found: MainFaces = (),
) -> tuple[StreamStore, ReadErrors]:
    """A stream of all images; each is decoded once beforehand, so that unreadable images are reported at the start.

    The fingerprints of readable images are kept in the cache folder, if it can be written; these images are not decoded
    again until they change. `advance` is called with the number of images checked.
    """
    wanted = fingerprint_files(paths)
    file = None
    with contextlib.suppress(DataError):
        file = decoded_cache_folder(cache_dir, root, geometry) / "readable"
    held = read_fingerprints(file) if file is not None else wanted[:0]
    unknown = np.flatnonzero(find_fingerprints(wanted, held) < 0)
    advance(len(paths) - len(unknown))
    errors = decode(paths, geometry, unknown.tolist(), lambda *_: None, advance, found)
    readable = np.setdiff1d(unknown, [index for index, _ in errors])
    if file is not None and len(readable):
        with contextlib.suppress(FaceclsError):  # the next run then decodes them again
            write_fingerprints(file, np.concatenate([held, wanted[readable]]))
    return StreamStore(paths, geometry, found=found), errors
