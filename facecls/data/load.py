"""Reads the images of a split into a store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from facecls.config.schema import DataConfig
from facecls.data.listing import ImageList, Paths, images_below, require_folder
from facecls.data.stores.choose import StoreKind, choose_store, measure_available, require_space
from facecls.data.stores.disk import read_through_cache
from facecls.data.stores.memory import ReadErrors, Store, face_shape, read_into_memory, read_onto_device
from facecls.data.stores.stream import open_stream
from facecls.errors import DataError, ImageError
from facecls.faces.geometry import Geometry
from facecls.progress import ProgressBar
from facecls.text import plural

_LISTED = 20  # unreadable images listed in an error; the others are only counted


@dataclass(frozen=True)
class LoadedSplit:
    """A split with its images in a store."""

    name: str
    image_list: ImageList
    faces: Store
    skipped: tuple[ImageError, ...] = ()  # unreadable images
    skipped_classes: tuple[str, ...] = ()  # the class of each of `skipped`
    notes: tuple[str, ...] = ()  # for the user

    def __len__(self) -> int:
        return len(self.image_list)


def load_split(
    name: str,
    image_list: ImageList,
    classes: Sequence[str],
    data: DataConfig,
    progress_bar: ProgressBar,
    device: torch.device,
) -> LoadedSplit:
    """Reads the images of one split, as `load_splits` does."""
    return load_splits({name: image_list}, classes, data, progress_bar, device)[0]


def load_splits(
    image_lists: Mapping[str, ImageList],
    classes: Sequence[str],
    data: DataConfig,
    progress_bar: ProgressBar,
    device: torch.device,
) -> list[LoadedSplit]:
    """Reads the images of splits into the store `data.store`; `device` is the computing device.

    With `data.on_bad_image: error` raises DataError that lists the unreadable images of all splits. With `skip` they are left
    out; raises DataError if no image of a class of `train`, or no image of another split, can be read.
    """
    read = [_read(name, image_list, data, progress_bar, device) for name, image_list in image_lists.items()]
    unreadable = [str(error) for _, errors, _ in read for _, error in errors]
    if unreadable and data.on_bad_image == "error":
        left = len(unreadable) - _LISTED
        more = [f"and {plural(left, 'more unreadable image')}"] if left > 0 else []
        raise DataError(
            *unreadable[:_LISTED], *more, hint="repair or remove them, or skip them with `--set data.on_bad_image=skip`"
        )
    return [
        _without_unreadable(name, image_list, classes, *each)
        for (name, image_list), each in zip(image_lists.items(), read, strict=True)
    ]


def _read(
    name: str, image_list: ImageList, data: DataConfig, progress_bar: ProgressBar, device: torch.device
) -> tuple[Store, ReadErrors, tuple[str, ...]]:
    """The store of the images, with those that cannot be read, and notes for the user."""
    geometry = Geometry(data.image_size, data.crop, data.fit)
    kind, notes = store_of(name, len(image_list), data, device)
    with progress_bar(total=len(image_list), desc=f"reading {name}", unit="image") as bar:
        faces: Store
        errors: ReadErrors
        if kind == "memory":
            faces, errors = read_into_memory(image_list.paths, geometry, bar.update)
        elif kind == "device":
            faces, errors = read_onto_device(image_list.paths, geometry, device, bar.update)
        elif kind == "disk":
            faces, errors = read_through_cache(image_list.paths, geometry, data.root, data.cache_dir, bar.update)
        else:
            faces, errors = open_stream(image_list.paths, geometry, data.root, data.cache_dir, bar.update)
    return faces, errors, notes


def _without_unreadable(
    name: str, image_list: ImageList, classes: Sequence[str], faces: Store, errors: ReadErrors, notes: tuple[str, ...]
) -> LoadedSplit:
    if not errors:
        return LoadedSplit(name, image_list, faces, notes=notes)
    skipped = tuple(error for _, error in errors)
    skipped_classes = tuple(classes[image_list.labels[index]] for index, _ in errors)
    kept = np.setdiff1d(np.arange(len(faces)), [index for index, _ in errors])
    present = set(image_list.labels[kept].tolist())
    lost = sorted(set(image_list.labels.tolist()) - present)
    problems = tuple(f"{name}: no image of `{classes[label]}` can be read" for label in lost)
    if problems and (name == "train" or not present):
        raise DataError(*problems, hint=str(skipped[0]))
    return LoadedSplit(name, image_list.take(kept), faces.take(kept), skipped, skipped_classes, notes + problems)


def store_of(name: str, count: int, data: DataConfig, device: torch.device) -> tuple[StoreKind, tuple[str, ...]]:
    """The store of a split of `count` images, and notes for the user; raises DataError if `data.store` is too small."""
    needed = count * float(np.prod(face_shape(Geometry(data.image_size, data.crop, data.fit))))
    available = measure_available(data.cache_dir, device)
    if data.store != "auto":
        require_space(data.store, needed, available)
        return data.store, ()
    kind, reason = choose_store(needed, available)
    return kind, (f"{name}: store `{kind}`: {reason}",)


def load_unlabelled(name: str, folder: Path, data: DataConfig, progress_bar: ProgressBar, device: torch.device) -> LoadedSplit:
    """Reads all images of a folder and its subfolders as one class called `name`.

    Raises DataError if there are none, and as `load_split` does.
    """
    hint = "name a folder that contains images, directly or in subfolders"
    paths = Paths.of(require_folder(folder, f"{name}: {hint}"), images_below(folder, "", Counter()))
    if len(paths) == 0:
        raise DataError(f"{folder}: contains no images", hint=hint)
    return load_split(name, ImageList(paths, np.zeros(len(paths), np.int32)), (name,), data, progress_bar, device)
