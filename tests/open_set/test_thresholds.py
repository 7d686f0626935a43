import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from facecls.errors import DataError
from facecls.open_set.thresholds import (
    Threshold,
    false_accept_interval,
    false_accepts_to_expect,
    synthetic_impostors_interval,
    threshold_for,
    threshold_from_val,
)


@pytest.mark.parametrize(("n", "target"), [(99, 0.01), (150, 0.01), (40, 0.05), (19, 0.05), (500, 0.1), (99, 0.29)])
def test_strangers_are_let_in_at_no_more_than_the_target_rate(n: int, target: float) -> None:
    rng = np.random.default_rng(0)
    rates = [stats.norm.sf(threshold_for(rng.normal(size=n), target)) for _ in range(2000)]
    expected = int(target * (n + 1) + 1e-9) / (n + 1)
    assert expected <= target
    assert np.mean(rates) == pytest.approx(expected, abs=4 * np.std(rates) / 2000**0.5)


def test_the_interval_holds_the_true_rate_for_95_of_100_draws() -> None:
    rng = np.random.default_rng(0)
    low, high = false_accept_interval(200, 0.05)
    rates = stats.norm.sf([threshold_for(rng.normal(size=200), 0.05) for _ in range(2000)])
    assert np.mean((low < rates) & (rates < high)) == pytest.approx(0.95, abs=0.02)


def test_strangers_with_equal_scores_are_all_turned_away() -> None:
    value = threshold_for(np.array([0.9] * 50 + [0.1] * 50), 0.1)
    assert value == 0.9


