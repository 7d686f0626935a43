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
from facecls.evaluation.intervals import bootstrap_intervals, wilson_interval
from facecls.evaluation.metrics import ClassMetrics, ConfusedPair, brier_score, compute_metrics, confused_pairs, roc_auc
from facecls.evaluation.result import closed_set_result
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
def test_the_metrics_equal_scikit_learns(seed: int, images: int, classes: int, among: int) -> None:
    logits, labels, names = draw(seed, images, classes, among)
    result = compute_metrics(logits, labels, names)

    predicted, present, numbers = logits.argmax(axis=1), np.unique(labels), np.arange(classes)
    macro = {"labels": present, "average": "macro", "zero_division": 0}
    assert result.n == images
    assert result.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert result.balanced_accuracy == pytest.approx(reference.recall_score(labels, predicted, **macro))
    assert result.macro_f1 == pytest.approx(reference.f1_score(labels, predicted, **macro))
    assert result.weighted_f1 == pytest.approx(reference.f1_score(labels, predicted, average="weighted", zero_division=0))
    assert result.loss == pytest.approx(reference.log_loss(labels, probabilities(logits), labels=numbers))
    assert result.confusion.tolist() == reference.confusion_matrix(labels, predicted, labels=numbers).tolist()
    assert list(result.top_k) == [k for k in (3, 5, 10) if k < classes]
    for k, share in result.top_k.items():
        assert share == pytest.approx(reference.top_k_accuracy_score(labels, logits, k=k, labels=numbers))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        warnings.filterwarnings("ignore", message="A single label was found")
        assert result.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(labels, predicted))


def test_a_class_without_images_does_not_lower_the_macro_average() -> None:
    logits = np.eye(3)[[0, 0, 1, 1]]
    labels = np.array([0, 0, 1, 1])
    result = compute_metrics(logits, labels, ["a", "b", "absent"])
    assert (result.balanced_accuracy, result.macro_f1) == (1, 1)
    assert result.per_class[2] == ClassMetrics("absent", 0, 0, 0, 0)


def test_a_prediction_of_an_absent_class_lowers_the_recall_of_the_true_class() -> None:
    result = compute_metrics(np.eye(3)[[0, 2, 1, 1]], np.array([0, 0, 1, 1]), ["a", "b", "absent"])
    assert result.balanced_accuracy == 0.75
    assert result.per_class[0] == ClassMetrics("a", 1, 0.5, 2 / 3, 2)


def test_ties_between_logits_go_to_the_lowest_class() -> None:
    result = compute_metrics(np.zeros((4, 4)), np.array([0, 1, 2, 3]), list("abcd"))
    assert result.accuracy == 0.25
    assert result.top_k == {3: 0.75}


def test_nan_logits_are_in_no_top_k() -> None:
    result = compute_metrics(np.full((3, 4), np.nan), np.array([0, 1, 2]), list("abcd"))
    assert result.top_k == {3: 0}


def test_large_float32_logits_lose_nothing() -> None:
    result = compute_metrics(np.array([[1000, 0], [0, 1000]], dtype=np.float32), np.array([0, 0]), ["a", "b"])
    assert result.loss == 500


def test_metrics_are_plain_values_for_json() -> None:
    logits, labels, names = draw(0, classes=4, among=4)
    plain = compute_metrics(logits, labels, names).to_plain()
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


def test_the_bootstrap_agrees_with_resampling_the_images_one_by_one() -> None:
    logits, labels, names = draw(0, images=60, classes=8, among=7)
    result = compute_metrics(logits, labels, names)
    samples = []
    rng = np.random.default_rng(1)
    for _ in range(300):
        taken = rng.integers(0, len(labels), len(labels))
        again = compute_metrics(logits[taken], labels[taken], names)
        samples.append((again.balanced_accuracy, again.macro_f1))
    expected = np.quantile(samples, [0.025, 0.975], axis=0)

    intervals = bootstrap_intervals(result.confusion, draws=5000)
    assert list(intervals) == ["balanced_accuracy", "macro_f1"]
    for i, name in enumerate(intervals):
        assert intervals[name] == pytest.approx(tuple(expected[:, i]), abs=0.03), name
        assert intervals[name][0] < getattr(result, name) < intervals[name][1]


@pytest.mark.parametrize(("confusion", "correct"), [(np.diag([5, 0, 9]), 14), (np.array([[0, 5], [9, 0]]), 0)])
def test_the_interval_of_the_accuracy_is_wilsons_and_widens_no_other(confusion: NDArray[np.int64], correct: int) -> None:
    labels, predicted = (np.repeat(each, confusion.ravel()) for each in np.indices(confusion.shape).reshape(2, -1))
    logits = np.eye(len(confusion))[predicted]
    intervals = closed_set_result(logits, probabilities(logits), labels, "abc"[: len(confusion)]).intervals
    assert intervals["accuracy"] == wilson_interval(correct, 14)
    assert 0.1 < np.ptp(intervals["accuracy"]) < 0.3
    share = correct / 14
    assert intervals["balanced_accuracy"] == intervals["macro_f1"] == (share, share)


def test_a_further_error_never_raises_an_interval() -> None:
    tables = [np.array([[48, 0], [wrong, 48 - wrong]]) for wrong in range(9)]
    for name in ("balanced_accuracy", "macro_f1"):
        intervals = np.array([bootstrap_intervals(confusion)[name] for confusion in tables])
        assert (np.diff(intervals, axis=0) <= 0.002).all(), name  # sampling error of a thousand draws
    assert (np.diff([wilson_interval(96 - wrong, 96) for wrong in range(9)], axis=0) < 0).all()


