"""Who is train, val and test: seeded, stratified, and no group of images parted."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facecls import seeding
from facecls.config.schema import SplitConfig
from facecls.data.listing import Indices, Paths
from facecls.errors import DataError

Labels = NDArray[np.int32]  # (N,), class numbers

_NAMED = 5  # examples in an error


def split_images(
    paths: Paths, labels: Labels, groups: Indices, classes: Sequence[str], split: SplitConfig, where: Path
) -> dict[str, Indices]:
    """Shares all images out to `train`, `val` and, if asked for, `test`; each index stands in one, in order.

    Parts that `split.by_name` has come from the file names, the others from the rest: folds, or shares of each class.

    Raises DataError for classes that are too small to be split, and for names that make no parts.
    """
    named = splits_by_name(paths, split.by_name)
    assigned = np.full(len(labels), "train", object)
    for split_name, members in named.items():
        assigned[members] = split_name
    rest = np.flatnonzero(assigned == "train")
    shares = {
        split_name: share
        for split_name, share in (("val", split.val), ("test", split.test))
        if share > 0 and split_name not in named
    }
    if split.folds is not None:
        shares.pop("val", None)
    if shares:
        assigned[rest] = _by_share(labels[rest], groups[rest], classes, shares, split.seed, where)
    if split.folds is not None:
        rest = np.flatnonzero(assigned == "train")
        fold = _by_fold(labels[rest], groups[rest], classes, split.folds, split.seed, where)
        assigned[rest[fold == split.fold]] = "val"
    _all_in_train(labels, assigned, classes, where)
    return {
        split_name: np.flatnonzero(assigned == split_name)
        for split_name in ("train", "val", "test")
        if (assigned == split_name).any()
    }


def splits_by_name(paths: Paths, patterns: Mapping[Literal["val", "test"], str]) -> dict[str, Indices]:
    """The images in whose file name each part's regular expression is found.

    Raises DataError where that is none, or the same as another part's.
    """
    if not patterns:
        return {}
    names = [os.path.basename(paths.name(index)) for index in range(len(paths))]  # noqa: PTH119 -- millions of times
    found: dict[str, Indices] = {}
    for split_name, pattern in patterns.items():
        search = re.compile(pattern).search
        found[split_name] = np.array([index for index, name in enumerate(names) if search(name)], np.int64)
    problems = [
        f"split.by_name.{split_name}: `{pattern}` is found in none of the {len(paths)} file names"
        for split_name, pattern in patterns.items()
        if len(found[split_name]) == 0
    ]
    twice = sorted(set.intersection(*(set(members.tolist()) for members in found.values()))) if len(found) > 1 else []
    problems += [f"{paths[index]}: is named like val and like test" for index in twice[:_NAMED]]
    if problems:
        examples = ", ".join(f"`{name}`" for name in names[:_NAMED])
        raise DataError(*problems, hint=f"the file names begin with {examples}")
    return found


def _by_share(
    labels: Labels, groups: Indices, classes: Sequence[str], shares: Mapping[str, float], seed: int, where: Path
) -> NDArray[np.object_]:
    """The part of each image; a class gives each part about its share, and at least one image."""
    counts = np.bincount(labels, minlength=len(classes))
    needed = 1 + len(shares)
    _refuse_small(labels, groups, classes, needed, where)
    # The round of a half goes to the even number, as Python's does.
    held = [np.clip(np.rint(share * counts), 1, None) for share in shares.values()]
    quotas = np.stack([*held, counts - np.sum(held, axis=0)]).astype(np.int64)
    short = np.flatnonzero(quotas[-1] < 1)  # small classes whose least of one each is more than their share
    quotas[:, short] = 1
    quotas[-1, short] = counts[short] - len(shares)
    names = np.array([*shares, "train"], object)
    splits: NDArray[np.object_] = names[share_out(labels, groups, quotas, ("split", seed), classes)]
    return splits


def _by_fold(labels: Labels, groups: Indices, classes: Sequence[str], folds: int, seed: int, where: Path) -> Indices:
    """The fold of each image; a class gives each fold as many as the others, give or take one."""
    counts = np.bincount(labels, minlength=len(classes))
    _refuse_small(labels, groups, classes, 2, where)
    # Which folds get one more goes round from class to class, so that the folds are of one size.
    first = np.concatenate([[0], np.cumsum(counts % folds)[:-1]])
    turn = (np.arange(folds)[:, None] - first) % folds
    quotas = counts // folds + (turn < counts % folds)
    fold = share_out(labels, groups, quotas, ("folds", seed), classes)
    filled = len(np.unique(fold))
    if filled < folds:
        raise DataError(
            f"split.folds: the {len(labels)} images of {where} make {filled} folds, not {folds}",
            hint="ask for fewer folds; images of one split.group cannot be parted",
        )
    return fold


def share_out(
    labels: Labels, groups: Indices, quotas: Indices, numbers: tuple[int | str, ...], classes: Sequence[str]
) -> Indices:
    """Gives every image to one of P parts, groups whole, close to `quotas` (P, C) images of each class; (N,) parts.

    The largest groups are dealt first, each to the part that lacks most of its classes; single images, in an order that
    follows from `numbers` and the class's name, fill up what is lacking. Every part gets some of each class as long as
    there are groups for it.
    """
    splits = np.full(len(labels), -1)
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    available = quotas.astype(np.int64)
    filled = np.zeros(quotas.shape, bool)
    wanted = quotas > 0
    # Groups that have not been dealt yet, of each class
    pairs = np.unique(np.stack([group_of, labels]), axis=1)
    left = np.bincount(pairs[1], minlength=quotas.shape[1])
    for members in _dealt(group_of, sizes, numbers):
        kinds, counts = np.unique(labels[members], return_counts=True)
        lacking = wanted[:, kinds] & ~filled[:, kinds]
        pressed = (lacking & (left[kinds] <= lacking.sum(axis=0))).any(axis=1)
        score = (available[:, kinds] * counts / np.square(quotas[:, kinds].sum(axis=0))).sum(axis=1)
        score = np.where(pressed, score, -np.inf) if pressed.any() else score
        split_name = (
            len(score) - 1 - int(np.argmax(score[::-1]))
        )  # of equals the last: train, before a part that is to be small
        splits[members] = split_name
        available[split_name, kinds] -= counts
        filled[split_name, kinds] = True
        left[kinds] -= 1
    singles = np.flatnonzero(splits < 0)
    by_class = np.split(
        singles[np.argsort(labels[singles], kind="stable")],
        np.cumsum(np.bincount(labels[singles], minlength=quotas.shape[1]))[:-1],
    )
    for kind, members in enumerate(by_class):
        order = np.random.default_rng(seeding.seed_of(*numbers, classes[kind])).permutation(members)
        splits[order] = np.repeat(
            np.arange(len(quotas)), _filling(available[:, kind], wanted[:, kind] & ~filled[:, kind], len(order))
        )
    return splits


def _dealt(group_of: Indices, sizes: Indices, numbers: tuple[int | str, ...]) -> list[Indices]:
    """The members of each group of two or more: the largest first, equal ones in an order that follows from `numbers`."""
    big = np.flatnonzero(sizes > 1)
    big = np.random.default_rng(seeding.seed_of(*numbers, "groups")).permutation(big)
    big = big[np.argsort(-sizes[big], kind="stable")]
    members = np.split(np.argsort(group_of, kind="stable"), np.cumsum(sizes)[:-1])
    return [members[group] for group in big.tolist()]


def _filling(available: Indices, empty: NDArray[np.bool_], count: int) -> list[int]:
    """How many of `count` single images each part gets: one where it has none, and the rest where most is lacking."""
    if (available >= 0).all() and available.sum() == count:
        return [int(number) for number in available]
    given = [0] * len(available)
    for split_name in np.flatnonzero(empty)[:count]:
        given[split_name] = 1
    for _ in range(count - sum(given)):
        given[int(np.argmax(available - given))] += 1
    return given


def _refuse_small(labels: Labels, groups: Indices, classes: Sequence[str], needed: int, where: Path) -> None:
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    units = np.bincount(pairs[0], minlength=len(classes)).tolist()
    few = [number for number, count in enumerate(counts) if count < needed]
    if few:
        raise DataError(
            *(f"{where / classes[n]}: holds {_images(counts[n])}, a split needs {needed}" for n in few),
            hint=f"add images, or put the parts into folders yourself: {where / 'train'} and {where / 'val'}",
        )
    bound = [number for number, count in enumerate(units) if count < needed]
    if bound:
        raise DataError(
            *(
                f"{where / classes[n]}: its {_images(counts[n])} are {units[n]} group{'s' * (units[n] != 1)}, "
                f"a split needs {needed}"
                for n in bound
            ),
            hint="add images of another day, or let groups be parted with --set split.group=none",
        )


def _all_in_train(labels: Labels, assigned: NDArray[np.object_], classes: Sequence[str], where: Path) -> None:
    trained = np.bincount(labels[assigned == "train"], minlength=len(classes))
    without = np.flatnonzero(trained == 0).tolist()
    if without:
        raise DataError(
            *(f"{where / classes[n]}: the split leaves none of its images to train on" for n in without),
            hint="change split.by_name or split.pattern, or leave the class out",
        )


def _images(count: int) -> str:
    return f"{count} image{'s' * (count != 1)}"
