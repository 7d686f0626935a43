"""What a finished training leaves in best.pt beside the weights."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from facecls.checkpoint import read, read_plain
from facecls.config.load import load_config
from facecls.device import resolve_device
from facecls.errors import DataError
from facecls.evaluation.evaluate import evaluate_checkpoint
from facecls.progress import Progress
from facecls.run import EpochMetrics, Run
from facecls.training.train import train
from tests.conftest import Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]

ABLE = {"epochs": 15, "batch_size": 8}  # enough training to be better than chance, which a threshold needs


def test_best_pt_holds_the_judgement_and_its_figures(tiny: Tiny, tmp_path: Path, impostors: Path) -> None:
    run = Run(tmp_path / "run")
    config = load_config(tiny(train=ABLE, unknown={"strangers": str(impostors), "target_false_accept": 0.1}))
    result = train(config, run, Progress(), resume=False)
    calibration = read(run.best).calibration
    assert calibration is not None and calibration.threshold is not None and calibration.gallery is not None
    assert (calibration.threshold.source, calibration.threshold.n) == ("impostors", 20)
    assert calibration.gallery.vectors.shape == (4, 128)
    best = EpochMetrics(**read_plain(run.best)["metrics"])
    assert (best.val_ece, best.val_ece_calibrated) == calibration.ece
    assert result is not None and best == result.best == run.rows()[best.epoch]


def test_images_with_their_mirror_images_have_a_judgement_of_their_own(tiny: Tiny, tmp_path: Path, impostors: Path) -> None:
    run = Run(tmp_path / "run")
    train(
        load_config(tiny(train=ABLE, unknown={"strangers": str(impostors), "target_false_accept": 0.1})),
        run,
        Progress(),
        resume=False,
    )
    best = read(run.best)
    plain, mirrored = best.calibration_for(), best.calibration_for(mirrored=True)
    assert plain.threshold is not None and mirrored.threshold is not None
    assert plain.threshold.value != mirrored.threshold.value and plain.gallery is mirrored.gallery
    evaluation = evaluate_checkpoint(best, resolve_device("cpu", "auto"), Progress(), impostors=impostors, mirrored=True)
    assert evaluation.open_set.threshold == mirrored.threshold
    # The threshold was set on these impostors, so the rate is at most its target.
    assert evaluation.open_set.false_accept_rate is not None and evaluation.open_set.false_accept_rate <= 0.1


def test_the_threshold_can_be_set_anew_without_training(tiny: Tiny, tmp_path: Path, impostors: Path) -> None:
    run = Run(tmp_path / "run")
    config = tiny(train=ABLE)
    train(load_config(config), run, Progress(), resume=False)
    before = read(run.best)
    rows = len(run.rows())
    again = [f"unknown.strangers={impostors}", "unknown.target_false_accept=0.2"]
    train(load_config(config, again), run, Progress(), resume=True)
    after = read(run.best)
    assert len(run.rows()) == rows
    assert all(torch.equal(before.weights[name], after.weights[name]) for name in before.weights)
    assert before.calibration is not None and before.calibration.threshold is not None
    assert after.calibration is not None and after.calibration.threshold is not None
    assert (before.calibration.threshold.source, after.calibration.threshold.source) == ("validation", "impostors")
    assert after.config.unknown.target_false_accept == 0.2


def test_without_strangers_the_threshold_is_set_by_composites_of_val(tiny: Tiny, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    train(load_config(tiny(train=ABLE, unknown={"target_false_accept": 0.9})), run, Progress(), resume=False)
    best = read(run.best)
    for threshold in (best.calibration_for().threshold, best.calibration_for(mirrored=True).threshold):
        assert threshold is not None and threshold.synthetic_sources is not None
        assert (threshold.source, threshold.target_false_accept) == ("synthetic_impostors", 0.9)
        assert 3 <= threshold.synthetic_sources <= 48 and 99 < threshold.n <= 1000


def test_too_few_strangers_end_a_run_before_it_trains(tiny: Tiny, tmp_path: Path, impostors: Path) -> None:
    with pytest.raises(DataError, match="needs at least 99 images of unknown people, there are 20"):
        config = load_config(tiny(unknown={"strangers": str(impostors), "target_false_accept": 0.01}))
        train(config, Run(tmp_path / "run"), Progress(), resume=False)
    assert not (tmp_path / "run" / "last.pt").exists()


def test_handed_labels_are_never_mirrored(tiny: Tiny, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    train(load_config(tiny(data={"flip_changes_class": True}, train={"epochs": 1})), run, Progress(), resume=False)
    assert load_config(run.config).augment.flip == 0
    assert read(run.best).calibration_flipped is None


def test_few_validation_images_are_not_calibrated(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    result = facecls("train", tiny(train={"epochs": 1}), "--out", tmp_path / "run")
    warning = "8 validation images are too few for temperature scaling, which needs 50: probabilities are not calibrated"
    assert f"warning: {warning}\n" in result.err and "calibration: none (too few validation images), ECE " in result.err
    assert read(tmp_path / "run").calibration_for().temperature == 1


def test_a_threshold_that_cannot_reject_is_said_to_be_so_everywhere(
    facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path
) -> None:
    run, config = tmp_path / "run", tiny(train=ABLE, unknown={"target_false_accept": 0.001})
    trained = facecls("train", config, "--out", run)  # too few synthetic impostors for the target
    threshold = read(run).calibration_for().threshold
    assert threshold is not None and threshold.synthetic_accept_rate is not None and threshold.synthetic_accept_rate > 0.2
    share = f"{100 * threshold.synthetic_accept_rate:.0f}"
    warning = f"cannot reject unknown people: about {share} % of impostors would be accepted"
    predicted = facecls("predict", faces, "--checkpoint", run)
    for result in (trained, facecls("eval", run), predicted):
        assert result.err.count(f"warning: {warning}\n") == 1 and warning not in result.out
    assert warning in json.loads(facecls("eval", run, "--format", "json").out)["warnings"]
    assert warning not in facecls("predict", faces, "--checkpoint", run, "--no-unknown").err
    assert facecls("report", run).code == 0
    assert f"C{warning[1:]}." in (run / "report.html").read_text()


def test_a_classifier_that_is_not_better_than_chance_is_said_to_be_so_and_rejects_nobody(
    facecls: Facecls, tiny: Tiny, impostors: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options = tiny(optimizer={"lr": 1e-9}, unknown={"strangers": str(impostors), "target_false_accept": 0.1})
    trained = facecls("train", options, "--out", run)
    calibration = read(run).calibration_for()
    assert calibration.chance is not None and not calibration.chance.passed and calibration.threshold is None
    warning = "warning: not better than chance: accuracy "
    after = " % on 8 validation images, always predicting the largest class gives 25.0 % (p = "
    for result in (trained, facecls("eval", run)):
        (line,) = [line for line in result.err.splitlines() if line.startswith(warning)]
        assert after in line and line.endswith("); no rejection threshold")
    assert trained.err.splitlines()[-3].startswith(warning) and "rejection threshold 0" not in trained.err
    assert any(
        line.startswith("not better than chance")
        for line in json.loads(facecls("eval", run, "--format", "json").out)["warnings"]
    )
    assert facecls("report", run).code == 0
    assert "Not better than chance: accuracy " in (run / "report.html").read_text()


def test_metrics_stay_json_lines(tiny: Tiny, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    train(load_config(tiny()), run, Progress(), resume=False)
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert sum("val_ece" in row for row in rows) == 1
