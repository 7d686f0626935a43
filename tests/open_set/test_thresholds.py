import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from facecls.errors import DataError
from facecls.open_set.thresholds import (
    Threshold,
    false_accept_interval,
    false_accept_prediction_interval,
    synthetic_impostors_interval,
    threshold_for,
    threshold_from_validation,
)


@pytest.mark.parametrize(("n", "target"), [(99, 0.01), (150, 0.01), (40, 0.05), (19, 0.05), (500, 0.1), (99, 0.29)])
def test_impostors_are_accepted_at_no_more_than_the_target_rate(n: int, target: float) -> None:
    rng = np.random.default_rng(0)
    rates = [stats.norm.sf(threshold_for(rng.normal(size=n), target)) for _ in range(2000)]
    expected = int(target * (n + 1) + 1e-9) / (n + 1)
    assert expected <= target
    assert np.mean(rates) == pytest.approx(expected, abs=4 * np.std(rates) / 2000**0.5)


def test_the_interval_covers_the_true_rate_in_95_of_100_draws() -> None:
    rng = np.random.default_rng(0)
    low, high = false_accept_interval(200, 0.05)
    rates = stats.norm.sf([threshold_for(rng.normal(size=200), 0.05) for _ in range(2000)])
    assert np.mean((low < rates) & (rates < high)) == pytest.approx(0.95, abs=0.02)


def test_impostors_with_equal_scores_are_all_rejected() -> None:
    value = threshold_for(np.array([0.9] * 50 + [0.1] * 50), 0.1)
    assert value == 0.9


