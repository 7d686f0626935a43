"""Synthetic impostors: made of bands of three classes' images."""

from itertools import permutations

import numpy as np
import pytest

from facecls.data.listing import ImageList, Paths
from facecls.data.load import LoadedSplit
from facecls.data.stores.memory import ArrayStore
from facecls.device import resolve_device
from facecls.training.impostors import make_impostors


def split(labels: list[int], side: int = 48) -> LoadedSplit:
    """Images of one grey value each, the number of the image."""
    faces = np.broadcast_to(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], (len(labels), side, side, 3))
    paths = Paths.of("root", [f"{number}.jpg" for number in range(len(labels))])
    return LoadedSplit("val", ImageList(paths, np.array(labels, np.int32)), ArrayStore(faces))


def test_an_impostor_is_made_of_three_classes_a_third_each() -> None:
    labels = np.arange(40) % 5
    impostors = make_impostors(split(labels.tolist()), seed=0)
    assert impostors is not None and 970 < len(impostors) == len(impostors.sources) <= 1000
    faces = impostors[np.arange(len(impostors))]
    assert faces.shape == (len(impostors), 48, 48, 3) and faces.dtype == np.uint8
    bands = faces[:, [0, 8, 14], 0, 0], faces[:, [18, 24, 29], 0, 0], faces[:, [34, 40, 47], 0, 0]
    for band in bands:
        assert (band == band[:, :1]).all()
        assert set(band[:, 0].tolist()) == set(range(40))
    classes = np.stack([labels[band[:, 0]] for band in bands], axis=1)
    assert all(len(set(row)) == 3 for row in classes.tolist())
    assert (np.stack([band[:, 0] for band in bands], axis=1) == impostors.sources).all()


def test_bands_are_blended_without_an_edge() -> None:
    impostors = make_impostors(split([0, 1, 2], side=96), seed=0, count=20)
    assert impostors is not None
    rows = impostors[np.arange(len(impostors))][:, :, 0, 0].astype(int)
    assert np.abs(np.diff(rows, axis=1)).max() <= 1
    bright = ArrayStore(np.full((3, 96, 96, 3), 255, np.uint8))
    same = make_impostors(LoadedSplit("val", split([0, 1, 2]).image_list, bright), seed=0)
    assert same is not None and (same[np.arange(6)] == 255).all()


def test_impostors_of_a_few_images_are_distinct() -> None:
    impostors = make_impostors(split([0, 1, 2]), seed=0)
    assert impostors is not None
    assert sorted(map(tuple, impostors.sources.tolist())) == sorted(permutations(range(3)))


def test_impostors_follow_the_seed_and_batches_equal_indexing() -> None:
    first, again, other = (make_impostors(split([0, 1, 2, 3] * 6), seed, count=50) for seed in (0, 0, 1))
    assert first is not None and again is not None and other is not None
    every = np.arange(50)
    assert len(first) == len(again) == len(other) == 50
    assert (first[every] == again[every]).all()
    assert (first[every] != other[every]).any()
    plan = [every[:32], every[32:]]
    batches = [batch.numpy() for batch in first.batches(plan, resolve_device("cpu", "fp32"))]
    assert (np.concatenate(batches) == first[every]).all()
    assert (first.take(every[5:9])[np.array([1])] == first[np.array([6])]).all()


@pytest.mark.parametrize("labels", [[0, 1] * 10, [3, 3, 3, 7]])
def test_two_classes_make_no_impostors(labels: list[int]) -> None:
    assert make_impostors(split(labels), seed=0) is None
