"""Cross-validation: every image scored once, stopped and gone on with, put together on a page."""

import csv
import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from facecls.checkpoint import read, save, to_plain
from facecls.device import Device
from facecls.evaluation.cross_validation import Fold, evaluate_folds, without_own_fold
from facecls.open_set.calibration import Calibration
from facecls.open_set.thresholds import Threshold
from facecls.progress import Progress
from facecls.run import Run
from facecls.training import step
from tests.conftest import Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]


def val_of(run: Path) -> list[str]:
    with (run / "split.csv").open(newline="") as file:
        return [row["path"] for row in csv.DictReader(file) if row["split"] == "val"]


def test_every_image_is_scored_once_by_a_network_that_did_not_see_it(
    facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cv"
    result = facecls("cross-validate", tiny(train={"epochs": 1}), "--folds", "3", "--out", out, "--format", "json")
    assert result.code == 0
    plain = json.loads(result.out)
    assert [fold["n"] for fold in plain["folds"]] == [16, 16, 16]
    assert plain["pooled"]["fitted_on_these"] is False and plain["pooled"]["split"] == "all folds"
    assert sorted(path for fold in (1, 2, 3) for path in val_of(out / f"fold-{fold}")) == sorted(
        str(path.relative_to(faces)) for path in faces.rglob("*.*")
    )
    accuracies = [fold["accuracy"] for fold in plain["folds"]]
    assert plain["mean"]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert plain["deviation"]["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    assert plain["pooled"]["n"] == 48 and np.sum(plain["pooled"]["confusion"]) == 48
    assert plain["pooled"]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert plain.pop("report") == str(out / "report.html")
    assert json.loads((out / "summary.json").read_text()) == plain
    with (out / "folds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["fold"], row["images"], float(row["accuracy"])) for row in rows] == [
        (str(fold["fold"]), str(fold["n"]), fold["accuracy"]) for fold in plain["folds"]
    ]
    text = (out / "report.html").read_text()
    assert "Cross-validation folds" in text and "data:image/webp" in text and "48 images, each by the model of the fold" in text


def test_every_fold_is_evaluated_on_its_own_split_with_temperature_and_threshold_of_the_others(
    facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path
) -> None:
    uneven, out = tmp_path / "faces", tmp_path / "cv"
    shutil.copytree(faces, uneven)
    next(uneven.rglob("0001.*")).unlink()
    facecls(
        "cross-validate", tiny(data={"root": str(uneven)}, train={"epochs": 30, "batch_size": 8}), "--folds", "2", "--out", out
    )
    runs = [Run(out / "fold-1"), Run(out / "fold-2")]
    fitted = ((0.5, 1e9), (2.0, -1e9))  # a fold of 24 images is too small to fit a temperature
    for run, (temperature, value) in zip(runs, fitted, strict=True):
        best = read(run.best)
        assert best.calibration is not None
        own = Threshold(value, "probability", "validation", None, 24, None, 1.0)
        save(run.best, to_plain(replace(best, calibration=replace(best.calibration, temperature=temperature, threshold=own))))
    validation = evaluate_folds(runs, Device(torch.device("cpu"), torch.float32), Progress())

    def below_root(paths: Sequence[str]) -> list[str]:
        return sorted(str(Path(path).relative_to(uneven)) for path in paths)

    for fold, run in zip(validation.folds, runs, strict=True):
        assert below_root(fold.evaluation.split.image_list.paths) == sorted(val_of(run.folder))
    pooled, (one, two) = validation.pooled, validation.folds
    assert below_root(pooled.split.image_list.paths) == below_root([str(path) for path in uneven.rglob("*.*")])
    assert [each.checkpoint.calibration_for().temperature for each in (one, two)] == pytest.approx([2.0, 0.5])
    assert [each.evaluation.open_set.true_accept_rate for each in (one, two)] == [1.0, 0.0]
    shares = [fold.checkpoint.calibration_for().probabilities(fold.evaluation.outputs.logits) for fold in (one, two)]
    assert np.array_equal(validation.calibrated, np.concatenate(shares))
    assert one.n != two.n
    kept = [np.logical_and(*each) for each in ((fold.evaluation.open_set.accepted, right_of(fold)) for fold in (one, two))]
    assert kept[0].mean() != kept[1].mean()
    assert pooled.open_set.identification_rate == pytest.approx(np.concatenate(kept).mean())


def test_temperature_and_threshold_are_means_of_the_other_folds() -> None:
    def calibration(temperature: float, value: float | None) -> Calibration:
        threshold = None if value is None else Threshold(value, "energy", "impostors", 0.05, 100, None, 0.9)
        return Calibration(temperature, (0.2, 0.1), 60, threshold, None)

    made = without_own_fold([calibration(1.0, 3.0), calibration(2.0, 5.0), calibration(4.5, None)])
    assert [each.temperature for each in made] == pytest.approx([3.0, 4.5**0.5, 2.0**0.5])
    assert [each.threshold and each.threshold.value for each in made] == [5.0, 3.0, None]
    assert without_own_fold([calibration(1.0, 3.0), calibration(1.0, None)])[0].threshold is None


def test_the_last_epoch_of_each_fold_is_evaluated_whatever_the_config_selects(
    facecls: Facecls, tiny: Tiny, tmp_path: Path
) -> None:
    out = tmp_path / "cv"
    config = tiny(train={"epochs": 4, "batch_size": 8, "best": "val_loss", "patience": 1})
    result = facecls("cross-validate", config, "--folds", "2", "--out", out, "--format", "json")
    note = "train.best=last: cross-validation evaluates the last epoch, because none is selected on the fold\n"
    assert result.err.startswith(note)
    for number, fold in enumerate(json.loads(result.out)["folds"], 1):
        rows = Run(out / f"fold-{number}").rows()
        assert [row.epoch for row in rows] == [0, 1, 2, 3]
        assert fold["accuracy"] == pytest.approx(rows[-1].val_accuracy)
        assert read(out / f"fold-{number}").metrics["epoch"] == 3


def right_of(fold: Fold) -> NDArray[np.bool_]:
    """Which of a fold's images it names right, (N,)."""
    return np.asarray(fold.evaluation.outputs.logits.argmax(axis=1) == fold.evaluation.split.image_list.labels)


def test_folds_that_are_there_are_not_overwritten_and_not_trained_again(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    config, out = tiny(train={"epochs": 1}), tmp_path / "cv"
    first = facecls("cross-validate", config, "--folds", "2", "--out", out)
    assert first.out.splitlines()[-1] == str(out / "report.html")
    assert [line.split()[0] for line in first.out.splitlines()[:5]] == ["fold", "1", "2", "mean", "deviation"]
    assert facecls("cross-validate", config, "--folds", "2", "--out", out).err.endswith(
        f"error: {out}: already holds folds\n\nhint: resume them with --resume, or name another with --out\n"
    )
    again = facecls("cross-validate", config, "--folds", "2", "--out", out, "--resume")
    assert "fold 1 of 2: done already\nfold 2 of 2: done already\n" in again.err and "epoch 1/1" not in again.err


def test_a_cross_validation_goes_on_at_the_fold_and_step_where_it_was(
    facecls: Facecls, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(train={"epochs": 2, "batch_size": 8})
    whole, non_finite = tmp_path / "whole", tmp_path / "broken"
    facecls("cross-validate", config, "--folds", "2", "--out", whole)
    plain_step, done = step.TrainStep.step, [0]

    def counted(*arguments: Any) -> None:
        plain_step(*arguments)
        done[0] += 1
        if done[0] == 8:  # the second step of the second fold
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(step.TrainStep, "step", counted)
        stopped = facecls("cross-validate", config, "--folds", "2", "--out", non_finite)
    assert stopped.code == 130
    command = f"    facecls cross-validate {config} --folds 2 --out {non_finite} --resume\n"
    assert stopped.err.endswith(command)
    gone_on = facecls(*command.split()[1:])
    assert gone_on.code == 0
    assert "fold 1 of 2: done already\n" in gone_on.err and "resuming at epoch 1, step 2" in gone_on.err
    for fold in ("fold-1", "fold-2"):
        one, two = read(whole / fold).weights, read(non_finite / fold).weights
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_fold_that_was_killed_before_its_first_last_pt_starts_anew(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    config, out = tiny(train={"epochs": 1}), tmp_path / "cv"
    facecls("cross-validate", config, "--folds", "2", "--out", out)
    fold = Run(out / "fold-2")
    fold.last.unlink()
    fold.best.unlink()
    result = facecls("cross-validate", config, "--folds", "2", "--out", out, "--resume")
    assert result.code == 0
    assert "fold 1 of 2: done already\n" in result.err
    assert f"{fold.folder}: there is no last.pt to resume from, training starts anew\n" in result.err
    assert [row.epoch for row in fold.rows()] == [0] and read(fold.best).calibration is not None


def test_another_number_of_folds_is_refused(facecls: Facecls, tiny: Tiny, tmp_path: Path) -> None:
    config, out = tiny(train={"epochs": 1}), tmp_path / "cv"
    facecls("cross-validate", config, "--folds", "2", "--out", out)
    result = facecls("cross-validate", config, "--folds", "3", "--out", out, "--resume")
    assert result.code == 1
    assert result.err == (f"error: {out}: holds 2 folds, got --folds 3\n\nhint: use --folds 2, or name another with --out\n")


def test_a_config_that_says_itself_what_val_is_is_refused(facecls: Facecls, tiny: Tiny, trained: Path, tmp_path: Path) -> None:
    config = tiny(data={"split_file": str(trained / "split.csv")}, split={"by_name": {"val": "_01"}})
    result = facecls("cross-validate", config, "--folds", "2", "--out", tmp_path / "cv")
    assert result.code == 1 and not (tmp_path / "cv").exists()
    assert result.err == (
        f"error: data.split_file: `{trained / 'split.csv'}` and the folds both define val\n"
        "error: split.by_name.val: `_01` and the folds both define val\n"
        "\nhint: leave it out: cross-validation validates on each fold in turn\n"
    )
