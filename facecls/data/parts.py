"""The parts of a data set: who is in train, val and test, with their labels and decoded faces."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.config import DataConfig, SplitConfig
from facecls.data.folder import FaceFolder, existing_folder, part_folders
from facecls.data.split import split_classes
from facecls.data.store import MemoryStore, Store, decode, refuse_bad
from facecls.errors import DataError, ImageError
from facecls.faces.geometry import Geometry
from facecls.faces.listing import Paths, pictures_below

Progress = Callable[..., Any]  # tqdm, or what is called like it


@dataclass(frozen=True)
class Listing:
    """Some pictures and their class numbers, not yet read."""

    paths: Paths
    labels: NDArray[np.int32]  # (N,)

    def take(self, indices: NDArray[np.int64]) -> "Listing":
        return Listing(self.paths.take(indices), self.labels[indices])


@dataclass(frozen=True)
class Found:
    """What a data root holds: its classes in order, its parts, and what the user should hear about it."""

    classes: tuple[str, ...]
    parts: dict[str, Listing]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """A part with its faces decoded."""

    name: str
    listing: Listing
    faces: Store
    skipped: tuple[ImageError, ...] = ()

    def __len__(self) -> int:
        return len(self.listing.labels)


def find_parts(data: DataConfig, split: SplitConfig) -> Found:
    """Lists the pictures of `data.root` and shares them out; the class list is train's.

    Raises DataError for fewer than two classes, a class that only another part has, and all that FaceFolder refuses.
    """
    folders = part_folders(data.root)
    train = FaceFolder(folders.get("train", data.root))
    if len(train.classes) < 2:
        raise DataError(
            f"{train.root}: holds one class (`{train.classes[0]}`), a classifier needs at least two",
            hint="give every class a folder of its own",
        )
    classes = tuple(train.classes)
    notes = _passed_over(train.root, train.passed_over)
    parts = {"train": Listing(train.paths, train.labels)}
    for name in ("val", "test"):
        if name in folders:
            parts[name], said = onto_classes(folders[name], classes)
            notes += said
    if "val" not in parts:
        held_out = SplitConfig(val=split.val, test=0.0 if "test" in parts else split.test, seed=split.seed)
        chosen = split_classes(train.labels, classes, held_out, Path(train.root))
        parts |= {name: parts["train"].take(indices) for name, indices in chosen.items()}
    return Found(classes, parts, notes)


def onto_classes(folder: Path, classes: Sequence[str]) -> tuple[Listing, list[str]]:
    """Lists a folder of classes with the class numbers of `classes`, by name, and what should be said of it.

    Raises DataError for a class that `classes` lacks; a class that the folder lacks is said.
    """
    held = FaceFolder(folder)
    foreign = [name for name in held.classes if name not in classes]
    if foreign:
        raise DataError(
            *(f"{folder / name}: is a class that training does not have" for name in foreign),
            hint=f"the classes of training are {_some(classes)}",
        )
    numbers = np.array([classes.index(name) for name in held.classes], np.int32)
    notes = _passed_over(held.root, held.passed_over)
    missing = [name for name in classes if name not in held.class_to_idx]
    if missing:
        notes.append(f"{folder}: has no pictures of {_some(missing)}")
    return Listing(held.paths, numbers[held.labels]), notes


def load_part(name: str, listing: Listing, classes: Sequence[str], data: DataConfig, progress: Progress) -> Part:
    """Decodes a part's faces; what cannot be read is refused or left out as `data.on_bad_image` says.

    Raises DataError that lists every bad picture, or the classes that leaving them out has emptied.
    """
    geometry = Geometry(data.image_size, data.crop, data.fit)
    with progress(total=len(listing.labels), desc=f"reading {name}", unit="face") as bar:
        faces, bad = decode(listing.paths, geometry, bar.update)
    skipped = tuple(error for _, error in bad)
    if data.on_bad_image == "error":
        refuse_bad(skipped)
    if bad:
        kept = np.setdiff1d(np.arange(len(faces)), [index for index, _ in bad])
        had, has = set(listing.labels.tolist()), set(listing.labels[kept].tolist())
        if had != has:
            raise DataError(
                *(f"{name}: no picture of `{classes[label]}` can be read" for label in sorted(had - has)),
                hint=str(skipped[0]),
            )
        listing, faces = listing.take(kept), faces[kept]
    return Part(name, listing, MemoryStore(faces), skipped)


def loose_part(name: str, folder: Path, data: DataConfig, progress: Progress) -> Part:
    """The pictures of a folder, whatever folders they lie in, all of one class that is called `name`.

    Raises DataError where there are none, and as `load_part` does.
    """
    paths = Paths.of(existing_folder(folder), pictures_below(folder, "", Counter()))
    if len(paths) == 0:
        raise DataError(f"{folder}: holds no pictures", hint="name a folder with pictures in it, or in folders in it")
    return load_part(name, Listing(paths, np.zeros(len(paths), np.int32)), (name,), data, progress)


def _passed_over(root: str | Path, counts: Counter[str]) -> list[str]:
    if not counts:
        return []
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return [f"{root}: passed over {said}"]


def _some(names: Iterable[str], most: int = 10) -> str:
    listed = list(names)
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(f"`{name}`" for name in listed[:most]) + rest
