"""Splits images into train, val and test: seeded, stratified by class, with all images of a group in one split."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facecls import seeding
from facecls.config.schema import SplitConfig
from facecls.data.listing import SPLITS, ImageList, Indices, Labels, Paths
from facecls.errors import DataError
from facecls.text import name_list, plural

_NAMED = 5  # examples in an error


def split_images(
    images: ImageList, groups: Indices, classes: Sequence[str], split: SplitConfig, root: Path
) -> dict[str, Indices]:
    """The sorted indices of the images in `train`, `val` and, if configured, `test`; each image is in one of them.

    Splits in `split.by_name` are taken from the file names, the others from the remaining images, as folds or as a share
    of each class. `groups` (N,): images of equal number stay together, except in splits of `split.by_name`.

    Raises DataError if a class is too small to be split, if a pattern matches no file name, and if a class is left without
    a training image.
    """
    labels = images.labels
    named = _by_file_name(images.paths, split.by_name)
    assigned = np.full(len(labels), "train", object)
    for name, members in named.items():
        assigned[members] = name
    rest = np.flatnonzero(assigned == "train")
    shares = {name: share for name, share in (("val", split.val), ("test", split.test)) if share > 0 and name not in named}
    if split.folds is not None:
        shares.pop("val", None)
    if shares:
        assigned[rest] = _by_share(labels[rest], groups[rest], classes, shares, split.seed, root)
    if split.folds is not None:
        rest = np.flatnonzero(assigned == "train")
        fold = _by_fold(labels[rest], groups[rest], classes, split.folds, split.seed, root)
        assigned[rest[fold == split.fold]] = "val"
    trained = np.bincount(labels[assigned == "train"], minlength=len(classes))
    untrained = np.flatnonzero(trained == 0).tolist()
    if untrained:
        raise DataError(
            *(f"{root / classes[n]}: the split leaves no image of the class in train" for n in untrained),
            hint="change `split.by_name` or `split.pattern`, or remove the class",
        )
    return {name: np.flatnonzero(assigned == name) for name in SPLITS if (assigned == name).any()}


def _by_file_name(paths: Paths, patterns: Mapping[Literal["val", "test"], str]) -> dict[str, Indices]:
    """The images whose file names match the regular expression of each split.

    Raises DataError if a pattern matches no file name, and if a file name matches two.
    """
    if not patterns:
        return {}
    names = [os.path.basename(paths.name(index)) for index in range(len(paths))]  # noqa: PTH119 -- a Path is slow for millions
    found: dict[str, Indices] = {}
    problems = []
    for split, pattern in patterns.items():
        search = re.compile(pattern).search
        found[split] = np.array([index for index, name in enumerate(names) if search(name)], np.int64)
        if len(found[split]) == 0:
            problems.append(f"split.by_name.{split}: `{pattern}` matches none of the {len(paths)} file names")
    both = np.intersect1d(found.get("val", ()), found.get("test", ()))
    problems += [f"{paths[index]}: matches the patterns of val and of test" for index in both[:_NAMED]]
    if problems:
        raise DataError(*problems, hint=f"the first file names are {name_list(names[:_NAMED])}")
    return found


def _by_share(
    labels: Labels, groups: Indices, classes: Sequence[str], shares: Mapping[str, float], seed: int, root: Path
) -> NDArray[np.object_]:
    """The split of each image, (N,): each split has about its share of every class, and at least one image."""
    counts = np.bincount(labels, minlength=len(classes))
    _require_groups(labels, groups, classes, 1 + len(shares), root)
    held_out = [np.clip(np.rint(share * counts), 1, None) for share in shares.values()]
    quotas = np.stack([*held_out, counts - np.sum(held_out, axis=0)]).astype(np.int64)
    short = np.flatnonzero(quotas[-1] < 1)  # small classes, whose rounded shares leave no image for train
    quotas[:, short] = 1
    quotas[-1, short] = counts[short] - len(shares)
    splits: NDArray[np.object_] = np.array([*shares, "train"], object)
    return splits[_assign(labels, groups, quotas, ("split", seed), classes)]


def _by_fold(labels: Labels, groups: Indices, classes: Sequence[str], folds: int, seed: int, root: Path) -> Indices:
    """The fold of each image, (N,): the folds have equally many images of each class (counts differ by at most one)."""
    counts = np.bincount(labels, minlength=len(classes))
    _require_groups(labels, groups, classes, 2, root)
    # The remainders of the classes go to one fold after another, so that the folds are of equal size.
    first = np.concatenate([[0], np.cumsum(counts % folds)[:-1]])
    turn = (np.arange(folds)[:, None] - first) % folds
    quotas = counts // folds + (turn < counts % folds)
    fold = _assign(labels, groups, quotas, ("folds", seed), classes)
    filled = len(np.unique(fold))
    if filled < folds:
        raise DataError(
            f"split.folds: the {len(labels)} images of {root} fill only {filled} of {folds} folds",
            hint="reduce `split.folds`; images of one group (`split.group`) stay in one fold",
        )
    return fold


def _assign(
    labels: Labels, groups: Indices, quotas: Indices, seed_key: tuple[int | str, ...], classes: Sequence[str]
) -> Indices:
    """The split (0 to P - 1) of each image, (N,): groups are kept whole, the images per class are close to `quotas` (P, C).

    Groups of two or more are assigned first, the largest first, each to the split that lacks most images of its classes.
    Single images then fill the gaps in an order seeded by `seed_key` and the class name. Every split gets images of every
    class in its quota as long as there are enough groups.
    """
    assigned = np.full(len(labels), -1)
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    remaining = quotas.astype(np.int64)  # images that each split still lacks, (P, C)
    filled = np.zeros(quotas.shape, bool)  # whether the split has images of the class
    wanted = quotas > 0
    pairs = np.unique(np.stack([group_of, labels]), axis=1)
    groups_left = np.bincount(pairs[1], minlength=quotas.shape[1])  # not yet assigned, of each class
    for members in _groups_by_size(group_of, sizes, seed_key):
        present, counts = np.unique(labels[members], return_counts=True)
        lacking = wanted[:, present] & ~filled[:, present]
        # Splits that would have no image of a class if they did not get this group.
        urgent = (lacking & (groups_left[present] <= lacking.sum(axis=0))).any(axis=1)
        score = (remaining[:, present] * counts / np.square(quotas[:, present].sum(axis=0))).sum(axis=1)
        score = np.where(urgent, score, -np.inf) if urgent.any() else score
        best = len(score) - 1 - int(np.argmax(score[::-1]))  # of equal scores the last: train is last
        assigned[members] = best
        remaining[best, present] -= counts
        filled[best, present] = True
        groups_left[present] -= 1
    singles = np.flatnonzero(assigned < 0)
    by_class = np.split(
        singles[np.argsort(labels[singles], kind="stable")],
        np.cumsum(np.bincount(labels[singles], minlength=quotas.shape[1]))[:-1],
    )
    for label, members in enumerate(by_class):
        order = np.random.default_rng(seeding.seed_of(*seed_key, classes[label])).permutation(members)
        per_split = _singles_per_split(remaining[:, label], wanted[:, label] & ~filled[:, label], len(order))
        assigned[order] = np.repeat(np.arange(len(quotas)), per_split)
    return assigned


def _groups_by_size(group_of: Indices, sizes: Indices, seed_key: tuple[int | str, ...]) -> list[Indices]:
    """The members of each group of two or more, the largest first, equal sizes in random order."""
    large = np.flatnonzero(sizes > 1)
    large = np.random.default_rng(seeding.seed_of(*seed_key, "groups")).permutation(large)
    large = large[np.argsort(-sizes[large], kind="stable")]
    members = np.split(np.argsort(group_of, kind="stable"), np.cumsum(sizes)[:-1])
    return [members[group] for group in large.tolist()]


def _singles_per_split(remaining: Indices, empty: NDArray[np.bool_], count: int) -> list[int]:
    """How many of `count` single images of a class go to each split: one to each empty split, the rest to the largest gaps."""
    if (remaining >= 0).all() and remaining.sum() == count:
        return [int(number) for number in remaining]
    given = [0] * len(remaining)
    for split in np.flatnonzero(empty)[:count]:
        given[split] = 1
    for _ in range(count - sum(given)):
        given[int(np.argmax(remaining - given))] += 1
    return given


def _require_groups(labels: Labels, groups: Indices, classes: Sequence[str], needed: int, root: Path) -> None:
    """Raises DataError for classes with fewer than `needed` images or groups of images."""
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    group_counts = np.bincount(pairs[0], minlength=len(classes)).tolist()
    has = [f"{root / name}: has {plural(count, 'image')}" for name, count in zip(classes, counts, strict=True)]
    problems = [f"{has[n]}, a split needs {needed}" for n, count in enumerate(counts) if count < needed]
    if problems:
        hint = f"add images, or make the splits yourself, as folders {root / 'train'} and {root / 'val'}"
        raise DataError(*problems, hint=hint)
    problems = [
        f"{has[n]} in {plural(count, 'group')}, a split needs {plural(needed, 'group')}"
        for n, count in enumerate(group_counts)
        if count < needed
    ]
    if problems:
        hint = "add images taken at another time, or split groups with `--set split.group=none`"
        raise DataError(*problems, hint=hint)
