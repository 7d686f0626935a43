"""Who is train, val and test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facecls.config.schema import DataConfig, SplitConfig
from facecls.data.groups import by_name, group_numbers
from facecls.data.listing import Indices, Paths
from facecls.data.split import split_images
from facecls.errors import DataError
from facecls.progress import no_progress

WHERE = Path("faces")


def split(counts: list[int], groups: Indices | None = None, names: list[str] | None = None, **keys: Any) -> dict[str, Indices]:
    """Splits classes of so many images."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    paths = Paths.of(WHERE, names or [f"c{label}/{index}.jpg" for index, label in enumerate(labels)])
    classes = [f"c{number}" for number in range(len(counts))]
    groups = np.arange(len(labels)) if groups is None else groups
    return split_images(paths, labels, groups, classes, SplitConfig(**keys), WHERE)


def counted(splits: dict[str, Indices], counts: list[int]) -> dict[str, list[int]]:
    labels = np.repeat(np.arange(len(counts)), counts)
    return {split_name: np.bincount(labels[members], minlength=len(counts)).tolist() for split_name, members in splits.items()}


def refusal(call: Callable[[], object]) -> tuple[tuple[str, ...], str]:
    with pytest.raises(DataError) as caught:
        call()
    return caught.value.problems, caught.value.hint


def test_each_class_gives_each_part_its_share() -> None:
    counts = [100, 10, 3]
    assert counted(split(counts, val=0.2, test=0.1), counts) == {"train": [70, 7, 1], "val": [20, 2, 1], "test": [10, 1, 1]}
    assert counted(split(counts, val=0.2), counts) == {"train": [80, 8, 2], "val": [20, 2, 1]}


def test_every_image_stands_in_one_part_in_order() -> None:
    splits = split([31, 17, 5], val=0.3, test=0.3)
    together = np.concatenate(list(splits.values()))
    assert sorted(together.tolist()) == list(range(53))
    assert all((np.diff(members) > 0).all() for members in splits.values())


