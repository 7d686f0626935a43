import numpy as np
import pytest
from numpy.typing import NDArray

from facecls.open_set.temperature import (
    TEMPERATURE_RANGE,
    cross_fitted_nll,
    fit_temperature,
    log_probabilities,
    negative_log_likelihood,
    probabilities,
)

Drawn = tuple[NDArray[np.float64], NDArray[np.int64]]


def draw(temperature: float, images: int, classes: int = 10, seed: int = 0) -> Drawn:
    """Logits that are calibrated once they are divided by `temperature`."""
    rng = np.random.default_rng(seed)
    calibrated = rng.normal(size=(images, classes)) * 2
    labels = (probabilities(calibrated).cumsum(axis=1) > rng.random((images, 1))).argmax(axis=1)
    return calibrated * temperature, labels


def loss(logits: NDArray[np.float64], labels: NDArray[np.int64], temperature: float) -> float:
    return -float(log_probabilities(logits, temperature)[np.arange(len(labels)), labels].mean())


def test_probabilities_are_the_softmax() -> None:
    logits = np.log(np.array([[1.0, 2.0, 5.0], [4.0, 4.0, 2.0]]))
    assert probabilities(logits) == pytest.approx(np.array([[0.125, 0.25, 0.625], [0.4, 0.4, 0.2]]))
    assert probabilities(2 * logits, 2.0) == pytest.approx(probabilities(logits))


def test_large_float32_logits_do_not_overflow() -> None:
    result = probabilities(np.array([[1e4, 0, -1e4]], dtype=np.float32), 0.05)
    assert result.dtype == np.float64
    assert result.tolist() == [[1, 0, 0]]


def test_logits_are_not_modified() -> None:
    logits = np.array([[1.0, 2.0]])
    probabilities(logits)
    fit_temperature(logits, np.array([0]))
    assert logits.tolist() == [[1, 2]]


@pytest.mark.parametrize("temperature", [0.2, 0.6, 1.0, 2.5, 8.0])
def test_the_temperature_of_over_and_underconfident_logits_is_found(temperature: float) -> None:
    assert fit_temperature(*draw(temperature, 10_000)) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("temperature", [0.3, 3.0])
def test_no_other_temperature_has_a_lower_loss_on_many_images(temperature: float) -> None:
    logits, labels = draw(temperature, 5000)
    fitted = fit_temperature(logits, labels)
    grid = np.geomspace(*TEMPERATURE_RANGE, 400)
    least = min(loss(logits, labels, float(each)) for each in grid)
    assert loss(logits, labels, fitted) <= least + 1e-4


def test_the_fit_minimises_its_own_smoothed_likelihood() -> None:
    for seed in range(3):
        logits, labels = draw(1.5, 20, classes=3, seed=seed)
        smoothing = 1 / 22
        grid = np.geomspace(*TEMPERATURE_RANGE, 6000)
        losses = []
        for each in grid:
            logs = log_probabilities(logits, float(each))
            losses.append(-((1 - smoothing) * logs[np.arange(20), labels] + smoothing * logs.mean(axis=1)).mean())
        assert fit_temperature(logits, labels) == pytest.approx(grid[np.argmin(losses)], rel=1e-3)


def test_a_few_correctly_classified_images_do_not_give_probabilities_of_one() -> None:
    logits = 8 * np.eye(5)
    confidence = probabilities(logits, fit_temperature(logits, np.arange(5))).max()
    assert 0.8 < confidence < 0.95


def test_the_temperature_of_wrong_predictions_is_the_upper_end_of_the_range() -> None:
    logits = 8 * np.eye(5)
    assert fit_temperature(logits, (np.arange(5) + 1) % 5) == pytest.approx(20, rel=1e-6)


def test_the_temperature_of_equal_logits_is_one() -> None:
    assert fit_temperature(np.zeros((4, 3)), np.array([0, 1, 2, 0])) == 1


def test_large_logit_differences_have_a_temperature() -> None:
    fitted = fit_temperature(np.array([[5000.0, 0], [0, 5000]]), np.array([0, 0]))
    assert fitted == pytest.approx(20, rel=1e-6)


def test_each_image_of_a_cross_fit_has_the_temperature_of_the_other_folds() -> None:
    logits, labels = draw(2.0, 43, classes=3)
    order = np.argsort(labels, kind="stable").tolist()
    expected = 0.0
    for k in range(5):
        own, rest = order[k::5], [i for i in range(43) if i not in order[k::5]]
        expected += len(own) * loss(logits[own], labels[own], fit_temperature(logits[rest], labels[rest]))
    assert cross_fitted_nll(logits, labels) == pytest.approx(expected / 43)


@pytest.mark.parametrize(("temperature", "lower"), [(0.3, True), (1.0, False), (3.0, True)])
def test_a_cross_fit_is_lower_only_if_scaling_helps(temperature: float, lower: bool) -> None:
    differences = [
        cross_fitted_nll(*drawn) - negative_log_likelihood(*drawn)
        for drawn in (draw(temperature, 300, seed=seed) for seed in range(20))
    ]
    assert (np.mean(differences) < 0) == lower
