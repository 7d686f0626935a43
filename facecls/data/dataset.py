"""The parts of a data set: who is in train, val and test, with their labels and faces."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facecls.config.schema import DataConfig, SplitConfig
from facecls.data.groups import group_numbers
from facecls.data.listing import Paths, split_folders
from facecls.data.split import split_images
from facecls.data.split_file import GONE, read_split_file
from facecls.errors import DataError
from facecls.progress import ProgressBar, no_progress


@dataclass(frozen=True)
class ImageList:
    """Some images and their class numbers, not yet read."""

    paths: Paths
    labels: NDArray[np.int32]  # (N,)

    def take(self, indices: NDArray[np.int64]) -> "ImageList":
        return ImageList(self.paths.take(indices), self.labels[indices])


@dataclass(frozen=True)
class DatasetIndex:
    """What a data root holds: its classes in order, its parts, and what the user should hear about it."""

    classes: tuple[str, ...]
    splits: dict[str, ImageList]
    notes: list[str] = field(default_factory=list)


def index_dataset(
    data: DataConfig, split: SplitConfig, progress: ProgressBar = no_progress, *, whole: bool = False
) -> DatasetIndex:
    """Lists the images of `data.root` and shares them out; the class list is train's.

    With `whole` no image of a split file may be gone, as for a run that goes on; else `data.on_bad_image` says that.
    Raises DataError for fewer than two classes, a class that only another part has, a split that cannot be, and all that
    FaceFolder and `read_manifest` refuse.
    """
    if data.split_file is not None:
        gone = "a run goes on with the images that it began with" if whole else GONE
        skipping = data.on_bad_image == "skip" and not whole
        classes, images = read_split_file(data.split_file, data.root, gone=None if skipping else gone)
        splits = {split_name: ImageList(*some) for split_name, some in images.items()}
        notes: list[str] = []
    else:
        from facecls.data.folder import FaceFolder  # brings torchvision, more than a second

        folders = split_folders(data.root)
        train = FaceFolder(folders.get("train", data.root))
        classes = tuple(train.classes)
        splits = {"train": ImageList(train.paths, train.labels)}
        notes = _passed_over(train.root, train.passed_over)
    require_two(classes, data.split_file or data.root)
    if data.split_file is None:
        _refuse_two_splits(folders, split, data.root)
        for name in ("val", "test"):
            if name in folders:
                splits[name], said = map_to_classes(folders[name], classes)
                notes += said
        if "val" not in splits or split.test > 0 or split.by_name:
            splits, said = _split(splits, classes, data, split, progress)
            notes += said
    return DatasetIndex(classes, splits, notes)


def _split(
    given: dict[str, ImageList], classes: tuple[str, ...], data: DataConfig, split: SplitConfig, progress: ProgressBar
) -> tuple[dict[str, ImageList], list[str]]:
    """Shares `train` out to the parts that are not given, and says what the user should hear about it."""
    train = given["train"]
    if "val" not in given and split.val == 0 and split.folds is None and "val" not in split.by_name:
        raise DataError(
            "split.val: is 0, which leaves nothing to choose the best epoch by", hint="hold some out: split.val=0.2"
        )
    if "val" in given:
        split = split.model_copy(update={"val": 0.0})
    groups = group_numbers(train.paths, data, split, progress)
    where = Path(train.paths.root)
    chosen = split_images(train.paths, train.labels, groups, classes, split, where)
    splits = given | {name: train.take(indices) for name, indices in chosen.items()}
    notes = []
    _, sizes = np.unique(groups, return_counts=True)
    if (sizes > 1).any():
        count_images = int((sizes > 1).sum())
        together = f"{count_images} groups" if count_images > 1 else "one group"
        notes.append(f"{where}: {sizes[sizes > 1].sum()} images stay together in {together} ({split.group})")
    for name in chosen:
        missing = np.flatnonzero(np.bincount(splits[name].labels, minlength=len(classes)) == 0)
        if len(missing):
            notes.append(f"{name}: has no images of {_some(classes[number] for number in missing)}")
    return splits, notes


def map_to_classes(folder: Path, classes: Sequence[str]) -> tuple[ImageList, list[str]]:
    """Lists a folder of classes with the class numbers of `classes`, by name, and what should be said of it.

    Raises DataError for a class that `classes` lacks; a class that the folder lacks is said.
    """
    from facecls.data.folder import FaceFolder

    held = FaceFolder(folder)
    known = {name: number for number, name in enumerate(classes)}
    foreign = [name for name in held.classes if name not in known]
    if foreign:
        raise DataError(
            *(f"{folder / name}: is a class that training does not have" for name in foreign),
            hint=f"the classes of training are {_some(classes)}",
        )
    numbers = np.array([known[name] for name in held.classes], np.int32)
    notes = _passed_over(held.root, held.passed_over)
    missing = [name for name in classes if name not in held.class_to_idx]
    if missing:
        notes.append(f"{folder}: has no images of {_some(missing)}")
    return ImageList(held.paths, numbers[held.labels]), notes


def require_two(classes: Sequence[str], where: Path) -> None:
    """Raises DataError for the one class of a folder or a split file."""
    if len(classes) < 2:
        raise DataError(
            f"{where}: holds one class (`{classes[0]}`), a classifier needs at least two",
            hint="give every class a folder of its own",
        )


def _refuse_two_splits(folders: dict[str, Path], split: SplitConfig, root: Path) -> None:
    """Raises DataError where folders and the config both say what a part is."""
    asked = {
        **{f"by_name.{split_name}": split_name for split_name in split.by_name},
        **({"folds": "val"} if split.folds is not None else {}),
        **({"test": "test"} if split.test > 0 else {}),
    }
    twice = [
        f"split.{key}: {folders[split_name]} is {split_name} already"
        for key, split_name in asked.items()
        if split_name in folders
    ]
    if twice:
        raise DataError(*twice, hint=f"leave the key out, or set data.root to {root / 'train'}")


def _passed_over(root: str | Path, counts: Counter[str]) -> list[str]:
    if not counts:
        return []
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return [f"{root}: passed over {said}"]


def _some(names: Iterable[str], most: int = 10) -> str:
    listed = list(names)
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(f"`{name}`" for name in listed[:most]) + rest
