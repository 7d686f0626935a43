import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from facecls.errors import DataError
from facecls.open_set.outputs import Outputs
from facecls.open_set.scores import (
    NEAREST,
    PER_CLASS,
    Gallery,
    class_centroids,
    energy,
    enrol,
    known_scores,
    log_odds,
    nearest,
)
from facecls.open_set.temperature import probabilities

CLASSES = list("abcdef")


def clusters(classes: int = 6, images: int = 10, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Features of unequal length around one direction for each class, in mixed order."""
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
def test_a_class_without_images_is_named(kind: str) -> None:
    with pytest.raises(DataError) as caught:
        enrol(kind, np.ones((1, 2)), np.array([1]), ["ann", "bea", "cy"])  # type: ignore[arg-type]
    assert caught.value.problems == (
        "unknown.score: class `ann` has no training image to compare with",
        "unknown.score: class `cy` has no training image to compare with",
    )
    assert caught.value.hint == "`probability` and `energy` need none"


def test_the_centroid_score_is_the_cosine_with_the_nearest_class() -> None:
    features, labels = clusters()
    centroids = class_centroids(features, labels, CLASSES)
    expected = [max(f @ c / np.linalg.norm(f) for c in centroids) for f in features]
    assert nearest(features, gallery_of("centroid", features, labels)) == pytest.approx(expected, abs=1e-3)


def test_the_neighbours_score_is_the_mean_cosine_with_the_nearest_images() -> None:
    features, labels = clusters()
    others, _ = clusters(seed=1)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = [np.sort(units @ (f / np.linalg.norm(f)))[-NEAREST:].mean() for f in others]
    assert nearest(others, gallery_of("neighbours", features, labels)) == pytest.approx(expected, abs=1e-3)


def test_neighbours_are_at_most_so_many_of_a_class_and_no_more_than_its_smallest() -> None:
    labels = np.repeat([0, 1], [PER_CLASS + 30, 2])
    gallery = enrol("neighbours", np.random.default_rng(0).normal(size=(len(labels), 4)), labels, ["ann", "bea"])
    assert gallery is not None and np.bincount(gallery.labels).tolist() == [PER_CLASS, 2]
    assert nearest(gallery.vectors[-2:], gallery) == pytest.approx(
        np.sort(gallery.vectors[-2:] @ gallery.vectors.T, axis=1)[:, -2:].mean(axis=1), abs=1e-3
    )


def test_a_feature_of_no_length_is_near_to_nobody() -> None:
    assert nearest(np.zeros((1, 16)), gallery_of("centroid", *clusters())).tolist() == [0]


def test_more_images_than_a_block_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clusters()
    gallery = gallery_of("centroid", features, labels)
    whole = nearest(features, gallery)
    monkeypatch.setattr("facecls.open_set.scores.COSINES", 7 * len(gallery.vectors))
    assert nearest(features, gallery) == pytest.approx(whole, abs=1e-6)


def test_no_image_has_no_scores() -> None:
    assert nearest(np.zeros((0, 16)), gallery_of("centroid", *clusters())).shape == (0,)


def test_probability_and_energy_are_what_their_papers_say() -> None:
    logits = np.array([[1.0, 2.0, 3.0], [900.0, 0.0, -900.0]])
    assert special.expit(log_odds(logits)) == pytest.approx(probabilities(logits).max(axis=1))
    assert energy(logits.astype(np.float32)) == pytest.approx(special.logsumexp(logits, axis=1))


def test_what_is_stored_in_half_precision_is_what_was_compared_with() -> None:
    gallery = gallery_of("neighbours", *clusters())
    assert np.array_equal(gallery.vectors.astype(np.float16).astype(np.float32), gallery.vectors)


def test_the_surest_are_still_told_apart_where_all_their_probabilities_are_one() -> None:
    logits = np.array([[60.0, 0, 0], [50, 0, 0], [40, 0, 0]])
    outputs = Outputs(logits.astype(np.float32), np.zeros((3, 1), np.float32))
    assert known_scores("probability", outputs, None) == pytest.approx(np.array([60, 50, 40]) - np.log(2), abs=1e-6)


def test_the_images_that_neighbours_are_looked_for_among_lie_all_through_a_class() -> None:
    angles = np.linspace(0, 1, 2 * PER_CLASS)
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    gallery = enrol("neighbours", features, np.zeros(len(angles), np.int32), ["a"])
    assert gallery is not None and len(gallery.vectors) == PER_CLASS
    kept = np.arctan2(gallery.vectors[:, 1], gallery.vectors[:, 0])
    assert (kept[0], kept[-1]) == pytest.approx((0, 1), abs=1e-3) and np.diff(kept).max() < 0.04
