import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from facecls.config.schema import UnknownConfig
from facecls.open_set.calibration import UNCALIBRATED, Calibration, describe, explain_threshold, warnings_about
from facecls.open_set.fit import MIN_TRUE_ACCEPT, calibrate
from facecls.open_set.outputs import ImpostorOutputs, Outputs
from facecls.open_set.scores import Gallery, enrol
from facecls.open_set.temperature import (
    cross_fitted_nll,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
)
from facecls.open_set.thresholds import Source, Threshold

CLASSES = tuple("abcdef")
ONE_PERCENT = UnknownConfig(target_false_accept=0.01)


def images(n: int, seed: int, spread: float = 0.15, unknown: bool = False) -> tuple[Outputs, NDArray[np.int64]]:
    """Outputs of an overconfident network for n images: one direction per class, others for unknown people."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(CLASSES)
    directions = np.eye(12)[labels + (6 if unknown else 0)]
    features = (directions + spread * rng.normal(size=(n, 12))).astype(np.float32)
    return Outputs(30 * features[:, :6], features), labels


def synthetic(n: int, seed: int, spread: float = 0.15) -> ImpostorOutputs:
    """Its outputs for n synthetic impostors, as if for unknown people."""
    sources = np.random.default_rng(seed).integers(0, n, (n, 3))
    return ImpostorOutputs(images(n, seed, spread, unknown=True)[0], sources)


def enrolled(train: Outputs, labels: NDArray[np.int64], config: UnknownConfig | None = None) -> Gallery | None:
    return enrol((config or UnknownConfig()).score, train.features, labels, CLASSES)


def test_calibration_lowers_the_calibration_error() -> None:
    val, labels = images(600, 1, spread=0.5)
    calibration = calibrate(val, labels, UnknownConfig(enabled=False))
    before, after = calibration.ece or (0, 0)
    assert calibration.temperature > 2 and after < before / 2
    assert after == expected_calibration_error(calibration.probabilities(val.logits), labels)


def test_a_temperature_that_does_not_lower_the_likelihood_loss_is_not_applied() -> None:
    labels = np.arange(96) % 6
    val = Outputs(12 * np.eye(6, dtype=np.float32)[labels], np.zeros((96, 0), np.float32))  # all correct, nearly certain
    assert fit_temperature(val.logits, labels) > 1.3
    calibration = calibrate(val, labels, UnknownConfig(enabled=False))
    assert (calibration.temperature, calibration.ece) == (
        1,
        (expected_calibration_error(probabilities(val.logits), labels),) * 2,
    )
    line = "calibration: none (temperature scaling does not lower NLL and ECE of 96 validation images), ECE 0.000"
    assert (describe(calibration), warnings_about(calibration)) == ([line], [])


def test_a_temperature_that_raises_the_calibration_error_is_not_applied() -> None:
    refused = 0
    for seed in range(40):
        val, labels = images(60, seed, spread=0.5)
        val = Outputs(val.logits / np.float32(4), val.features)  # nearly calibrated
        calibration = calibrate(val, labels, UnknownConfig(enabled=False))
        assert calibration.ece is not None and calibration.ece[1] <= calibration.ece[0]
        lower_nll = cross_fitted_nll(val.logits, labels) < negative_log_likelihood(val.logits, labels)
        refused += lower_nll and calibration.scaling == "not_better"
    assert refused > 0


def test_too_few_images_are_not_calibrated() -> None:
    val, labels = images(49, 1, spread=0.5)
    calibration = calibrate(val, labels, UnknownConfig(enabled=False))
    ece = expected_calibration_error(probabilities(val.logits), labels)
    assert (calibration.temperature, calibration.ece) == (1, (ece, ece))
    assert describe(calibration) == [f"calibration: none (too few validation images), ECE {ece:.3f} on 49 validation images"]
    assert warnings_about(calibration) == [
        "49 validation images are too few for temperature scaling, which needs 50: probabilities are not calibrated"
    ]
    assert calibrate(*images(50, 1, spread=0.5), UnknownConfig(enabled=False)).temperature > 2


@pytest.mark.parametrize(
    ("source", "target", "synthetic", "measured", "accepted"),
    [
        ("validation", None, 0.944, None, 94),
        ("validation", None, 0.2, None, None),
        ("validation", None, None, None, None),
        ("validation", None, 0.944, 0.05, None),  # on real impostors, which count for more
        ("synthetic_impostors", 0.05, None, None, None),
        ("synthetic_impostors", 0.05, None, 0.31, 31),
        ("impostors", 0.5, None, None, 50),
    ],
)
def test_a_threshold_that_accepts_most_impostors_is_said_to_be_useless(
    source: Source, target: float | None, synthetic: float | None, measured: float | None, accepted: int | None
) -> None:
    threshold = Threshold(0.5, "centroid", source, target, 100, None, 0.95, synthetic_accept_rate=synthetic)
    calibration = Calibration(temperature=1.0, ece=(0.1, 0.1), n=100, threshold=threshold, gallery=None)
    warning = f"cannot reject unknown people: about {accepted} % of impostors would be accepted"
    assert warnings_about(calibration, measured) == ([] if accepted is None else [warning])


def test_a_temperature_at_the_end_of_its_range_is_reported() -> None:
    calibration = Calibration(temperature=19.999999999, ece=(0.096, 0.005), n=2, threshold=None, gallery=None)
    line = "calibration: temperature 20 (end of the search range), ECE 0.096 -> 0.005 on 2 validation images"
    assert describe(calibration) == [line]


def test_without_unknown_there_is_no_threshold_and_all_are_accepted() -> None:
    val, labels = images(60, 1)
    calibration = calibrate(val, labels, UnknownConfig(enabled=False))
    assert calibration.threshold is None and calibration.accepts(val).all()
    assert UNCALIBRATED.accepts(val).all()


@pytest.mark.parametrize("score", ["centroid", "neighbours", "probability", "energy"])
def test_impostors_are_accepted_at_the_target_rate(score: str) -> None:
    train, val, impostors, others = (images(600, seed, unknown=seed > 1) for seed in range(4))
    config = UnknownConfig.model_validate({"score": score, "target_false_accept": 0.05})
    calibration = calibrate(*val, config, gallery=enrolled(*train, config), impostors=impostors[0])
    assert calibration.threshold is not None and calibration.threshold.source == "impostors"
    low, high = calibration.threshold.interval or (0, 0)
    assert low < calibration.accepts(others[0]).mean() < high
    assert calibration.accepts(val[0]).mean() == calibration.threshold.true_accept_rate
    assert (calibration.gallery is not None) == (score in ("centroid", "neighbours"))


def test_without_impostors_the_threshold_is_set_on_synthetic_impostors() -> None:
    train, val, impostors = images(600, 0), images(600, 1), synthetic(500, 2)
    calibration = calibrate(*val, ONE_PERCENT, gallery=enrolled(*train), synthetic_impostors=impostors)
    assert calibration.threshold is not None
    assert (calibration.threshold.source, calibration.threshold.n) == ("synthetic_impostors", 500)
    assert calibration.threshold.interval is not None
    assert calibration.threshold.true_accept_rate >= MIN_TRUE_ACCEPT
    assert calibration.accepts(impostors.outputs).sum() == 4  # the threshold is the fifth highest score


def test_with_too_few_synthetic_impostors_the_threshold_is_set_on_validation_images() -> None:
    train, val = images(600, 0), images(600, 1)
    calibration = calibrate(*val, ONE_PERCENT, gallery=enrolled(*train), synthetic_impostors=synthetic(98, 2))
    assert calibration.threshold is not None and calibration.threshold.source == "validation"


@pytest.mark.parametrize("score", ["centroid", "neighbours", "probability", "energy"])
def test_a_poor_network_still_accepts_known_images(score: str) -> None:
    train, val, impostors = images(600, 0, spread=2.0), images(600, 1, spread=2.0), synthetic(600, 2, spread=2.0)
    config = UnknownConfig.model_validate({"score": score})
    calibration = calibrate(*val, config, gallery=enrolled(*train, config), synthetic_impostors=impostors)
    assert calibration.threshold is not None and calibration.threshold.source == "validation"
    assert calibration.threshold.synthetic_accept_rate == calibration.accepts(impostors.outputs).mean() > 0.5
    assert calibration.accepts(val[0]).mean() >= 0.95


@pytest.mark.parametrize("enabled", [True, False])
def test_a_calibration_survives_a_round_trip_through_plain_values(enabled: bool) -> None:
    train, val, impostors = (images(600, seed) for seed in range(3))
    config = UnknownConfig(enabled=enabled)
    calibration = calibrate(*val, config, gallery=enrolled(*train, config), impostors=impostors[0])
    again = Calibration.from_plain(calibration.to_plain())
    assert again.accepts(val[0]).tolist() == calibration.accepts(val[0]).tolist()
    assert replace(again, gallery=None) == replace(calibration, gallery=None) and calibration.chance is not None


def test_a_threshold_is_described_with_the_images_that_it_was_set_on() -> None:
    train, val, impostors = images(600, 0), images(100, 1, spread=2), images(600, 2, unknown=True)
    on_impostors, on_synthetic, on_val, on_val_alone = (
        describe(calibrate(*known, ONE_PERCENT, gallery=enrolled(*train), impostors=unknown, synthetic_impostors=made))
        for known, unknown, made in (
            (val, impostors[0], None),
            (images(100, 1), None, synthetic(600, 2)),
            (val, None, synthetic(600, 2)),
            (val, None, None),
        )
    )
    assert on_impostors[1].startswith("rejection threshold 0.428 (cosine to class centroid): ")
    assert ": 1 % FAR on 600 impostors (95 % CI 0.37-1.9 %), " in on_impostors[1]
    assert on_impostors[1].endswith(" % TAR on val, more with a higher `unknown.target_false_accept`")
    sources = len(np.unique(synthetic(600, 2).sources))
    assert f"1 % FAR on 600 synthetic impostors (made from {sources} images; 95 % CI " in on_synthetic[1]
    assert on_synthetic[1].endswith(", 100.0 % TAR on val")
    assert len(on_synthetic[1]) < 150
    accepted = ": 96.0 % TAR on 100 val images; "
    assert on_val[1].endswith(f"{accepted}74.5 % FAR on synthetic impostors (`unknown.target_false_accept` not applied)")
    assert on_val_alone[1].endswith(f"{accepted}FAR unknown (`unknown.target_false_accept` not applied)")
    assert on_val[0].startswith("calibration: temperature ") and on_val[0].endswith(" on 100 validation images")


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((0.0037, 0.019), "(made from 9 images; 95 % CI 0.37-1.9 %), 90.0 % TAR on val"),
        ((0.12, 0.994), "(made from 9 images; 95 % CI 12-99 %), 90.0 % TAR on val"),
        ((0.12, 0.996), "(made from 9 images; 95 % CI 12-99.6 %), 90.0 % TAR on val"),
        ((0.12, 1.0), "(made from 9 images; 95 % CI 12-100 %), 90.0 % TAR on val"),
        (None, "5 % FAR on 27 synthetic impostors (made from 9 images), 90.0 % TAR on val"),
    ],
)
def test_an_interval_is_printed_in_percent_without_exponents(interval: tuple[float, float] | None, text: str) -> None:
    threshold = Threshold(0.5, "centroid", "synthetic_impostors", 0.05, 27, interval, 0.9, synthetic_sources=9)
    assert text in explain_threshold(threshold)


def test_a_calibration_is_applied_with_numpy_alone() -> None:
    program = """
