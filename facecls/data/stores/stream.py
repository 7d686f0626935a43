"""Faces that fit nowhere: decoded anew each time they are asked for, by processes that read ahead."""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from facecls.data.fingerprints import find, fingerprints_of, folder_for, read_fingerprints, write_fingerprints
from facecls.data.listing import Indices, Paths
from facecls.data.stores.memory import Bad, Faces, decode
from facecls.data.stores.worker import ReadFaces, Reason, as_it_is, available_cores, leave_interrupts_to_the_parent
from facecls.device import Device
from facecls.errors import DataError, FaceclsError, ImageError
from facecls.faces.geometry import Geometry


class StreamStore:
    """Faces decoded by the workers of a torch `DataLoader`, which live as long as the store and read in the plan's order.

    workers: processes that decode; None for one on each core.
    start_method: `fork`, `spawn` or `forkserver`; None for the system's own.
    """

    def __init__(self, paths: Paths, geometry: Geometry, workers: int | None = None, start_method: str | None = None) -> None:
        self._dataset = ReadFaces(paths, geometry)
        self._workers = workers or available_cores()
        self._start_method = start_method
        self._plan = _Plan()
        self._loader: DataLoader[Any] | None = None

    def __len__(self) -> int:
        return len(self._dataset.paths)

    def __getitem__(self, indices: Indices) -> Faces:
        """Raises ImageError where a file, readable when training began, is so no longer."""
        return _whole(self._dataset.__getitems__(indices.tolist())).numpy()

    def take(self, indices: Indices) -> "StreamStore":
        paths = self._dataset.paths.take(indices)
        return StreamStore(paths, self._dataset.geometry, self._workers, self._start_method)

    def batches(self, plan: Sequence[Indices], device: Device) -> Iterator[Tensor]:
        """One plan after the other: a second call ends what the first has begun.

        Raises ImageError where a file, readable when training began, is so no longer.
        """
        if self._loader is None:
            self._loader = DataLoader(
                self._dataset,
                batch_sampler=self._plan,
                num_workers=self._workers,
                collate_fn=as_it_is,
                pin_memory=device.type == "cuda",
                worker_init_fn=leave_interrupts_to_the_parent,
                multiprocessing_context=multiprocessing.get_context(self._start_method),
                persistent_workers=True,
                generator=torch.Generator(),  # the loader draws a seed for its workers, not from our chance
            )
        self._plan.batches = plan
        read = iter(self._loader)  # here, not in the generator: processes are started by the thread that lasts
        return (device.send(_whole(answer)) for answer in read)


class _Plan(Sampler[list[int]]):
    """The batches that are to be read next."""

    def __init__(self) -> None:
        self.batches: Sequence[Indices] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (indices.tolist() for indices in self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _whole(answer: Tensor | Reason) -> Tensor:
    if isinstance(answer, Tensor):
        return answer
    path, reason = answer
    raise ImageError(path, f"{reason}; it could be read when this began", hint="put it back as it was, and go on with --resume")


def streamed(
    paths: Paths, geometry: Geometry, root: Path, cache_dir: Path | None, advance: Callable[[int], object]
) -> tuple[StreamStore, Bad]:
    """A stream of all images, each of which has been read once before, so that training meets no bad one hours later.

    Which ones could be read is kept in the cache, where that can be written, and they are not tried again until they change.
    """
    wanted = fingerprints_of(paths)
    kept = None
    with contextlib.suppress(DataError):
        kept = folder_for(cache_dir, root, geometry) / "readable"
    held = read_fingerprints(kept) if kept is not None else wanted[:0]
    unknown = np.flatnonzero(find(wanted, held) < 0)
    advance(len(paths) - len(unknown))
    bad = decode(paths, geometry, unknown.tolist(), lambda *_: None, advance)
    readable = np.setdiff1d(unknown, [number for number, _ in bad])
    if kept is not None and len(readable):
        with contextlib.suppress(FaceclsError):  # it costs the next run a second look, no more
            write_fingerprints(kept, np.concatenate([held, wanted[readable]]))
    return StreamStore(paths, geometry), bad
