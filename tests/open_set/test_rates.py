import numpy as np

from facecls.open_set.rates import identification_rates


def test_identification_counts_known_ones_let_in_and_named_right() -> None:
    known, correct = np.array([0.9, 0.8, 0.7, 0.2]), np.array([True, False, True, True])
    result = identification_rates(known, correct, np.array([0.75, 0.5, 0.1, 0.1]), rates=(0.01, 0.2, 0.4))
    assert [(p.rate, p.threshold, p.identified, p.false_accept) for p in result.points] == [
        (0.2, 0.75, 0.25, 0),
        (0.4, 0.5, 0.5, 0.25),
    ]
    assert result.curve_false_accept.tolist() == [0, 0.25, 0.5, 1]
    assert result.curve_identified.tolist() == [0.25, 0.5, 0.75, 0.75]


def test_thresholds_set_by_other_strangers_meet_new_ones() -> None:
    result = identification_rates(
        np.array([0.9, 0.3]), np.array([True, True]), np.array([0.6, 0.4]), (0.1,), calibration_scores=np.arange(9) / 16
    )
    (point,) = result.points
    assert (point.threshold, point.identified, point.false_accept) == (0.5, 0.5, 0.5)


def test_the_identification_curve_never_falls() -> None:
    rng = np.random.default_rng(0)
    result = identification_rates(rng.normal(1, 1, 500), rng.random(500) < 0.9, rng.normal(-1, 1, 300))
    assert (np.diff(result.curve_false_accept) > 0).all()
    assert (np.diff(result.curve_identified) >= 0).all()
    assert [point.false_accept <= point.rate for point in result.points] == [True] * 3
