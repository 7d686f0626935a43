"""Splits into train, val and test: shares, groups, folds and file names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facecls.config.schema import DataConfig, SplitConfig
from facecls.data.groups import by_name, group_numbers
from facecls.data.listing import ImageList, Indices, Paths
from facecls.data.split import split_images
from facecls.errors import DataError
from facecls.progress import no_progress

ROOT = Path("faces")


def split(counts: list[int], groups: Indices | None = None, names: list[str] | None = None, **keys: Any) -> dict[str, Indices]:
    """Splits classes with `counts` images."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    paths = Paths.of(ROOT, names or [f"c{label}/{index}.jpg" for index, label in enumerate(labels)])
    classes = [f"c{number}" for number in range(len(counts))]
    groups = np.arange(len(labels)) if groups is None else groups
    return split_images(ImageList(paths, labels), groups, classes, SplitConfig(**keys), ROOT)


def counted(splits: dict[str, Indices], counts: list[int]) -> dict[str, list[int]]:
    """The number of images of each class in each split."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return {name: np.bincount(labels[members], minlength=len(counts)).tolist() for name, members in splits.items()}


def data_error(call: Callable[[], object]) -> tuple[tuple[str, ...], str]:
    with pytest.raises(DataError) as caught:
        call()
    return caught.value.problems, caught.value.hint


def test_each_split_gets_its_share_of_each_class() -> None:
    counts = [100, 10, 3]
    assert counted(split(counts, val=0.2, test=0.1), counts) == {"train": [70, 7, 1], "val": [20, 2, 1], "test": [10, 1, 1]}
    assert counted(split(counts, val=0.2), counts) == {"train": [80, 8, 2], "val": [20, 2, 1]}


def test_every_image_is_in_one_split_in_order() -> None:
    splits = split([31, 17, 5], val=0.3, test=0.3)
    together = np.concatenate(list(splits.values()))
    assert sorted(together.tolist()) == list(range(53))
    assert all((np.diff(members) > 0).all() for members in splits.values())


def test_a_split_is_a_function_of_the_seed() -> None:
    one, same, other = (split([50, 50], val=0.2, seed=seed)["val"].tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_the_split_of_a_class_does_not_depend_on_other_classes() -> None:
    alone = split([20, 20], val=0.25)["val"]
    among = split([20, 20, 20], val=0.25)["val"]
    assert alone.tolist() == [index for index in among.tolist() if index < 40]


def test_all_classes_that_are_too_small_are_listed() -> None:
    problems, hint = data_error(lambda: split([1, 5, 1], val=0.2))
    assert problems == ("faces/c0: has 1 image, a split needs 2", "faces/c2: has 1 image, a split needs 2")
    assert hint == "add images, or make the splits yourself, as folders faces/train and faces/val"
    assert data_error(lambda: split([2, 5], val=0.2, test=0.2))[0] == ("faces/c0: has 2 images, a split needs 3",)


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_never_divided_and_shares_are_approached(seed: int) -> None:
    random = np.random.default_rng(seed)
    counts = [200, 150, 40]
    groups = np.concatenate([1000 * label + random.integers(0, count // 4, count) for label, count in enumerate(counts)])
    splits = split(counts, groups, val=0.2, test=0.1, seed=seed)
    train, val, test = (set(groups[members]) for members in splits.values())
    assert not (train & val or train & test or val & test)
    for sizes, share in zip(np.array(list(counted(splits, counts).values())), (0.7, 0.2, 0.1), strict=True):
        assert (np.abs(sizes - share * np.array(counts)) <= 4).all()


def test_of_a_class_of_two_groups_the_smaller_is_in_val() -> None:
    assert counted(split([10, 10], np.repeat([0, 1, 2, 3], [9, 1, 6, 4]), val=0.2), [10, 10]) == {
        "train": [9, 6],
        "val": [1, 4],
    }
    assert counted(split([10, 10], np.repeat([0, 1, 2, 3], 5), val=0.2), [10, 10]) == {"train": [5, 5], "val": [5, 5]}


def test_a_class_with_one_group_is_an_error() -> None:
    problems, hint = data_error(lambda: split([4, 6], np.array([7] * 4 + [1, 2, 3, 4, 5, 6]), val=0.2))
    assert problems == ("faces/c0: has 4 images in 1 group, a split needs 2 groups",)
    assert hint == "add images taken at another time, or split groups with `--set split.group=none`"


def test_groups_over_several_classes_stay_together_and_every_split_has_every_class() -> None:
    # 30 subjects with 7 expressions each, of the last of which only some have an image
    labels = np.tile(np.arange(7), 30)
    subjects = np.repeat(np.arange(30), 7)
    kept = (labels != 6) | (subjects < 3)
    labels, subjects = labels[kept], subjects[kept]
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels).tolist()
    splits = split(counts, subjects[order], val=0.2, test=0.1)
    by_split = counted(splits, counts)
    assert by_split["val"] == [6, 6, 6, 6, 6, 6, 1] and by_split["test"] == [3, 3, 3, 3, 3, 3, 1]
    assert not set(subjects[order][splits["train"]]) & set(subjects[order][splits["val"]])


def test_groups_by_name_are_the_matches_of_the_pattern() -> None:
    paths = Paths.of(ROOT, ["ada/s1_01.jpg", "ada/s1_02.jpg", "bob/s1_03.jpg", "bob/s2_01.jpg", "bob/x.jpg", "bob/s1/y.jpg"])
    for pattern in (r"^s\d+", r"^(s\d+)_"):
        groups = by_name(paths, pattern).tolist()
        assert groups[0] == groups[1] == groups[2]
        assert len(set(groups)) == 4  # a name without a match is its own group, whatever the name of its folder


def test_a_pattern_that_matches_no_file_name_is_an_error() -> None:
    problems, hint = data_error(lambda: by_name(Paths.of(ROOT, ["ada/1.jpg", "ada/2.jpg"]), "burst"))
    assert problems == ("split.pattern: `burst` matches none of the 2 file names",)
    assert hint == "the first file names are `1.jpg`, `2.jpg`"


def test_with_group_none_every_image_is_its_own_group() -> None:
    paths = Paths.of(ROOT, ["ada/1.jpg", "ada/2.jpg"])
    config = SplitConfig(group="none")
    assert group_numbers(paths, DataConfig(root=ROOT), config, no_progress).tolist() == [0, 1]


@pytest.mark.parametrize("grouped", [False, True])
def test_every_image_is_in_val_of_exactly_one_fold(grouped: bool) -> None:
    counts = [23, 9, 4]
    groups = np.arange(36) // 2 if grouped else None
    folds = [split(counts, groups, folds=4, fold=fold) for fold in range(4)]
    assert sorted(np.concatenate([fold["val"] for fold in folds]).tolist()) == list(range(36))
    for fold in folds:
        assert sorted(np.concatenate(list(fold.values())).tolist()) == list(range(36))
        if groups is not None:
            assert not set(groups[fold["train"]]) & set(groups[fold["val"]])
    sizes = np.array([counted(fold, counts)["val"] for fold in folds])
    assert (np.ptp(sizes, axis=0) <= 1 + grouped).all()
    assert grouped or np.ptp(sizes.sum(axis=1)) <= 1  # the total sizes of the folds, too


def test_all_folds_have_the_same_test_split() -> None:
    folds = [split([20, 20], folds=3, fold=fold, test=0.2) for fold in range(3)]
    assert len({tuple(fold["test"].tolist()) for fold in folds}) == 1
    assert sorted(np.concatenate([fold["val"] for fold in folds] + [folds[0]["test"]]).tolist()) == list(range(40))


def test_splits_can_be_taken_from_file_names() -> None:
    names = [
        f"{label}/{usage}_{number}.png"
        for label in "ab"
        for usage in ("Training", "PublicTest", "PrivateTest")
        for number in "12"
    ]
    splits = split([6, 6], names=names, by_name={"val": "^PublicTest_", "test": "^PrivateTest_"})
    assert {name: members.tolist() for name, members in splits.items()} == {
        "train": [0, 1, 6, 7],
        "val": [2, 3, 8, 9],
        "test": [4, 5, 10, 11],
    }


def test_val_is_a_share_of_the_images_that_file_names_leave() -> None:
    names = [f"{label}/{'held' if number < 4 else 'free'}_{number}.png" for label in "ab" for number in range(14)]
    splits = split([14, 14], names=names, by_name={"test": "^held"}, val=0.2)
    assert counted(splits, [14, 14]) == {"train": [8, 8], "val": [2, 2], "test": [4, 4]}


def test_patterns_that_cannot_split_are_errors() -> None:
    names = ["a/x_1.png", "a/2.png", "b/x_1.png", "b/y_2.png"]
    problems, hint = data_error(lambda: split([2, 2], names=names, by_name={"val": "^x", "test": "^z"}))
    assert problems == ("split.by_name.test: `^z` matches none of the 4 file names",)
    assert hint == "the first file names are `x_1.png`, `2.png`, `x_1.png`, `y_2.png`"
    problems, _ = data_error(lambda: split([2, 2], names=names, by_name={"val": "^x", "test": "1"}))
    assert problems == (
        "faces/a/x_1.png: matches the patterns of val and of test",
        "faces/b/x_1.png: matches the patterns of val and of test",
    )
    problems, _ = data_error(lambda: split([2, 2], names=names, by_name={"val": "^[xy]"}))
    assert problems == ("faces/c1: the split leaves no image of the class in train",)


def test_many_groups_are_split_close_to_the_shares() -> None:
    labels = np.repeat(np.arange(200, dtype=np.int32), 100)
    groups = np.arange(20_000) // 3
    paths = Paths.of(ROOT, map(str, range(20_000)))
    splits = split_images(ImageList(paths, labels), groups, [str(n) for n in range(200)], SplitConfig(val=0.2), ROOT)
    assert abs(np.bincount(labels[splits["val"]]) - 20).max() <= 2