@pytest.mark.parametrize(
    ("n", "target", "problem", "hint"),
    [
        (
            40,
            0.01,
            "unknown.target_false_accept: a rate of 0.01 needs at least 99 images of strangers, there are 40",
            "add another 59 images, or set it to 0.025 or more",
        ),
        (
            98,
            0.01,
            "unknown.target_false_accept: a rate of 0.01 needs at least 99 images of strangers, there are 98",
            "add another 1 image, or set it to 0.011 or more",
        ),
        (
            0,
            0.5,
            "unknown.target_false_accept: a rate of 0.5 needs at least 1 image of strangers, there are none",
            "add 1 image",
        ),
        (
            1,
            0.1,
            "unknown.target_false_accept: a rate of 0.1 needs at least 9 images of strangers, there is 1",
            "add another 8 images",
        ),
    ],
)
def test_too_few_strangers_for_the_target_are_counted(n: int, target: float, problem: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        threshold_for(np.zeros(n), target)
    assert caught.value.problems == (problem,)
    assert caught.value.hint == hint


@pytest.mark.parametrize("n", [2, 3, 7, 19, 40, 98, 99, 1234, 20_000])
def test_the_rate_that_the_hint_names_can_be_had(n: int) -> None:
    scores = np.arange(float(n))
    with pytest.raises(DataError) as caught:
        threshold_for(scores, 1e-6)
    assert threshold_for(scores, float(caught.value.hint.split()[-3])) == n - 1


def test_a_threshold_by_known_images_keeps_the_share() -> None:
    rng = np.random.default_rng(0)
    kept = [stats.norm.sf(threshold_from_val(rng.normal(size=100), 0.95)) for _ in range(2000)]
    assert np.mean(kept) >= 0.95
    assert np.mean(kept) == pytest.approx(0.95, abs=0.005)


def test_a_threshold_by_a_few_known_images_keeps_them_all() -> None:
    scores = np.array([0.25, 0.5, 0.75], dtype=np.float32)
    threshold = Threshold.from_val("energy", scores, keep=0.95)
    assert threshold.accepts(scores).all()
    assert threshold.known_kept == 1
    assert not threshold.accepts(np.array([0.2499]))[0]


def test_a_threshold_by_known_images_says_what_composites_it_lets_in() -> None:
    threshold = Threshold.from_val("energy", np.linspace(1, 2, 100), 0.5, np.linspace(0, 2, 201))
    assert threshold.synthetic_accepted == pytest.approx(0.25, abs=0.01)


def test_no_known_image_sets_no_threshold() -> None:
    with pytest.raises(DataError) as caught:
        threshold_from_val(np.zeros(0))
    assert caught.value.problems == ("unknown: there are neither strangers nor validation images to set a threshold by",)
    assert caught.value.hint == "set `split.val` above 0, or name a folder of strangers' images in `unknown.strangers`"


def test_a_threshold_says_what_it_rests_on() -> None:
    threshold = Threshold.from_impostors("centroid", np.arange(100.0), 0.05, known_scores=np.array([90.0, 96, 97, 98]))
    assert threshold == Threshold(
        value=95.0,
        score="centroid",
        source="strangers",
        target_false_accept=0.05,
        n=100,
        interval=false_accept_interval(100, 0.05),
        known_kept=0.75,
    )
    assert threshold.interval == pytest.approx((0.0164, 0.0992), abs=1e-4)


def test_the_interval_is_as_wide_as_clopper_and_pearsons_above() -> None:
    low, high = false_accept_interval(500, 0.01)
    found = stats.binomtest(int(0.01 * 501) - 1, 500).proportion_ci(method="exact")
    assert high == pytest.approx(found.high)
    assert low > found.low


@pytest.mark.parametrize(("n", "target", "further"), [(99, 0.01, 500), (500, 0.05, 500), (60, 0.1, 20)])
def test_new_strangers_are_let_in_as_often_as_is_said(n: int, target: float, further: int) -> None:
    rng = np.random.default_rng(0)
    low, high = false_accepts_to_expect(n, target, further)
    thresholds = [threshold_for(rng.normal(size=n), target) for _ in range(4000)]
    shares = [float((rng.normal(size=further) > threshold).mean()) for threshold in thresholds]
    inside = [low <= share <= high for share in shares]
    assert 0.94 < np.mean(inside) < 0.99  # a count moves in steps, so that 95 % cannot be met exactly
    narrow = false_accept_interval(n, target)
    assert np.mean([narrow[0] <= share <= narrow[1] for share in shares]) < np.mean(inside)


def test_the_more_new_strangers_the_nearer_their_share_comes_to_the_rate() -> None:
    assert false_accepts_to_expect(500, 0.05, 10**6) == pytest.approx(false_accept_interval(500, 0.05), abs=1e-4)


@pytest.mark.parametrize(
    "threshold",
    [
        Threshold.from_impostors("probability", np.linspace(0, 1, 123), 0.02),
        Threshold.from_synthetic_impostors(
            "centroid", np.linspace(0, 1, 123), np.arange(369).reshape(123, 3), 0.02, np.ones(5)
        ),
        Threshold.from_val("energy", np.linspace(0, 1, 123)),
        Threshold.from_val("energy", np.linspace(0, 1, 123), synthetic_scores=np.linspace(-1, 1, 50)),
    ],
)
def test_a_threshold_comes_back_from_its_plain_values(threshold: Threshold) -> None:
    assert Threshold.from_plain(json.loads(json.dumps(threshold.to_plain()))) == threshold


@pytest.mark.parametrize(("images", "classes"), [(30, 10), (200, 20)])
def test_the_interval_of_composites_knows_that_they_share_images(images: int, classes: int) -> None:
    rng = np.random.default_rng(0)

    def synthetic_impostors(n: int, count: int) -> NDArray[np.int64]:
        chosen = np.stack([rng.choice(classes, 3, replace=False) for _ in range(count)])
        return np.unique(chosen + classes * rng.integers(n // classes, size=chosen.shape), axis=0)

    further = synthetic_impostors(4000, 20_000)
    rest = rng.normal(size=4000)[further].sum(axis=1) + rng.normal(size=len(further))
    inside, narrow = [], []
    for _ in range(40):
        sources = synthetic_impostors(images, 1000)
        scores = rng.normal(size=images)[sources].sum(axis=1) + rng.normal(size=len(sources))
        rate = np.mean(rest > threshold_for(scores, 0.05))
        low, high = synthetic_impostors_interval(scores, sources, 0.05, draws=300) or (0, 0)
        inside.append(low <= rate <= high)
        low, high = false_accept_interval(len(scores), 0.05)
        narrow.append(low <= rate <= high)
    assert np.mean(inside) >= 0.85 > np.mean(narrow)


def all_composites(*sizes: int) -> NDArray[np.int64]:
    """Every composite of one image of each of three classes of these sizes, (N, 3)."""
    ends = np.cumsum(sizes)
    return np.stack(np.meshgrid(*map(np.arange, ends - sizes, ends)), axis=-1).reshape(-1, 3)


def test_a_draw_without_any_composite_does_not_let_them_all_in() -> None:
    sources = all_composites(3, 4, 4)  # of 100 draws of the eleven images, four miss a class
    interval = synthetic_impostors_interval(np.random.default_rng(0).normal(size=len(sources)), sources, 0.05)
    assert interval is not None and interval[1] < 0.5


def test_images_that_are_too_few_for_an_interval_give_none() -> None:
    sources = all_composites(2, 2, 2)
    threshold = Threshold.from_synthetic_impostors("centroid", np.arange(8.0), sources, 0.2, np.ones(2))
    assert threshold.interval is None
    assert Threshold.from_plain(json.loads(json.dumps(threshold.to_plain()))) == threshold
