"""Reads a part's images into a store."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from facecls.config.schema import DataConfig
from facecls.data.dataset import ImageList
from facecls.data.listing import Paths, existing_folder, images_below
from facecls.data.stores.choose import Kind, choose_store, measure_available, refuse_too_large
from facecls.data.stores.disk import on_disk
from facecls.data.stores.memory import Bad, Store, in_memory, on_device, refuse_bad, shape_of
from facecls.data.stores.stream import streamed
from facecls.errors import DataError, ImageError
from facecls.faces.geometry import Geometry
from facecls.progress import ProgressBar


@dataclass(frozen=True)
class LoadedSplit:
    """A part with its faces at hand."""

    name: str
    image_list: ImageList
    faces: Store
    skipped: tuple[ImageError, ...] = ()
    skipped_classes: tuple[str, ...] = ()  # of each of `skipped`
    notes: tuple[str, ...] = ()  # what the user should hear about it

    def __len__(self) -> int:
        return len(self.image_list.labels)


def load_split(
    name: str,
    image_list: ImageList,
    classes: Sequence[str],
    data: DataConfig,
    progress: ProgressBar,
    device: torch.device,
) -> LoadedSplit:
    """Has a part's faces read into the store that `data.store` names; `device` is where they will be computed with.

    What cannot be read is refused or left out as `data.on_bad_image` says. Raises DataError that lists every bad image,
    or the classes that leaving them out has emptied: of `train` any, of another part all.
    """
    geometry = Geometry(data.image_size, data.crop, data.fit)
    kind, notes = _choose_store(name, len(image_list.labels), geometry, data, device)
    with progress(total=len(image_list.labels), desc=f"reading {name}", unit="face") as bar:
        faces: Store
        bad: Bad
        if kind == "memory":
            faces, bad = in_memory(image_list.paths, geometry, bar.update)
        elif kind == "device":
            faces, bad = on_device(image_list.paths, geometry, device, bar.update)
        elif kind == "disk":
            faces, bad = on_disk(image_list.paths, geometry, data.root, data.cache_dir, bar.update)
        else:
            faces, bad = streamed(image_list.paths, geometry, data.root, data.cache_dir, bar.update)
    skipped = tuple(error for _, error in bad)
    without = tuple(classes[image_list.labels[index]] for index, _ in bad)
    if data.on_bad_image == "error":
        refuse_bad(skipped)
    if bad:
        kept = np.setdiff1d(np.arange(len(faces)), [index for index, _ in bad])
        has = set(image_list.labels[kept].tolist())
        lost = sorted(set(image_list.labels.tolist()) - has)
        unread = tuple(f"{name}: no image of `{classes[label]}` can be read" for label in lost)
        if unread and (name == "train" or not has):
            raise DataError(*unread, hint=str(skipped[0]))
        notes += unread
        image_list, faces = image_list.take(kept), faces.take(kept)
    return LoadedSplit(name, image_list, faces, skipped, without, notes)


def _choose_store(
    name: str, count: int, geometry: Geometry, data: DataConfig, device: torch.device
) -> tuple[Kind, tuple[str, ...]]:
    needed = count * float(np.prod(shape_of(geometry)))
    available = measure_available(data.cache_dir, device)
    if data.store != "auto":
        refuse_too_large(data.store, needed, available)
        return data.store, ()
    kind, why = choose_store(needed, available)
    return kind, (f"{name}: store `{kind}`: {why}",)


def load_unlabelled(name: str, folder: Path, data: DataConfig, progress: ProgressBar, device: torch.device) -> LoadedSplit:
    """The images of a folder, whatever folders they lie in, all of one class that is called `name`.

    Raises DataError where there are none, and as `load_part` does.
    """
    hint = "name a folder with images in it, or in folders in it"
    paths = Paths.of(existing_folder(folder, f"{name}: {hint}"), images_below(folder, "", Counter()))
    if len(paths) == 0:
        raise DataError(f"{folder}: holds no images", hint=hint)
    return load_split(name, ImageList(paths, np.zeros(len(paths), np.int32)), (name,), data, progress, device)