import sys
blocked = ("torch", "pydantic", "scipy", "sklearn")
for name in blocked:
    sys.modules[name] = None  # importing it raises ImportError
import numpy as np
from facecls.open_set.calibration import Calibration, describe
from facecls.open_set.outputs import Outputs
from facecls.open_set.scores import Gallery
from facecls.open_set.thresholds import Threshold
gallery = Gallery(np.eye(2, dtype=np.float32), np.arange(2, dtype=np.int32), 1)
for score in ("centroid", "neighbours", "probability", "energy"):
    threshold = Threshold(0.8, score, "impostors", 0.01, 99, (0.0, 0.04), 0.9)
    calibration = Calibration(2.0, (0.2, 0.1), 10, threshold, gallery)
    calibration = Calibration.from_plain(calibration.to_plain())
    older = {name: value for name, value in calibration.to_plain().items() if name not in ("scaling", "chance")}
    assert Calibration.from_plain(older).scaling == calibration.scaling
    outputs = Outputs(np.array([[4, 0], [0.1, 0]], np.float32), np.array([[3, 0], [1, 1]], np.float32))
    assert len(describe(calibration)) == 2
    print(calibration.accepts(outputs).tolist(), calibration.probabilities(outputs.logits).argmax(axis=1).tolist())
print([name for name in sys.modules if name.partition(".")[0] in blocked and sys.modules[name] is not None])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [*["[True, False] [0, 0]"] * 4, "[]"]
