"""Which image is in which split: from split folders, a split file, or a split of one folder."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facecls.config.schema import DataConfig, SplitConfig
from facecls.data.groups import group_numbers
from facecls.data.label_file import read_label_file
from facecls.data.listing import ImageList, Indices, split_folders
from facecls.data.split import split_images
from facecls.data.split_file import MISSING_HINT, read_split_file
from facecls.errors import DataError
from facecls.progress import ProgressBar, no_progress
from facecls.text import name_list, plural


@dataclass(frozen=True)
class DatasetIndex:
    """The classes of a data root in order, the images of its splits, and notes for the user."""

    classes: tuple[str, ...]
    splits: dict[str, ImageList]
    notes: list[str] = field(default_factory=list)


def index_dataset(
    data: DataConfig, split: SplitConfig, progress_bar: ProgressBar = no_progress, *, require_all: bool = False
) -> DatasetIndex:
    """Lists the images of `data.root` and assigns each to a split; the classes are those of `train`.

    `require_all`: a missing image of the split file is an error even with `data.on_bad_image: skip`.
    Raises DataError if there are fewer than two classes, if another split has a class that `train` lacks, if the images
    cannot be split as configured, and as FaceFolder and `read_split_file` do.
    """
    if data.split_file is None:
        return (_index_folders if data.csv is None else _index_label_file)(data, split, progress_bar)
    hint = "a resumed run needs the images it started with" if require_all else MISSING_HINT
    may_be_missing = data.on_bad_image == "skip" and not require_all
    classes, splits = read_split_file(data.split_file, data.root, missing_hint=None if may_be_missing else hint)
    require_two_classes(classes, data.split_file)
    return DatasetIndex(classes, splits)


def _index_folders(data: DataConfig, split: SplitConfig, progress_bar: ProgressBar) -> DatasetIndex:
    from facecls.data.folder import FaceFolder  # imports torchvision, which takes a second

    folders = split_folders(data.root)
    train = FaceFolder(folders.get("train", data.root))
    classes = tuple(train.classes)
    if data.subfolders == "error":
        check_nesting(train.image_list, classes)
    require_two_classes(classes, data.root)
    _check_split_keys(folders, split, data.root)
    splits = {"train": train.image_list}
    notes = _ignored(train.root, train.ignored)
    for name in ("val", "test"):
        if name in folders:
            splits[name], more = map_to_classes(folders[name], classes)
            notes += more
    if "val" not in splits or split.test > 0 or split.by_name:
        splits, more = _split_train(splits, classes, data, split, progress_bar)
        notes += more
    return DatasetIndex(classes, splits, notes)


def _index_label_file(data: DataConfig, split: SplitConfig, progress_bar: ProgressBar) -> DatasetIndex:
    assert data.csv is not None
    found = read_label_file(data.csv, data.root, may_be_missing=data.on_bad_image == "skip")
    require_two_classes(found.classes, data.csv)
    members = found.splits or {"train": np.arange(len(found.image_list))}
    _check_split_keys(dict.fromkeys(members, data.csv), split, data.csv)
    splits = {name: found.image_list.take(indices) for name, indices in members.items()}
    untrained = np.setdiff1d(found.image_list.labels, splits["train"].labels) if "train" in splits else ()
    if "train" not in splits or len(untrained):
        problems = [f"{data.csv}: class `{found.classes[number]}` has no image in train" for number in untrained]
        raise DataError(*(problems or [f"{data.csv}: no image in train"]), hint="change the column `split`")
    if "val" in splits and split.test == 0 and not split.by_name:
        return DatasetIndex(found.classes, splits)
    groups = None if found.groups is None else found.groups[members["train"]]
    return DatasetIndex(found.classes, *_split_train(splits, found.classes, data, split, progress_bar, groups))


def _split_train(
    given: dict[str, ImageList],
    classes: tuple[str, ...],
    data: DataConfig,
    split: SplitConfig,
    progress_bar: ProgressBar,
    groups: Indices | None = None,
) -> tuple[dict[str, ImageList], list[str]]:
    """Splits `train` into itself and the splits that are not `given`; also returns notes for the user.

    `groups` (N,) are those of the training images; None: by `split.group`.
    """
    train = given["train"]
    if "val" not in given and split.val == 0 and split.folds is None and "val" not in split.by_name:
        raise DataError("split.val: is 0, but the best epoch is chosen by validation images", hint="set `split.val=0.2`")
    if "val" in given:
        split = split.model_copy(update={"val": 0.0})
    how = "column group" if groups is not None else f"split.group: {split.group}"
    groups = group_numbers(train.paths, data, split, progress_bar) if groups is None else groups
    root = Path(train.paths.root)
    chosen = split_images(train, groups, classes, split, root)
    splits = given | {name: train.take(indices) for name, indices in chosen.items()}
    notes = []
    sizes = np.unique(groups, return_counts=True)[1]
    sizes = sizes[sizes > 1]
    if len(sizes):
        images, count = plural(int(sizes.sum()), "image"), plural(len(sizes), "group")
        exception = " unless split.by_name divides it" if split.by_name else ""
        notes.append(f"{root}: {images} in {count} ({how}); each group stays in one split{exception}")
    for name in chosen:
        missing = np.flatnonzero(np.bincount(splits[name].labels, minlength=len(classes)) == 0)
        if len(missing):
            notes.append(f"{name}: has no images of {name_list(classes[number] for number in missing)}")
    return splits, notes


def map_to_classes(folder: Path, classes: Sequence[str]) -> tuple[ImageList, list[str]]:
    """Lists a folder of classes, labelled by the position of each class name in `classes`; also returns notes for the user.

    Raises DataError for a class that is not in `classes`. `classes` that the folder lacks are listed in the notes.
    """
    from facecls.data.folder import FaceFolder

    found = FaceFolder(folder)
    image_list, notes = _mapped(found.image_list, found.classes, classes, folder)
    return image_list, [*_ignored(found.root, found.ignored), *notes]


def map_label_file(path: Path, classes: Sequence[str]) -> tuple[dict[str, ImageList], list[str]]:
    """The splits of a label file, or all its images as `all` if it has none, as `map_to_classes` labels them; and notes.

    Images that do not exist are kept. Raises DataError as `read_label_file` and `map_to_classes` do.
    """
    found = read_label_file(path, path.parent, may_be_missing=True)
    image_list, notes = _mapped(found.image_list, found.classes, classes, path)
    if found.splits is None:
        return {"all": image_list}, notes
    return {name: image_list.take(indices) for name, indices in found.splits.items()}, notes


def _mapped(found: ImageList, names: Sequence[str], classes: Sequence[str], source: Path) -> tuple[ImageList, list[str]]:
    """The images, labelled by `names`, with labels by `classes`; and a note on classes without images."""
    numbers = {name: number for number, name in enumerate(classes)}
    foreign = [name for name in names if name not in numbers]
    if foreign:
        places = [source / name if source.is_dir() else f"{source}: `{name}`" for name in foreign]
        raise DataError(
            *(f"{place}: is not a class of the training data" for place in places),
            hint=f"the classes of the training data are {name_list(classes)}",
        )
    missing = [name for name in classes if name not in set(names)]
    notes = [f"{source}: has no images of {name_list(missing)}"] if missing else []
    return ImageList(found.paths, np.array([numbers[name] for name in names], np.int32)[found.labels]), notes


def require_two_classes(classes: Sequence[str], where: Path) -> None:
    """Raises DataError if a folder or a split file has only one class."""
    if len(classes) < 2:
        raise DataError(
            f"{where}: has only one class (`{classes[0]}`), a classifier needs at least two",
            hint="put the images of each class into its own folder" if where.is_dir() else "label the images of another one",
        )


def check_nesting(image_list: ImageList, classes: Sequence[str]) -> None:
    """Raises DataError if no class folder holds an image directly: they may be groups of classes (`groupA/s1/1.jpg`)."""
    # The images of a folder are listed before those of its subfolders.
    firsts = [image_list.paths.name(index) for index in np.searchsorted(image_list.labels, np.arange(len(classes))).tolist()]
    if all(name.count("/") > 1 for name in firsts):
        root = image_list.paths.root
        folders = name_list(name.rpartition("/")[0] for name in firsts)
        raise DataError(
            f"{root}: its folders hold only folders, which hold the images ({folders})",
            hint=f"if the inner folders are the classes, move them into {root}; "
            f"if the outer ones ({name_list(classes)}) are, set `data.subfolders: pool`",
        )


def _check_split_keys(folders: dict[str, Path], split: SplitConfig, root: Path) -> None:
    """Raises DataError if both a folder, or the label file, and the config define a split."""
    configured: dict[str, str] = {f"by_name.{name}": name for name in split.by_name}
    configured |= {"folds": "val"} if split.folds is not None else {}
    configured |= {"test": "test"} if split.test > 0 else {}
    problems = [
        f"split.{key}: "
        + (f"{folders[name]} already is {name}" if root.is_dir() else f"{root}: its column `split` names {name}")
        for key, name in configured.items()
        if name in folders
    ]
    if problems:
        hint = f"remove the key, or set `data.root` to {root / 'train'}" if root.is_dir() else "remove the column or the key"
        raise DataError(*problems, hint=hint)


def _ignored(root: str | Path, counts: Counter[str]) -> list[str]:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))
    return [f"{root}: ignored files and folders: {reasons}"] if counts else []
