"""Stores of decoded images, uint8 (N, S, S, 3), in memory or on the device; parallel decoding."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facecls.data.listing import Indices
from facecls.device import Device, available_cores
from facecls.errors import ImageError
from facecls.faces.detect import DetectedFace
from facecls.faces.geometry import Geometry, read_face
from facecls.faces.photograph import cut_face

FaceArray = NDArray[np.uint8]  # (N, S, S, 3)
MainFaces = Sequence[DetectedFace | None]  # (N,), the face of each image, with a geometry that has a detection
ReadErrors = list[tuple[int, ImageError]]  # (index, error) of each unreadable image, by index
SaveFaces = Callable[[list[int], FaceArray], object]  # takes the indices and pixels of some images; called from threads

_CHUNK = 16  # images decoded per task of the thread pool


class Store(Protocol):
    """Decoded images by index; all stores return the same bits."""

    @property
    def image_size(self) -> int:
        """S, pixels."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Indices) -> FaceArray:
        """Uint8 (B, S, S, 3) of the images at `indices` (B,)."""

    def take(self, indices: Indices) -> "Store":
        """A store of the images at `indices`, in that order; no image is copied."""

    def batches(self, plan: Sequence[Indices], device: Device) -> Iterator[Tensor]:
        """`self[indices]` on the device, for each `indices` in `plan`."""


class ArrayStore:
    """Images in an array in memory, or in a memory-mapped file."""

    def __init__(self, faces: FaceArray, rows: Indices | None = None) -> None:
        self._faces = faces
        self._rows = np.arange(len(faces)) if rows is None else rows  # (N,), the row of each image in the array
        self.image_size: int = faces.shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: Indices) -> FaceArray:
        faces: FaceArray = np.take(self._faces, self._rows[indices], axis=0)
        return faces

    def take(self, indices: Indices) -> "ArrayStore":
        return ArrayStore(self._faces, self._rows[indices])

    @property
    def in_memory(self) -> bool:
        """False for a memory-mapped file, which may have to be read from disk."""
        return not isinstance(self._faces, np.memmap)

    def batches(self, plan: Sequence[Indices], device: Device) -> Iterator[Tensor]:
        pinned = device.type == "cuda"
        for indices in plan:
            faces = torch.empty((len(indices), *self._faces.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
            # `clip`: with `raise`, numpy would fill a buffer and copy it; the rows are never out of range
            np.take(self._faces, self._rows[indices], axis=0, out=faces.numpy(), mode="clip")
            yield device.send(faces)


class DeviceStore:
    """Images in the memory of the computing device: no batch is copied from the host."""

    def __init__(self, faces: Tensor, rows: Indices | None = None) -> None:
        self._faces = faces  # uint8 (M, S, S, 3)
        self._rows = torch.arange(len(faces)) if rows is None else torch.from_numpy(rows)
        self.image_size: int = faces.shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: Indices) -> FaceArray:
        rows = self._rows[torch.from_numpy(indices)]
        faces: FaceArray = self._faces[rows.to(self._faces.device)].cpu().numpy()
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


def read_into_memory(
    paths: Sequence[str], geometry: Geometry, advance: Callable[[int], object], found: MainFaces = ()
) -> tuple[ArrayStore, ReadErrors]:
    """Decodes all images into memory; the pixels of unreadable images are undefined."""
    faces = np.empty((len(paths), *face_shape(geometry)), np.uint8)

    def save(indices: list[int], some: FaceArray) -> None:
        faces[indices] = some

    errors = decode(paths, geometry, range(len(paths)), save, advance, found)
    return ArrayStore(faces), errors


def read_onto_device(
    paths: Sequence[str],
    geometry: Geometry,
    device: torch.device,
    advance: Callable[[int], object],
    found: MainFaces = (),
) -> tuple[DeviceStore, ReadErrors]:
    """Decodes all images onto a device, a few at a time; the pixels of unreadable images are undefined."""
    faces = torch.empty((len(paths), *face_shape(geometry)), dtype=torch.uint8, device=device)

    def save(indices: list[int], some: FaceArray) -> None:
        faces[torch.tensor(indices, device=device)] = torch.from_numpy(some).to(device)

    errors = decode(paths, geometry, range(len(paths)), save, advance, found)
    return DeviceStore(faces), errors


def face_shape(geometry: Geometry) -> tuple[int, int, int]:
    """(S, S, 3)."""
    return geometry.image_size, geometry.image_size, 3


def read_at(paths: Sequence[str], index: int, geometry: Geometry, found: MainFaces) -> FaceArray:
    """The face of one image, uint8 (S, S, 3). Raises ImageError if it cannot be read or no face was found in it."""
    if geometry.detection is None:
        return read_face(paths[index], geometry)
    return cut_face(paths[index], found[index], geometry)


def decode(
    paths: Sequence[str],
    geometry: Geometry,
    indices: Sequence[int],
    save: SaveFaces,
    advance: Callable[[int], object],
    found: MainFaces = (),
) -> ReadErrors:
    """Decodes the images at `indices` in parallel and passes them to `save`; returns the errors of unreadable images.

    Threads suffice, as Pillow releases the GIL while it decodes. `advance` is called with the number of images done. An
    exception of `save` or `advance` is raised here once the images in progress are decoded; the others are cancelled.
    """
    errors: ReadErrors = []

    def read(start: int) -> int:
        chunk = indices[start : start + _CHUNK]
        faces = np.empty((len(chunk), *face_shape(geometry)), np.uint8)
        readable: list[int] = []
        for index in chunk:
            try:
                faces[len(readable)] = read_at(paths, index, geometry, found)
            except ImageError as error:
                errors.append((index, error))
            else:
                readable.append(index)
        if readable:
            save(readable, faces[: len(readable)])
        return len(chunk)

    pool = ThreadPoolExecutor(available_cores())
    try:
        for done in pool.map(read, range(0, len(indices), _CHUNK)):
            advance(done)
    finally:  # not `with`, which would decode all remaining images first on Ctrl-C
        pool.shutdown(cancel_futures=True)
    return sorted(errors, key=lambda pair: pair[0])
