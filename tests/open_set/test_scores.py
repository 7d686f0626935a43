import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from facecls.errors import DataError
from facecls.open_set.outputs import Outputs
from facecls.open_set.scores import (
    NEIGHBOURS,
    PER_CLASS,
    Gallery,
    class_centroids,
    energy,
    enrol,
    log_odds,
    nearest_cosine,
    open_set_scores,
)
from facecls.open_set.temperature import probabilities

CLASSES = list("abcdef")


def clusters(classes: int = 6, images: int = 10, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Features of unequal length around one direction per class, shuffled."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), images))
    features = rng.normal(size=(classes, 16))[labels] + 0.5 * rng.normal(size=(len(labels), 16))
    return features * rng.uniform(0.1, 10, (len(labels), 1)), labels


def gallery_of(kind: str, features: NDArray[np.float64], labels: NDArray[np.int64]) -> Gallery:
    gallery = enrol(kind, features, labels, CLASSES)  # type: ignore[arg-type]
    assert gallery is not None
    return gallery


def test_a_centroid_is_the_mean_direction_of_its_class() -> None:
    features = np.array([[3.0, 0.0], [0.0, 5.0], [0.0, -2.0], [0.0, -7.0]])
    centroids = class_centroids(features, np.array([0, 0, 1, 1]), ["ann", "bea"])
    assert centroids == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], [0, -1]]))


@pytest.mark.parametrize("kind", ["centroid", "neighbours"])
def test_an_error_names_the_classes_without_images(kind: str) -> None:
    with pytest.raises(DataError) as caught:
        enrol(kind, np.ones((1, 2)), np.array([1]), ["ann", "bea", "cy"])  # type: ignore[arg-type]
    assert caught.value.problems == (
        "unknown.score: class `ann` has no training image to compare with",
        "unknown.score: class `cy` has no training image to compare with",
    )
    assert caught.value.hint == "the scores `probability` and `energy` need none"


def test_the_centroid_score_is_the_cosine_to_the_nearest_class_centroid() -> None:
    features, labels = clusters()
    centroids = class_centroids(features, labels, CLASSES)
    expected = [max(f @ c / np.linalg.norm(f) for c in centroids) for f in features]
    assert nearest_cosine(features, gallery_of("centroid", features, labels)) == pytest.approx(expected, abs=1e-3)


def test_the_neighbours_score_is_the_mean_cosine_to_the_nearest_images() -> None:
    features, labels = clusters()
    others, _ = clusters(seed=1)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = [np.sort(units @ (f / np.linalg.norm(f)))[-NEIGHBOURS:].mean() for f in others]
    assert nearest_cosine(others, gallery_of("neighbours", features, labels)) == pytest.approx(expected, abs=1e-3)


def test_enrolled_images_and_averaged_cosines_are_bounded_by_the_limit_and_the_smallest_class() -> None:
    labels = np.repeat([0, 1], [PER_CLASS + 30, 2])
    gallery = enrol("neighbours", np.random.default_rng(0).normal(size=(len(labels), 4)), labels, ["ann", "bea"])
    assert gallery is not None and np.bincount(gallery.labels).tolist() == [PER_CLASS, 2]
    assert nearest_cosine(gallery.vectors[-2:], gallery) == pytest.approx(
        np.sort(gallery.vectors[-2:] @ gallery.vectors.T, axis=1)[:, -2:].mean(axis=1), abs=1e-3
    )


def test_a_zero_feature_has_cosine_zero() -> None:
    assert nearest_cosine(np.zeros((1, 16)), gallery_of("centroid", *clusters())).tolist() == [0]


def test_scores_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clusters()
    gallery = gallery_of("centroid", features, labels)
    whole = nearest_cosine(features, gallery)
    monkeypatch.setattr("facecls.open_set.scores.COSINES", 7 * len(gallery.vectors))
    assert nearest_cosine(features, gallery) == pytest.approx(whole, abs=1e-6)


def test_cosines_are_the_same_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clusters()
    gallery = gallery_of("neighbours", features, labels)
    by_torch = nearest_cosine(features, gallery)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert nearest_cosine(features, gallery) == pytest.approx(by_torch, abs=1e-6)


def test_zero_images_have_zero_scores() -> None:
    assert nearest_cosine(np.zeros((0, 16)), gallery_of("centroid", *clusters())).shape == (0,)


def test_probability_and_energy_equal_scipys_formulas() -> None:
    logits = np.array([[1.0, 2.0, 3.0], [900.0, 0.0, -900.0]])
    assert special.expit(log_odds(logits)) == pytest.approx(probabilities(logits).max(axis=1))
    assert energy(logits.astype(np.float32)) == pytest.approx(special.logsumexp(logits, axis=1))


def test_gallery_vectors_are_exact_in_half_precision() -> None:
    gallery = gallery_of("neighbours", *clusters())
    assert np.array_equal(gallery.vectors.astype(np.float16).astype(np.float32), gallery.vectors)


def test_the_probability_score_ranks_images_whose_probability_rounds_to_one() -> None:
    logits = np.array([[60.0, 0, 0], [50, 0, 0], [40, 0, 0]])
    outputs = Outputs(logits.astype(np.float32), np.zeros((3, 1), np.float32))
    assert open_set_scores("probability", outputs, None) == pytest.approx(np.array([60, 50, 40]) - np.log(2), abs=1e-6)


def test_enrolled_neighbours_are_spread_evenly_through_a_class() -> None:
    angles = np.linspace(0, 1, 2 * PER_CLASS)
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    gallery = enrol("neighbours", features, np.zeros(len(angles), np.int32), ["a"])
    assert gallery is not None and len(gallery.vectors) == PER_CLASS
    kept = np.arctan2(gallery.vectors[:, 1], gallery.vectors[:, 0])
    assert (kept[0], kept[-1]) == pytest.approx((0, 1), abs=1e-3) and np.diff(kept).max() < 0.04
