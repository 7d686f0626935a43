import numpy as np
import pytest
from numpy.typing import NDArray

from facecls.config.schema import UnknownConfig
from facecls.open_set.calibration import LEAST_KEPT, UNCALIBRATED, Calibration, calibrate, describe, explain_threshold
from facecls.open_set.outputs import ImpostorOutputs, Outputs
from facecls.open_set.scores import Gallery, enrol
from facecls.open_set.temperature import expected_calibration_error
from facecls.open_set.thresholds import Threshold

CLASSES = tuple("abcdef")
ONE_IN_A_HUNDRED = UnknownConfig(target_false_accept=0.01)


def images(n: int, seed: int, spread: float = 0.15, strange: bool = False) -> tuple[Outputs, NDArray[np.int64]]:
    """What an overconfident network says of n images, each class in a direction of its own, strangers in others."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(CLASSES)
    directions = np.eye(12)[labels + (6 if strange else 0)]
    features = (directions + spread * rng.normal(size=(n, 12))).astype(np.float32)
    return Outputs(30 * features[:, :6], features), labels


def composed(n: int, seed: int, spread: float = 0.15) -> ImpostorOutputs:
    """What it says of n composites, as if of strangers."""
    sources = np.random.default_rng(seed).integers(0, n, (n, 3))
    return ImpostorOutputs(images(n, seed, spread, strange=True)[0], sources)


def enrolled(train: Outputs, labels: NDArray[np.int64], config: UnknownConfig | None = None) -> Gallery | None:
    return enrol((config or UnknownConfig()).score, train.features, labels, CLASSES)


def test_the_calibrated_error_is_the_smaller_one() -> None:
    val, labels = images(600, 1, spread=0.5)
    calibration = calibrate(val, labels, UnknownConfig(enabled=False))
    before, after = calibration.ece or (0, 0)
    assert calibration.temperature > 2 and after < before / 2
    assert after == expected_calibration_error(calibration.probabilities(val.logits), labels)


def test_a_temperature_at_the_end_of_its_range_is_told_as_such() -> None:
    found = Calibration(temperature=19.999999999, ece=(0.096, 0.005), n=2, threshold=None, gallery=None)
    assert describe(found) == [
        "calibrated on 2 val images: temperature 20 (the end of the range that is searched), "
        "expected calibration error 0.096 before, 0.005 after"
    ]


def test_without_unknown_there_is_no_threshold_and_all_are_accepted() -> None:
    val, labels = images(60, 1)
    calibration = calibrate(val, labels, UnknownConfig(enabled=False))
    assert calibration.threshold is None and calibration.accepts(val).all()
    assert UNCALIBRATED.accepts(val).all()


@pytest.mark.parametrize("score", ["centroid", "neighbours", "probability", "energy"])
def test_strangers_are_turned_away_at_the_rate_that_was_asked_for(score: str) -> None:
    train, val, impostors, others = (images(600, seed, strange=seed > 1) for seed in range(4))
    config = UnknownConfig.model_validate({"score": score, "target_false_accept": 0.05})
    calibration = calibrate(*val, config, gallery=enrolled(*train, config), impostors=impostors[0])
    assert calibration.threshold is not None and calibration.threshold.source == "strangers"
    low, high = calibration.threshold.interval or (0, 0)
    assert low < calibration.accepts(others[0]).mean() < high
    assert calibration.accepts(val[0]).mean() == calibration.threshold.known_kept
    assert (calibration.gallery is not None) == (score in ("centroid", "neighbours"))


def test_without_strangers_composites_stand_in_for_them() -> None:
    train, val, nobody = images(600, 0), images(600, 1), composed(500, 2)
    calibration = calibrate(*val, ONE_IN_A_HUNDRED, gallery=enrolled(*train), synthetic_impostors=nobody)
    assert calibration.threshold is not None
    assert (calibration.threshold.source, calibration.threshold.n) == ("composites", 500)
    assert calibration.threshold.interval is not None
    assert (calibration.threshold.known_kept or 0) >= LEAST_KEPT
    assert calibration.accepts(nobody.outputs).sum() == 4  # the fifth highest of them is not above itself


def test_too_few_composites_leave_it_to_val() -> None:
    train, val = images(600, 0), images(600, 1)
    calibration = calibrate(*val, ONE_IN_A_HUNDRED, gallery=enrolled(*train), synthetic_impostors=composed(98, 2))
    assert calibration.threshold is not None and calibration.threshold.source == "val"


@pytest.mark.parametrize("score", ["centroid", "neighbours", "probability", "energy"])
def test_a_network_that_knows_little_still_keeps_the_known(score: str) -> None:
    train, val, nobody = images(600, 0, spread=2.0), images(600, 1, spread=2.0), composed(600, 2, spread=2.0)
    config = UnknownConfig.model_validate({"score": score})
    calibration = calibrate(*val, config, gallery=enrolled(*train, config), synthetic_impostors=nobody)
    assert calibration.threshold is not None and calibration.threshold.source == "val"
    assert calibration.threshold.synthetic_accepted == calibration.accepts(nobody.outputs).mean() > 0.5
    assert calibration.accepts(val[0]).mean() >= 0.95


@pytest.mark.parametrize("enabled", [True, False])
def test_a_judgement_comes_back_from_its_plain_values(enabled: bool) -> None:
    train, val, impostors = (images(600, seed) for seed in range(3))
    config = UnknownConfig(enabled=enabled)
    calibration = calibrate(*val, config, gallery=enrolled(*train, config), impostors=impostors[0])
    again = Calibration.from_plain(calibration.to_plain())
    assert again.accepts(val[0]).tolist() == calibration.accepts(val[0]).tolist()
    assert (again.temperature, again.ece, again.threshold) == (calibration.temperature, calibration.ece, calibration.threshold)


def test_a_person_is_told_what_a_threshold_rests_on() -> None:
    train, val, impostors = images(600, 0), images(100, 1, spread=2), images(600, 2, strange=True)
    by_impostors, by_synthetic, by_val, by_val_alone = (
        describe(calibrate(*known, ONE_IN_A_HUNDRED, gallery=enrolled(*train), impostors=others, synthetic_impostors=nobody))
        for known, others, nobody in (
            (val, impostors[0], None),
            (images(100, 1), None, composed(600, 2)),
            (val, None, composed(600, 2)),
            (val, None, None),
        )
    )
    assert "set by 600 images of strangers so that 1 % of them get in (95 % interval 0.37 to 1.9 %)" in by_impostors[1]
    images_in_all = len(np.unique(composed(600, 2).sources))
    synthetic_impostors = (
        f"600 faces composed of three classes' images ({images_in_all} images in all) so that 1 % of them get in"
    )
    assert synthetic_impostors in by_synthetic[1]
    assert by_synthetic[1].endswith("100.0 % of val are kept; real strangers may get in more or less often")
    kept = "set by 100 val images and not by unknown.target_false_accept; 96.0 % of val are kept; "
    assert by_val[1].endswith(f"{kept}of faces composed of three classes' images 74.5 % get in")
    assert by_val_alone[1].endswith(f"{kept}how many strangers get in is not known")
    assert by_val[0].startswith("calibrated on 100 val images: temperature ")


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ((0.0037, 0.019), "get in (95 % interval 0.37 to 1.9 %); 90.0 % of val"),
        ((0.12, 0.994), "get in (95 % interval 12 to 99 %); 90.0 % of val"),
        ((0.12, 0.996), "get in (95 % interval 12 to 99.6 %); 90.0 % of val"),
        ((0.12, 1.0), "get in (95 % interval 12 to 100 %); 90.0 % of val"),
        (None, "so that 5 % of them get in; 90.0 % of val"),
    ],
)
def test_an_interval_is_told_in_plain_percent(interval: tuple[float, float] | None, words: str) -> None:
    threshold = Threshold(0.5, "centroid", "composites", 0.05, 27, interval, 0.9, synthetic_sources=9)
    assert words in explain_threshold(threshold)
