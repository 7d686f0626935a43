"""Reads a part's pictures into a store."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from facecls.config.schema import DataConfig
from facecls.data.dataset import Listing
from facecls.data.listing import Paths, existing_folder, pictures_below
from facecls.data.stores.choose import Kind, measure_room, pick_store, refuse_too_large
from facecls.data.stores.disk import on_disk
from facecls.data.stores.memory import Bad, Store, in_memory, on_device, refuse_bad, shape_of
from facecls.data.stores.stream import streamed
from facecls.errors import DataError, ImageError
from facecls.faces.geometry import Geometry
from facecls.progress import ProgressBar


@dataclass(frozen=True)
class Part:
    """A part with its faces at hand."""

    name: str
    listing: Listing
    faces: Store
    skipped: tuple[ImageError, ...] = ()
    skipped_classes: tuple[str, ...] = ()  # of each of `skipped`
    notes: tuple[str, ...] = ()  # what the user should hear about it

    def __len__(self) -> int:
        return len(self.listing.labels)


def load_part(
    name: str,
    listing: Listing,
    classes: Sequence[str],
    data: DataConfig,
    progress: ProgressBar,
    device: torch.device,
) -> Part:
    """Has a part's faces read into the store that `data.store` names; `device` is where they will be computed with.

    What cannot be read is refused or left out as `data.on_bad_image` says. Raises DataError that lists every bad picture,
    or the classes that leaving them out has emptied: of `train` any, of another part all.
    """
    geometry = Geometry(data.image_size, data.crop, data.fit)
    kind, notes = _choose_store(name, len(listing.labels), geometry, data, device)
    with progress(total=len(listing.labels), desc=f"reading {name}", unit="face") as bar:
        faces: Store
        bad: Bad
        if kind == "memory":
            faces, bad = in_memory(listing.paths, geometry, bar.update)
        elif kind == "device":
            faces, bad = on_device(listing.paths, geometry, device, bar.update)
        elif kind == "disk":
            faces, bad = on_disk(listing.paths, geometry, data.root, data.cache_dir, bar.update)
        else:
            faces, bad = streamed(listing.paths, geometry, data.root, data.cache_dir, bar.update)
    skipped = tuple(error for _, error in bad)
    without = tuple(classes[listing.labels[index]] for index, _ in bad)
    if data.on_bad_image == "error":
        refuse_bad(skipped)
    if bad:
        kept = np.setdiff1d(np.arange(len(faces)), [index for index, _ in bad])
        has = set(listing.labels[kept].tolist())
        lost = sorted(set(listing.labels.tolist()) - has)
        unread = tuple(f"{name}: no picture of `{classes[label]}` can be read" for label in lost)
        if unread and (name == "train" or not has):
            raise DataError(*unread, hint=str(skipped[0]))
        notes += unread
        listing, faces = listing.take(kept), faces.take(kept)
    return Part(name, listing, faces, skipped, without, notes)


def _choose_store(
    name: str, count: int, geometry: Geometry, data: DataConfig, device: torch.device
) -> tuple[Kind, tuple[str, ...]]:
    needed = count * float(np.prod(shape_of(geometry)))
    room = measure_room(data.cache_dir, device)
    if data.store != "auto":
        refuse_too_large(data.store, needed, room)
        return data.store, ()
    kind, why = pick_store(needed, room)
    return kind, (f"{name}: store `{kind}`: {why}",)


def loose_part(name: str, folder: Path, data: DataConfig, progress: ProgressBar, device: torch.device) -> Part:
    """The pictures of a folder, whatever folders they lie in, all of one class that is called `name`.

    Raises DataError where there are none, and as `load_part` does.
    """
    hint = "name a folder with pictures in it, or in folders in it"
    paths = Paths.of(existing_folder(folder, f"{name}: {hint}"), pictures_below(folder, "", Counter()))
    if len(paths) == 0:
        raise DataError(f"{folder}: holds no pictures", hint=hint)
    return load_part(name, Listing(paths, np.zeros(len(paths), np.int32)), (name,), data, progress, device)
