import json
import time
import tracemalloc
import warnings
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as reference

from facecls.evaluation import metrics
from facecls.evaluation.intervals import bootstrap, wilson
from facecls.evaluation.metrics import ClassMetrics, ConfusedPair, brier_score, confused_pairs, roc_auc, score
from facecls.evaluation.subgroups import SubgroupMetrics, subgroup_metrics
from facecls.open_set.temperature import ReliabilityBin, expected_calibration_error, probabilities, reliability

Drawn = tuple[NDArray[np.float64], NDArray[np.int64], list[str]]


def draw(seed: int, images: int = 200, classes: int = 12, among: int = 12, skill: float = 1.5) -> Drawn:
    """Logits, labels and names; only the first `among` classes have images."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, among, images)
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), labels] += skill
    return logits, labels, [f"class{i}" for i in range(classes)]


@pytest.mark.parametrize(
    ("seed", "images", "classes", "among"),
    [(0, 200, 12, 12), (1, 200, 12, 7), (2, 5, 12, 12), (3, 40, 2, 2), (4, 1, 4, 4), (5, 30, 4, 1), (6, 300, 30, 29)],
)
def test_the_standard_figures_equal_scikit_learns(seed: int, images: int, classes: int, among: int) -> None:
    logits, labels, names = draw(seed, images, classes, among)
    scores = score(logits, labels, names)

    predicted, present, numbers = logits.argmax(axis=1), np.unique(labels), np.arange(classes)
    macro = {"labels": present, "average": "macro", "zero_division": 0}
    assert scores.n == images
    assert scores.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert scores.balanced_accuracy == pytest.approx(reference.recall_score(labels, predicted, **macro))
    assert scores.macro_f1 == pytest.approx(reference.f1_score(labels, predicted, **macro))
    assert scores.weighted_f1 == pytest.approx(reference.f1_score(labels, predicted, average="weighted", zero_division=0))
    assert scores.loss == pytest.approx(reference.log_loss(labels, probabilities(logits), labels=numbers))
    assert scores.confusion.tolist() == reference.confusion_matrix(labels, predicted, labels=numbers).tolist()
    assert list(scores.top_k) == [k for k in (3, 5, 10) if k < classes]
    for k, share in scores.top_k.items():
        assert share == pytest.approx(reference.top_k_accuracy_score(labels, logits, k=k, labels=numbers))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        warnings.filterwarnings("ignore", message="A single label was found")
        assert scores.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(labels, predicted))


def test_a_class_without_a_image_does_not_pull_the_mean_down() -> None:
    logits = np.eye(3)[[0, 0, 1, 1]]
    labels = np.array([0, 0, 1, 1])
    scores = score(logits, labels, ["a", "b", "absent"])
    assert (scores.balanced_accuracy, scores.macro_f1) == (1, 1)
    assert scores.per_class[2] == ClassMetrics("absent", 0, 0, 0, 0)


def test_what_is_taken_for_an_absent_class_counts_against_its_own() -> None:
    scores = score(np.eye(3)[[0, 2, 1, 1]], np.array([0, 0, 1, 1]), ["a", "b", "absent"])
    assert scores.balanced_accuracy == 0.75
    assert scores.per_class[0] == ClassMetrics("a", 1, 0.5, 2 / 3, 2)


def test_among_equal_logits_the_first_class_is_named_and_ranked_first() -> None:
    scores = score(np.zeros((4, 4)), np.array([0, 1, 2, 3]), list("abcd"))
    assert scores.accuracy == 0.25
    assert scores.top_k == {3: 0.75}


def test_logits_that_are_no_numbers_are_in_no_top_k() -> None:
    scores = score(np.full((3, 4), np.nan), np.array([0, 1, 2]), list("abcd"))
    assert scores.top_k == {3: 0}


def test_large_float32_logits_lose_nothing() -> None:
    scores = score(np.array([[1000, 0], [0, 1000]], dtype=np.float32), np.array([0, 0]), ["a", "b"])
    assert scores.loss == 500


def test_scores_are_plain_values_for_json() -> None:
    logits, labels, names = draw(0, classes=4, among=4)
    plain = score(logits, labels, names).to_plain()
    again = json.loads(json.dumps(plain))
    assert again == plain | {"top_k": {"3": plain["top_k"][3]}}
    assert plain["classes"] == names
    assert np.sum(plain["confusion"]) == len(labels)
    assert list(plain["per_class"][0]) == ["name", "precision", "recall", "f1", "support"]
    assert {type(plain[key]) for key in ("loss", "accuracy", "balanced_accuracy", "macro_f1", "weighted_f1")} == {float}


def confusion_of(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def test_the_bootstrap_agrees_with_drawing_the_images_one_by_one() -> None:
    logits, labels, names = draw(0, images=60, classes=8, among=7)
    scores = score(logits, labels, names)
    figures = []
    rng = np.random.default_rng(1)
    for _ in range(300):
        taken = rng.integers(0, len(labels), len(labels))
        again = score(logits[taken], labels[taken], names)
        figures.append((again.accuracy, again.balanced_accuracy, again.macro_f1))
    expected = np.quantile(figures, [0.025, 0.975], axis=0)

    intervals = bootstrap(scores.confusion, draws=5000)
    for i, name in enumerate(("accuracy", "balanced_accuracy", "macro_f1")):
        assert intervals[name] == pytest.approx(tuple(expected[:, i]), abs=0.03), name
        assert intervals[name][0] < getattr(scores, name) < intervals[name][1]


@pytest.mark.parametrize(("confusion", "right"), [(np.diag([5, 0, 9]), 14), (np.array([[0, 5], [9, 0]]), 0)])
def test_a_model_without_a_fault_or_a_hit_may_still_be_another_one_on_other_images(
    confusion: NDArray[np.int64], right: int
) -> None:
    intervals = bootstrap(confusion)
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert intervals[name] == pytest.approx(wilson(right, 14)), name
    assert 0.1 < np.ptp(intervals["accuracy"]) < 0.3


def test_a_further_mistake_never_raises_an_interval() -> None:
    tables = [np.array([[48, 0], [wrong, 48 - wrong]]) for wrong in range(9)]
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        intervals = np.array([bootstrap(confusion)[name] for confusion in tables])
        assert (np.diff(intervals, axis=0) <= 0.002).all(), name  # no more than the luck of a thousand draws
    for wrong, confusion in enumerate(tables):
        low, high = bootstrap(confusion)["accuracy"]
        least, most = wilson(96 - wrong, 96)
        assert low <= least + 1e-12 and high >= most - 1e-12


def test_the_bootstrap_draws_the_same_for_the_same_seed() -> None:
    confusion = np.array([[5, 2], [3, 9]])
    assert bootstrap(confusion, seed=3) == bootstrap(confusion, seed=3)
    assert bootstrap(confusion, seed=3) != bootstrap(confusion, seed=4)


def test_a_thousand_draws_of_ten_thousand_images_of_a_thousand_classes_are_quick() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 1000, (2, 10_000))
    start = time.process_time()
    bootstrap(confusion_of(labels, predicted, 1000))
    assert time.process_time() - start < 3  # 0.5 s on an idle core


@pytest.mark.parametrize(("successes", "n", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 10, 0, 0.2775), (1, 1, 0.2065, 1)])
def test_wilsons_interval_has_its_known_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("classes", "among"), [(12, 12), (12, 7), (2, 2)])
def test_the_area_under_the_curve_equals_scikit_learns(classes: int, among: int) -> None:
    logits, labels, _ = draw(0, classes=classes, among=among)
    sure = np.round(probabilities(logits), 1)  # rounded, so that there are ties
    expected = np.mean([reference.roc_auc_score(labels == c, sure[:, c]) for c in range(among)])
    assert roc_auc(sure, labels) == pytest.approx(expected)


def test_one_class_alone_has_no_area_under_the_curve() -> None:
    assert roc_auc(np.full((3, 2), 0.5), np.zeros(3, dtype=int)) is None


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_calibration_error_equals_a_plain_loop(bins: int) -> None:
    logits, labels, _ = draw(0)
    sure = probabilities(logits, 0.7)
    sure[:3] = np.eye(12)[:3]  # fully certain ones
    edges = np.linspace(0, 1, bins + 1)
    expected = 0.0
    for low, high in pairwise(edges):
        inside = [i for i in range(len(labels)) if low < sure[i].max() <= high]
        if inside:
            confidence = sum(sure[i].max() for i in inside) / len(inside)
            accuracy = sum(int(sure[i].argmax()) == labels[i] for i in inside) / len(inside)
            expected += len(inside) / len(labels) * abs(accuracy - confidence)
    assert expected_calibration_error(sure, labels, bins) == pytest.approx(expected)


def test_a_reliability_bin_without_a_image_says_so() -> None:
    sure = np.array([[0.875, 0.125], [0.375, 0.625]])
    assert reliability(sure, np.array([0, 0]), bins=2) == [
        ReliabilityBin(low=0, high=0.5, count=0, confidence=None, accuracy=None),
        ReliabilityBin(low=0.5, high=1, count=2, confidence=0.75, accuracy=0.5),
    ]


def test_the_brier_score_equals_a_plain_loop() -> None:
    logits, labels, _ = draw(0)
    sure = probabilities(logits)
    expected = sum(sum((p - (c == label)) ** 2 for c, p in enumerate(row)) for row, label in zip(sure, labels, strict=True))
    assert brier_score(sure, labels) == pytest.approx(expected / len(labels))


def test_the_brier_score_leaves_the_probabilities_as_they_were() -> None:
    sure = np.array([[0.5, 0.5]])
    brier_score(sure, np.array([0]))
    assert sure.tolist() == [[0.5, 0.5]]


def test_confused_pairs_come_by_number_then_by_share() -> None:
    confusion = np.array([[8, 2, 0], [2, 2, 0], [0, 1, 0]])
    assert confused_pairs(confusion, ["ann", "bea", "cy"]) == [
        ConfusedPair("bea", "ann", 2, 0.5),
        ConfusedPair("ann", "bea", 2, 0.2),
        ConfusedPair("cy", "bea", 1, 1.0),
    ]
    assert len(confused_pairs(confusion, ["ann", "bea", "cy"], most=1)) == 1


def test_groups_are_scored_apart_and_compared() -> None:
    labels, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 1, 0, 0])
    scores = subgroup_metrics(labels, predicted, ["young", "young", "old", "old", "old"])
    assert scores.groups == (SubgroupMetrics("old", 3, 1 / 3, wilson(1, 3)), SubgroupMetrics("young", 2, 1, wilson(2, 2)))
    assert (scores.best, scores.worst) == ("young", "old")
    assert scores.gap == pytest.approx(2 / 3)
    assert json.loads(json.dumps(scores.to_plain())) == scores.to_plain()


def test_the_figures_do_not_depend_on_how_many_rows_are_taken_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels, names = draw(7, images=100)
    whole = score(logits, labels, names).to_plain()
    for at_once in (1, 12, 84):
        monkeypatch.setattr(metrics, "LOGITS_AT_ONCE", at_once)
        assert score(logits, labels, names).to_plain() == whole


def test_scoring_takes_less_memory_than_its_logits() -> None:
    logits = np.random.default_rng(0).normal(size=(60_000, 200)).astype(np.float32)
    labels = np.arange(len(logits)) % 200
    score(logits[:10], labels[:10], [str(number) for number in range(200)])  # scikit-learn is imported
    tracemalloc.start()
    score(logits, labels, [str(number) for number in range(200)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < logits.nbytes
