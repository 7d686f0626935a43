"""Faces by number: where a part's decoded faces lie, as uint8 (N, S, S, 3), and how batches come from there."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facecls.data.listing import Indices
from facecls.data.stores.worker import available_cores
from facecls.device import Device
from facecls.errors import DataError, ImageError
from facecls.faces.geometry import Geometry, read_face

Faces = NDArray[np.uint8]  # (N, S, S, 3)
Bad = list[tuple[int, ImageError]]  # images that cannot be read, by number
Put = Callable[[list[int], Faces], object]  # takes some faces with their numbers; called from several threads

_CHUNK = 16  # images that one thread reads before it says so
_LISTED = 20  # bad images named in an error before the rest are only counted


class Store(Protocol):
    """Faces by number; all stores give the same bits."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Indices) -> Faces:
        """Uint8 (B, S, S, 3) of the faces at `indices` (B,)."""

    def take(self, indices: Indices) -> "Store":
        """A store of the faces at `indices` only, in their order; no face is copied."""

    def batches(self, plan: Sequence[Indices], device: Device) -> Iterator[Tensor]:
        """For each of the index arrays in `plan` its faces, on the computing device: what `self[indices]` gives."""


class ArrayStore:
    """Faces in an array: one in memory, or one that the system maps from a file."""

    def __init__(self, faces: Faces, rows: Indices | None = None) -> None:
        self._faces = faces
        self._rows = np.arange(len(faces)) if rows is None else rows  # (N,), where in the array each face is

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: Indices) -> Faces:
        faces: Faces = np.take(self._faces, self._rows[indices], axis=0)
        return faces

    def take(self, indices: Indices) -> "ArrayStore":
        return ArrayStore(self._faces, self._rows[indices])

    @property
    def in_memory(self) -> bool:
        """Whether a batch takes a copy from memory and no more."""
        return not isinstance(self._faces, np.memmap)

    def batches(self, plan: Sequence[Indices], device: Device) -> Iterator[Tensor]:
        pinned = device.type == "cuda"
        for indices in plan:
            faces = torch.empty((len(indices), *self._faces.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
            # `clip`, because with `raise` numpy fills a copy first; the rows are ours and not out of range
            np.take(self._faces, self._rows[indices], axis=0, out=faces.numpy(), mode="clip")
            yield device.send(faces)


class DeviceStore:
    """Faces on the computing device, where batches are gathered without a copy from the host."""

    def __init__(self, faces: Tensor, rows: Indices | None = None) -> None:
        self._faces = faces  # uint8 (M, S, S, 3)
        self._rows = torch.arange(len(faces)) if rows is None else torch.from_numpy(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: Indices) -> Faces:
        rows = self._rows[torch.from_numpy(indices)]
        faces: Faces = self._faces[rows.to(self._faces.device)].cpu().numpy()
        return faces

    def take(self, indices: Indices) -> "DeviceStore":
        return DeviceStore(self._faces, self._rows.numpy()[indices])

    def batches(self, plan: Sequence[Indices], device: Device) -> Iterator[Tensor]:
        assert self._faces.device.type == device.type, (self._faces.device, device.torch_device)
        for indices in plan:
            rows = self._rows[torch.from_numpy(indices)]
            if device.type == "cuda":
                rows = rows.pin_memory()
            yield self._faces.index_select(0, device.send(rows))


def in_memory(paths: Sequence[str], geometry: Geometry, advance: Callable[[int], object]) -> tuple[ArrayStore, Bad]:
    """Reads all images into memory; those that cannot be read have undefined faces and stand in the list."""
    faces = np.empty((len(paths), *shape_of(geometry)), np.uint8)

    def put(numbers: list[int], some: Faces) -> None:
        faces[numbers] = some

    bad = decode(paths, geometry, range(len(paths)), put, advance)
    return ArrayStore(faces), bad


def on_device(
    paths: Sequence[str], geometry: Geometry, device: torch.device, advance: Callable[[int], object]
) -> tuple[DeviceStore, Bad]:
    """Reads all images onto a device; never more than a few of them are in the host's memory."""
    faces = torch.empty((len(paths), *shape_of(geometry)), dtype=torch.uint8, device=device)

    def put(numbers: list[int], some: Faces) -> None:
        faces[torch.tensor(numbers, device=device)] = torch.from_numpy(some).to(device)

    bad = decode(paths, geometry, range(len(paths)), put, advance)
    return DeviceStore(faces), bad


def shape_of(geometry: Geometry) -> tuple[int, int, int]:
    """(S, S, 3)."""
    return geometry.image_size, geometry.image_size, 3


def decode(paths: Sequence[str], geometry: Geometry, numbers: Sequence[int], put: Put, advance: Callable[[int], object]) -> Bad:
    """Reads the images at `numbers` in parallel, hands their faces to `put`, and says which could not be read.

    Pillow lets go of Python's lock while it decodes, so threads are enough. `advance` is told how many are done. What
    `put` raises is raised here, after the images that are being read and none of the others.
    """
    bad: Bad = []

    def read(start: int) -> int:
        chunk = numbers[start : start + _CHUNK]
        faces = np.empty((len(chunk), *shape_of(geometry)), np.uint8)
        good: list[int] = []
        for number in chunk:
            try:
                faces[len(good)] = read_face(paths[number], geometry)
            except ImageError as error:
                bad.append((number, error))
            else:
                good.append(number)
        if good:
            put(good, faces[: len(good)])
        return len(chunk)

    pool = ThreadPoolExecutor(available_cores())
    try:
        for done in pool.map(read, range(0, len(numbers), _CHUNK)):
            advance(done)
    finally:  # not `with`, which would read all the rest first when somebody presses Ctrl-C
        pool.shutdown(cancel_futures=True)
    return sorted(bad, key=lambda pair: pair[0])


def refuse_bad(bad: Sequence[ImageError]) -> None:
    """Raises one DataError that lists the images that cannot be read, if there are any."""
    if bad:
        more = [f"and {len(bad) - _LISTED} more that cannot be read"] if len(bad) > _LISTED else []
        raise DataError(
            *(str(error) for error in bad[:_LISTED]),
            *more,
            hint="mend or remove them, or train without them: --set data.on_bad_image=skip",
        )