def test_a_split_follows_from_the_seed() -> None:
    one, same, other = (split([50, 50], val=0.2, seed=seed)["val"].tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_a_class_is_split_alike_whatever_other_classes_there_are() -> None:
    alone = split([20, 20], val=0.25)["val"]
    among = split([20, 20, 20], val=0.25)["val"]
    assert alone.tolist() == [index for index in among.tolist() if index < 40]


def test_too_small_classes_are_all_named() -> None:
    problems, hint = refusal(lambda: split([1, 5, 1], val=0.2))
    assert problems == ("faces/c0: holds 1 image, a split needs 2", "faces/c2: holds 1 image, a split needs 2")
    assert hint == "add images, or put the parts into folders yourself: faces/train and faces/val"
    assert refusal(lambda: split([2, 5], val=0.2, test=0.2))[0] == ("faces/c0: holds 2 images, a split needs 3",)


@pytest.mark.parametrize("seed", range(5))
def test_groups_never_part_and_shares_stay_near(seed: int) -> None:
    random = np.random.default_rng(seed)
    counts = [200, 150, 40]
    groups = np.concatenate([1000 * kind + random.integers(0, count // 4, count) for kind, count in enumerate(counts)])
    splits = split(counts, groups, val=0.2, test=0.1, seed=seed)
    homes = [set(groups[members]) for members in splits.values()]
    assert not (homes[0] & homes[1] or homes[0] & homes[2] or homes[1] & homes[2])
    for got, share in zip(np.array(list(counted(splits, counts).values())), (0.7, 0.2, 0.1), strict=True):
        assert (np.abs(got - share * np.array(counts)) <= 4).all()


def test_a_class_of_two_groups_gives_the_smaller_one_to_val() -> None:
    assert counted(split([10, 10], np.repeat([0, 1, 2, 3], [9, 1, 6, 4]), val=0.2), [10, 10]) == {
        "train": [9, 6],
        "val": [1, 4],
    }
    assert counted(split([10, 10], np.repeat([0, 1, 2, 3], 5), val=0.2), [10, 10]) == {"train": [5, 5], "val": [5, 5]}


def test_a_class_that_is_one_group_is_named() -> None:
    problems, hint = refusal(lambda: split([4, 6], np.array([7] * 4 + [1, 2, 3, 4, 5, 6]), val=0.2))
    assert problems == ("faces/c0: its 4 images are 1 group, a split needs 2",)
    assert hint == "add images of another day, or let groups be parted with --set split.group=none"


def test_groups_over_several_classes_stay_together_and_leave_every_class_in_every_part() -> None:
    # 30 subjects with 7 expressions each, of the last of which only some have an image
    labels = np.tile(np.arange(7), 30)
    subjects = np.repeat(np.arange(30), 7)
    kept = (labels != 6) | (subjects < 3)
    labels, subjects = labels[kept], subjects[kept]
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels).tolist()
    splits = split(counts, subjects[order], val=0.2, test=0.1)
    by_part = counted(splits, counts)
    assert by_part["val"] == [6, 6, 6, 6, 6, 6, 1] and by_part["test"] == [3, 3, 3, 3, 3, 3, 1]
    assert not set(subjects[order][splits["train"]]) & set(subjects[order][splits["val"]])


def test_groups_by_name_are_what_the_pattern_finds() -> None:
    paths = Paths.of(WHERE, ["ada/s1_01.jpg", "ada/s1_02.jpg", "bob/s1_03.jpg", "bob/s2_01.jpg", "bob/x.jpg", "bob/s1/y.jpg"])
    for pattern in (r"^s\d+", r"^(s\d+)_"):
        groups = by_name(paths, pattern).tolist()
        assert groups[0] == groups[1] == groups[2]
        assert len(set(groups)) == 4  # and what it is not found in stands alone, whatever its folder is called


def test_a_pattern_that_finds_nothing_is_named() -> None:
    problems, hint = refusal(lambda: by_name(Paths.of(WHERE, ["ada/1.jpg", "ada/2.jpg"]), "burst"))
    assert problems == ("split.pattern: `burst` is found in none of the 2 file names",)
    assert hint == "the file names begin with `1.jpg`, `2.jpg`"


def test_without_groups_every_image_stands_alone() -> None:
    paths = Paths.of(WHERE, ["ada/1.jpg", "ada/2.jpg"])
    config = SplitConfig(group="none")
    assert group_numbers(paths, DataConfig(root=WHERE), config, no_progress).tolist() == [0, 1]


@pytest.mark.parametrize("grouped", [False, True])
def test_every_image_is_in_the_val_of_one_fold(grouped: bool) -> None:
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
    assert grouped or np.ptp(sizes.sum(axis=1)) <= 1  # the folds as a whole are of one size, too


def test_the_folds_leave_one_test_part_alone() -> None:
    folds = [split([20, 20], folds=3, fold=fold, test=0.2) for fold in range(3)]
    assert len({tuple(fold["test"].tolist()) for fold in folds}) == 1
    assert sorted(np.concatenate([fold["val"] for fold in folds] + [folds[0]["test"]]).tolist()) == list(range(40))


def test_parts_can_come_from_file_names() -> None:
    names = [
        f"{kind}/{split_name}_{number}.png"
        for kind in "ab"
        for split_name in ("Training", "PublicTest", "PrivateTest")
        for number in "12"
    ]
    splits = split([6, 6], names=names, by_name={"val": "^PublicTest_", "test": "^PrivateTest_"})
    assert {split_name: members.tolist() for split_name, members in splits.items()} == {
        "train": [0, 1, 6, 7],
        "val": [2, 3, 8, 9],
        "test": [4, 5, 10, 11],
    }


def test_val_is_a_share_of_what_the_names_leave() -> None:
    names = [f"{kind}/{'held' if number < 4 else 'free'}_{number}.png" for kind in "ab" for number in range(14)]
    splits = split([14, 14], names=names, by_name={"test": "^held"}, val=0.2)
    assert counted(splits, [14, 14]) == {"train": [8, 8], "val": [2, 2], "test": [4, 4]}


def test_names_that_make_no_parts_are_named() -> None:
    names = ["a/x_1.png", "a/2.png", "b/x_1.png", "b/y_2.png"]
    problems, hint = refusal(lambda: split([2, 2], names=names, by_name={"val": "^x", "test": "^z"}))
    assert problems == ("split.by_name.test: `^z` is found in none of the 4 file names",)
    assert hint == "the file names begin with `x_1.png`, `2.png`, `x_1.png`, `y_2.png`"
    problems, _ = refusal(lambda: split([2, 2], names=names, by_name={"val": "^x", "test": "1"}))
    assert problems == ("faces/a/x_1.png: is named like val and like test", "faces/b/x_1.png: is named like val and like test")
    problems, _ = refusal(lambda: split([2, 2], names=names, by_name={"val": "^[xy]"}))
    assert problems == ("faces/c1: the split leaves none of its images to train on",)


def test_many_groups_are_split_near_their_shares() -> None:
    labels = np.repeat(np.arange(200, dtype=np.int32), 100)
    groups = np.arange(20_000) // 3
    paths = Paths.of(WHERE, map(str, range(20_000)))
    splits = split_images(paths, labels, groups, [str(n) for n in range(200)], SplitConfig(val=0.2), WHERE)
    assert abs(np.bincount(labels[splits["val"]]) - 20).max() <= 2
