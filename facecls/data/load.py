"""Reads the images of a split into a store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from facecls.config.schema import DataConfig
from facecls.data.detections import detect_all
from facecls.data.listing import ImageList, Paths, images_below, require_folder
from facecls.data.stores.choose import StoreKind, choose_store, measure_available, require_space
from facecls.data.stores.disk import read_through_cache
from facecls.data.stores.memory import MainFaces, ReadErrors, Store, face_shape, read_into_memory, read_onto_device
from facecls.data.stores.stream import open_stream
from facecls.errors import DataError, ImageError, NoFaceError
from facecls.faces.detect import DetectorOptions
from facecls.faces.geometry import Detection, Geometry
from facecls.progress import ProgressBar
from facecls.text import plural

_NO_FACE_HINT = (
    "leave them out with `--set data.on_no_face=skip`, or use them as a whole with `whole`; "
    "`facecls check` shows which they are"
)
_LISTED = 20  # unreadable images listed in an error; the others are only counted


@dataclass(frozen=True)
class LoadedSplit:
    """A split with its images in a store."""

    name: str
    image_list: ImageList
    faces: Store
    skipped: tuple[ImageError, ...] = ()  # images that cannot be read or show no face
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

    With `data.on_bad_image: error` raises DataError that lists the unreadable images of all splits, with `data.on_no_face:
    error` those without a face. With `skip` they are left out; raises DataError if no image of a class of `train`, or no image
    of another split, remains. Raises InstallError and ModelError as `build_detector` does.
    """
    read = [_read(name, image_list, data, progress_bar, device) for name, image_list in image_lists.items()]
    errors = [error for each in read for _, error in each.errors]
    hints, problems = [], []
    for kind, choice, hint in (
        (False, data.on_bad_image, "repair or remove them, or skip them with `--set data.on_bad_image=skip`"),
        (True, data.on_no_face, _NO_FACE_HINT),
    ):
        listed = [str(error) for error in errors if isinstance(error, NoFaceError) == kind]
        if listed and choice == "error":
            left = len(listed) - _LISTED
            what = "more image without a face" if kind else "more unreadable image"
            problems += [*listed[:_LISTED], *([f"and {plural(left, what)}"] if left > 0 else [])]
            hints.append(hint)
    if problems:
        raise DataError(*problems, hint="\n".join(hints))
    return [
        _without_unreadable(name, image_list, classes, each)
        for (name, image_list), each in zip(image_lists.items(), read, strict=True)
    ]


def geometry_of(data: DataConfig) -> Geometry:
    """How an image becomes a face of `data.image_size` pixels."""
    detection = None
    if data.faces == "detect":
        weights = None if data.detector_weights is None else str(data.detector_weights)
        options = DetectorOptions(data.min_score, data.detect_sizes, weights=weights)
        detection = Detection(data.detector, options, data.margin, whole_if_none=data.on_no_face == "whole")
    return Geometry(data.image_size, data.crop, data.fit, detection)


@dataclass(frozen=True)
class _ReadSplit:
    """The store of a split's images, those that cannot be read, and notes for the user."""

    faces: Store
    errors: ReadErrors
    notes: tuple[str, ...]


def _read(name: str, image_list: ImageList, data: DataConfig, progress_bar: ProgressBar, device: torch.device) -> _ReadSplit:
    geometry, paths = geometry_of(data), image_list.paths
    kind, notes = store_of(name, len(image_list), data, device)
    found: MainFaces = ()
    if geometry.detection is not None:
        detections = detect_all(paths, geometry.detection, progress_bar, f"finding faces in {name}", data.cache_dir)
        found = detections.main_faces()
        notes = (*notes, detections.coverage(name))
    with progress_bar(total=len(image_list), desc=f"reading {name}", unit="image") as bar:
        faces: Store
        errors: ReadErrors
        if kind == "memory":
            faces, errors = read_into_memory(paths, geometry, bar.update, found)
        elif kind == "device":
            faces, errors = read_onto_device(paths, geometry, device, bar.update, found)
        elif kind == "disk":
            faces, errors = read_through_cache(paths, geometry, data.root, data.cache_dir, bar.update, found)
        else:
            faces, errors = open_stream(paths, geometry, data.root, data.cache_dir, bar.update, found)
    return _ReadSplit(faces, errors, notes)


def _without_unreadable(name: str, image_list: ImageList, classes: Sequence[str], read: _ReadSplit) -> LoadedSplit:
    faces, errors = read.faces, read.errors
    if not errors:
        return LoadedSplit(name, image_list, faces, notes=read.notes)
    skipped = tuple(error for _, error in errors)
    skipped_classes = tuple(classes[image_list.labels[index]] for index, _ in errors)
    kept = np.setdiff1d(np.arange(len(faces)), [index for index, _ in errors])
    present = set(image_list.labels[kept].tolist())
    lost = sorted(set(image_list.labels.tolist()) - present)
    what = "shows a face" if any(isinstance(error, NoFaceError) for error in skipped) else "can be read"
    problems = tuple(f"{name}: no image of `{classes[label]}` {what}" for label in lost)
    if problems and (name == "train" or not present):
        raise DataError(*problems, hint=str(skipped[0]))
    return LoadedSplit(
        name,
        image_list.take(kept),
        faces.take(kept),
        skipped,
        skipped_classes,
        read.notes + problems,
    )


def store_of(name: str, count: int, data: DataConfig, device: torch.device) -> tuple[StoreKind, tuple[str, ...]]:
    """The store of a split of `count` images, and notes for the user; raises DataError if `data.store` is too small."""
    needed = count * float(np.prod(face_shape(geometry_of(data))))
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
