"""Fits the calibration of a trained classifier: temperature and rejection threshold."""

from facecls.config.schema import UnknownConfig
from facecls.open_set.calibration import Calibration, Scaling
from facecls.open_set.chance import chance_test
from facecls.open_set.outputs import ImpostorOutputs, Outputs
from facecls.open_set.scores import Gallery, open_set_scores
from facecls.open_set.temperature import (
    MIN_IMAGES,
    Floats,
    Ints,
    cross_fitted_nll,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
)
from facecls.open_set.thresholds import Threshold, impostors_needed

VALIDATION_TRUE_ACCEPT = 0.95  # target true accept rate of a threshold set on validation images alone
MIN_TRUE_ACCEPT = 0.5  # a threshold set on synthetic impostors is used only if it accepts this share of validation images


def calibrate(
    val: Outputs,
    val_labels: Ints,
    config: UnknownConfig,
    *,
    gallery: Gallery | None = None,
    impostors: Outputs | None = None,
    synthetic_impostors: ImpostorOutputs | None = None,
) -> Calibration:
    """Fits the temperature and, if `config.enabled`, the threshold to a network's outputs for held-out images.

    The temperature is 1 for fewer than MIN_IMAGES images, and if scaling does not lower the cross-fitted NLL or raises the ECE.
    `gallery` holds the enrolled training features that `config.score` compares with. The threshold is set at
    `config.target_false_accept` on the impostors. Without them it is set on the synthetic impostors, if these are enough
    for the target and a share MIN_TRUE_ACCEPT of the validation images is still accepted; otherwise it is set to accept a
    share VALIDATION_TRUE_ACCEPT of the validation images. A network that is not better than chance gets no threshold. Raises
    DataError if the impostors are too few for the target.
    """
    temperature, scaling = _scale(val.logits, val_labels)
    before, after = (expected_calibration_error(probabilities(val.logits, t), val_labels) for t in (1.0, temperature))
    threshold, chance = None, chance_test(val.logits, val_labels)
    if config.enabled and chance.passed:
        known = open_set_scores(config.score, val, gallery)
        if impostors is not None:
            scores = open_set_scores(config.score, impostors, gallery)
            threshold = Threshold.from_impostors(config.score, scores, config.target_false_accept, known)
        else:
            threshold = _without_impostors(config, known, synthetic_impostors, gallery)
    return Calibration(temperature, (before, after), len(val_labels), threshold, gallery, scaling, chance)


def _scale(logits: Floats, labels: Ints) -> tuple[float, Scaling]:
    if len(labels) < MIN_IMAGES:
        return 1.0, "too_few_images"
    if cross_fitted_nll(logits, labels) >= negative_log_likelihood(logits, labels):
        return 1.0, "not_better"
    temperature = fit_temperature(logits, labels)
    before, after = (expected_calibration_error(probabilities(logits, t), labels) for t in (1.0, temperature))
    return (temperature, "applied") if after <= before else (1.0, "not_better")


def _without_impostors(
    config: UnknownConfig, known: Floats, synthetic: ImpostorOutputs | None, gallery: Gallery | None
) -> Threshold:
    score, target = config.score, config.target_false_accept
    if synthetic is None:
        return Threshold.from_validation(score, known, VALIDATION_TRUE_ACCEPT)
    scores = open_set_scores(score, synthetic.outputs, gallery)
    if len(scores) >= impostors_needed(target):
        threshold = Threshold.from_synthetic_impostors(score, scores, synthetic.sources, target, known)
        # A network that hardly separates its own classes would reject most known images at this target.
        if threshold.true_accept_rate >= MIN_TRUE_ACCEPT:
            return threshold
    return Threshold.from_validation(score, known, VALIDATION_TRUE_ACCEPT, scores)
