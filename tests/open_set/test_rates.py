import numpy as np

from facecls.open_set.rates import identification_rates


def test_the_identification_rate_counts_known_images_that_are_accepted_and_correctly_classified() -> None:
    known, correct = np.array([0.9, 0.8, 0.7, 0.2]), np.array([True, False, True, True])
    result = identification_rates(known, correct, np.array([0.75, 0.5, 0.1, 0.1]), targets=(0.01, 0.2, 0.4))
    assert [(p.target_false_accept, p.threshold, p.identification_rate, p.false_accept_rate) for p in result.points] == [
        (0.2, 0.75, 0.25, 0),
        (0.4, 0.5, 0.5, 0.25),
    ]
    assert result.false_accept_rates.tolist() == [0, 0.25, 0.5, 1]
    assert result.identification_rates.tolist() == [0.25, 0.5, 0.75, 0.75]


def test_the_identification_rate_rises_with_the_false_accept_rate() -> None:
    rng = np.random.default_rng(0)
    result = identification_rates(rng.normal(1, 1, 500), rng.random(500) < 0.9, rng.normal(-1, 1, 300))
    assert (np.diff(result.false_accept_rates) > 0).all()
    assert (np.diff(result.identification_rates) >= 0).all()
    assert [point.false_accept_rate <= point.target_false_accept for point in result.points] == [True] * 3