@pytest.mark.parametrize(
    ("n", "target", "problem", "hint"),
    [
        (
            40,
            0.01,
            "unknown.target_false_accept: a rate of 0.01 needs at least 99 images of unknown people, there are 40",
            "add another 59 images, or set it to 0.025 or more",
        ),
        (
            98,
            0.01,
            "unknown.target_false_accept: a rate of 0.01 needs at least 99 images of unknown people, there are 98",
            "add another 1 image, or set it to 0.011 or more",
        ),
        (
            0,
            0.5,
            "unknown.target_false_accept: a rate of 0.5 needs at least 1 image of unknown people, there are none",
            "add 1 image",
        ),
        (
            1,
            0.1,
            "unknown.target_false_accept: a rate of 0.1 needs at least 9 images of unknown people, there is 1",
            "add another 8 images",
        ),
    ],
)
def test_an_error_names_the_number_of_impostors_that_the_target_needs(n: int, target: float, problem: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        threshold_for(np.zeros(n), target)
    assert caught.value.problems == (problem,)
    assert caught.value.hint == hint


@pytest.mark.parametrize("n", [2, 3, 7, 19, 40, 98, 99, 1234, 20_000])
def test_the_rate_in_the_hint_is_reachable(n: int) -> None:
    scores = np.arange(float(n))
    with pytest.raises(DataError) as caught:
        threshold_for(scores, 1e-6)
    assert threshold_for(scores, float(caught.value.hint.split()[-3])) == n - 1


def test_a_threshold_set_on_known_images_reaches_the_true_accept_rate() -> None:
    rng = np.random.default_rng(0)
    accepted = [stats.norm.sf(threshold_from_validation(rng.normal(size=100), 0.95)) for _ in range(2000)]
    assert np.mean(accepted) >= 0.95
    assert np.mean(accepted) == pytest.approx(0.95, abs=0.005)


def test_a_threshold_set_on_a_few_known_images_accepts_them_all() -> None:
    scores = np.array([0.25, 0.5, 0.75], dtype=np.float32)
    threshold = Threshold.from_validation("energy", scores, target_true_accept=0.95)
    assert threshold.accepts(scores).all()
    assert threshold.true_accept_rate == 1
    assert not threshold.accepts(np.array([0.2499]))[0]


def test_a_threshold_set_on_known_images_holds_the_share_of_synthetic_impostors_accepted() -> None:
    threshold = Threshold.from_validation("energy", np.linspace(1, 2, 100), 0.5, np.linspace(0, 2, 201))
    assert threshold.synthetic_accept_rate == pytest.approx(0.25, abs=0.01)


def test_a_threshold_without_known_images_is_an_error() -> None:
    with pytest.raises(DataError) as caught:
        threshold_from_validation(np.zeros(0))
    assert caught.value.problems == ("unknown: there are neither unknown people nor validation images to set a threshold on",)
    hint = "set `split.val` above 0, or set `unknown.strangers` to a folder with images of unknown people"
    assert caught.value.hint == hint


def test_a_threshold_holds_what_it_was_set_on() -> None:
    threshold = Threshold.from_impostors("centroid", np.arange(100.0), 0.05, known_scores=np.array([90.0, 96, 97, 98]))
    assert threshold == Threshold(
        value=95.0,
        score="centroid",
        source="impostors",
        target_false_accept=0.05,
        n=100,
        interval=false_accept_interval(100, 0.05),
        true_accept_rate=0.75,
    )
    assert threshold.interval == pytest.approx((0.0164, 0.0992), abs=1e-4)


def test_the_upper_end_of_the_interval_equals_clopper_and_pearsons() -> None:
    low, high = false_accept_interval(500, 0.01)
    found = stats.binomtest(int(0.01 * 501) - 1, 500).proportion_ci(method="exact")
    assert high == pytest.approx(found.high)
    assert low > found.low


@pytest.mark.parametrize(("n", "target", "further"), [(99, 0.01, 500), (500, 0.05, 500), (60, 0.1, 20)])
def test_the_prediction_interval_covers_the_rate_on_new_impostors(n: int, target: float, further: int) -> None:
    rng = np.random.default_rng(0)
    low, high = false_accept_prediction_interval(n, target, further)
    thresholds = [threshold_for(rng.normal(size=n), target) for _ in range(4000)]
    shares = [float((rng.normal(size=further) > threshold).mean()) for threshold in thresholds]
    inside = [low <= share <= high for share in shares]
    assert 0.94 < np.mean(inside) < 0.99  # a count moves in steps, so that 95 % cannot be met exactly
    narrow = false_accept_interval(n, target)
    assert np.mean([narrow[0] <= share <= narrow[1] for share in shares]) < np.mean(inside)


def test_the_prediction_interval_converges_to_the_confidence_interval() -> None:
    assert false_accept_prediction_interval(500, 0.05, 10**6) == pytest.approx(false_accept_interval(500, 0.05), abs=1e-4)


@pytest.mark.parametrize(
    "threshold",
    [
        Threshold.from_impostors("probability", np.linspace(0, 1, 123), 0.02, np.ones(5)),
        Threshold.from_synthetic_impostors(
            "centroid", np.linspace(0, 1, 123), np.arange(369).reshape(123, 3), 0.02, np.ones(5)
        ),
        Threshold.from_validation("energy", np.linspace(0, 1, 123)),
        Threshold.from_validation("energy", np.linspace(0, 1, 123), synthetic_scores=np.linspace(-1, 1, 50)),
    ],
)
def test_a_threshold_survives_a_round_trip_through_json(threshold: Threshold) -> None:
    assert Threshold.from_plain(json.loads(json.dumps(threshold.to_plain()))) == threshold


@pytest.mark.parametrize(("images", "classes"), [(30, 10), (200, 20)])
def test_the_interval_on_synthetic_impostors_accounts_for_shared_images(images: int, classes: int) -> None:
    rng = np.random.default_rng(0)

    def sample_sources(n: int, count: int) -> NDArray[np.int64]:
        chosen = np.stack([rng.choice(classes, 3, replace=False) for _ in range(count)])
        return np.unique(chosen + classes * rng.integers(n // classes, size=chosen.shape), axis=0)

    further = sample_sources(4000, 20_000)
    rest = rng.normal(size=4000)[further].sum(axis=1) + rng.normal(size=len(further))
    inside, narrow = [], []
    for _ in range(40):
        sources = sample_sources(images, 1000)
        scores = rng.normal(size=images)[sources].sum(axis=1) + rng.normal(size=len(sources))
        rate = np.mean(rest > threshold_for(scores, 0.05))
        low, high = synthetic_impostors_interval(scores, sources, 0.05, draws=300) or (0, 0)
        inside.append(low <= rate <= high)
        low, high = false_accept_interval(len(scores), 0.05)
        narrow.append(low <= rate <= high)
    assert np.mean(inside) >= 0.85 > np.mean(narrow)


def all_sources(*sizes: int) -> NDArray[np.int64]:
    """All combinations of one image of each of three classes of these sizes, (N, 3)."""
    ends = np.cumsum(sizes)
    return np.stack(np.meshgrid(*map(np.arange, ends - sizes, ends)), axis=-1).reshape(-1, 3)


def test_bootstrap_draws_without_synthetic_impostors_are_left_out() -> None:
    sources = all_sources(3, 4, 4)  # of 100 draws of the eleven images, four miss a class
    interval = synthetic_impostors_interval(np.random.default_rng(0).normal(size=len(sources)), sources, 0.05)
    assert interval is not None and interval[1] < 0.5


def test_too_few_images_have_no_interval() -> None:
    sources = all_sources(2, 2, 2)
    threshold = Threshold.from_synthetic_impostors("centroid", np.arange(8.0), sources, 0.2, np.ones(2))
    assert threshold.interval is None
    assert Threshold.from_plain(json.loads(json.dumps(threshold.to_plain()))) == threshold