def test_the_bootstrap_is_a_function_of_its_seed() -> None:
    confusion = np.array([[5, 2], [3, 9]])
    assert bootstrap_intervals(confusion, seed=3) == bootstrap_intervals(confusion, seed=3)
    assert bootstrap_intervals(confusion, seed=3) != bootstrap_intervals(confusion, seed=4)


def test_the_bootstrap_of_ten_thousand_images_of_a_thousand_classes_is_fast() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 1000, (2, 10_000))
    start = time.process_time()
    bootstrap_intervals(confusion_of(labels, predicted, 1000))
    assert time.process_time() - start < 3  # 0.5 s on an idle core


@pytest.mark.parametrize(("successes", "n", "low", "high"), [(8, 10, 0.4902, 0.9433), (0, 10, 0, 0.2775), (1, 1, 0.2065, 1)])
def test_wilsons_interval_has_its_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("classes", "among"), [(12, 12), (12, 7), (2, 2)])
def test_the_area_under_the_curve_equals_scikit_learns(classes: int, among: int) -> None:
    logits, labels, _ = draw(0, classes=classes, among=among)
    probs = np.round(probabilities(logits), 1)  # rounded, so that there are ties
    expected = np.mean([reference.roc_auc_score(labels == c, probs[:, c]) for c in range(among)])
    assert roc_auc(probs, labels) == pytest.approx(expected)


def test_a_single_class_has_no_area_under_the_curve() -> None:
    assert roc_auc(np.full((3, 2), 0.5), np.zeros(3, dtype=int)) is None


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_calibration_error_equals_a_plain_loop(bins: int) -> None:
    logits, labels, _ = draw(0)
    probs = probabilities(logits, 0.7)
    probs[:3] = np.eye(12)[:3]  # probabilities of one
    edges = np.linspace(0, 1, bins + 1)
    expected = 0.0
    for low, high in pairwise(edges):
        members = [i for i in range(len(labels)) if low < probs[i].max() <= high]
        if members:
            confidence = sum(probs[i].max() for i in members) / len(members)
            accuracy = sum(int(probs[i].argmax()) == labels[i] for i in members) / len(members)
            expected += len(members) / len(labels) * abs(accuracy - confidence)
    assert expected_calibration_error(probs, labels, bins) == pytest.approx(expected)


def test_a_reliability_bin_without_images_has_no_confidence() -> None:
    probs = np.array([[0.875, 0.125], [0.375, 0.625]])
    assert reliability(probs, np.array([0, 0]), bins=2) == [
        ReliabilityBin(low=0, high=0.5, count=0, confidence=None, accuracy=None),
        ReliabilityBin(low=0.5, high=1, count=2, confidence=0.75, accuracy=0.5),
    ]


def test_the_brier_score_equals_a_plain_loop() -> None:
    logits, labels, _ = draw(0)
    probs = probabilities(logits)
    expected = sum(sum((p - (c == label)) ** 2 for c, p in enumerate(row)) for row, label in zip(probs, labels, strict=True))
    assert brier_score(probs, labels) == pytest.approx(expected / len(labels))


def test_the_brier_score_does_not_modify_the_probabilities() -> None:
    probs = np.array([[0.5, 0.5]])
    brier_score(probs, np.array([0]))
    assert probs.tolist() == [[0.5, 0.5]]


def test_confused_pairs_are_sorted_by_count_then_by_share() -> None:
    confusion = np.array([[8, 2, 0], [2, 2, 0], [0, 1, 0]])
    assert confused_pairs(confusion, ["ann", "bea", "cy"]) == [
        ConfusedPair("bea", "ann", 2, 0.5),
        ConfusedPair("ann", "bea", 2, 0.2),
        ConfusedPair("cy", "bea", 1, 1.0),
    ]
    assert len(confused_pairs(confusion, ["ann", "bea", "cy"], most=1)) == 1


def test_subgroups_are_evaluated_separately_and_compared() -> None:
    labels, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 1, 0, 0])
    result = subgroup_metrics(labels, predicted, ["young", "young", "old", "old", "old"])
    assert result.groups == (
        SubgroupMetrics("old", 3, 1 / 3, wilson_interval(1, 3)),
        SubgroupMetrics("young", 2, 1, wilson_interval(2, 2)),
    )
    assert (result.best, result.worst) == ("young", "old")
    assert result.gap == pytest.approx(2 / 3)
    assert json.loads(json.dumps(result.to_plain())) == result.to_plain()


def test_the_metrics_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels, names = draw(7, images=100)
    whole = compute_metrics(logits, labels, names).to_plain()
    for at_once in (1, 12, 84):
        monkeypatch.setattr(metrics, "LOGITS_AT_ONCE", at_once)
        assert compute_metrics(logits, labels, names).to_plain() == whole


def test_metrics_take_less_memory_than_the_logits() -> None:
    logits = np.random.default_rng(0).normal(size=(60_000, 200)).astype(np.float32)
    labels = np.arange(len(logits)) % 200
    compute_metrics(logits[:10], labels[:10], [str(number) for number in range(200)])  # scikit-learn is imported
    tracemalloc.start()
    compute_metrics(logits, labels, [str(number) for number in range(200)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < logits.nbytes
