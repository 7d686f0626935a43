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
from PIL import Image

from facecls.checkpoint import read, save, to_plain
from facecls.device import Device
from facecls.evaluation.cross_validation import Fold, evaluate_folds
from facecls.open_set.thresholds import Threshold
from facecls.progress import Progress
from facecls.run import Run
from facecls.training import step
from tests.conftest import Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]


def split_of(run: Path, split: str = "test") -> list[str]:
    with (run / "split.csv").open(newline="") as file:
        return [row["path"] for row in csv.DictReader(file) if row["split"] == split]


def test_every_image_is_scored_once_by_a_network_that_was_not_trained_or_selected_on_it(
    facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cv"
    result = facecls("cross-validate", tiny(train={"epochs": 1}), "--folds", "3", "--out", out, "--format", "json")
    assert result.code == 0
    plain = json.loads(result.out)
    assert [fold["n"] for fold in plain["folds"]] == [16, 16, 16]
    assert plain["pooled"]["fitted_on_these"] is False and plain["pooled"]["split"] == "all folds"
    runs = [out / f"fold-{fold}" for fold in (1, 2, 3)]
    images = sorted(str(path.relative_to(faces)) for path in faces.rglob("*.*"))
    assert sorted(path for run in runs for path in split_of(run)) == images
    for run in runs:
        assert len(split_of(run, "train")) > len(split_of(run, "val")) > 0
        assert sorted(path for split in ("train", "val", "test") for path in split_of(run, split)) == images
    accuracies = [fold["accuracy"] for fold in plain["folds"]]
    assert plain["mean"]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert plain["deviation"]["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    assert plain["pooled"]["n"] == 48 and np.sum(plain["pooled"]["confusion"]) == 48
    assert plain["pooled"]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert plain["report"] == str(out / "report.html")
    text = (out / "report.html").read_text()
    assert "Cross-validation folds" in text and "data:image/webp" in text and "48 images, each by the model of the fold" in text


def test_every_fold_is_judged_by_its_own_split_temperature_and_size(
    facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path
) -> None:
    uneven, out = tmp_path / "faces", tmp_path / "cv"
    shutil.copytree(faces, uneven)
    next(uneven.rglob("0001.*")).unlink()
    config = tiny(data={"root": str(uneven)}, train={"epochs": 30, "batch_size": 8})
    facecls("cross-validate", config, "--folds", "2", "--out", out)
    runs = [Run(out / "fold-1"), Run(out / "fold-2")]
    # The four validation images of a fold are too few to fit either.
    for run, temperature, threshold in zip(runs, (0.5, 2.0), (0.0, 1.0), strict=True):
        best = read(run.best)
        assert best.calibration is not None
        own = Threshold(threshold, "probability", "validation", None, 4, None, 1.0)
        save(run.best, to_plain(replace(best, calibration=replace(best.calibration, temperature=temperature, threshold=own))))
    validation = evaluate_folds(runs, Device(torch.device("cpu"), torch.float32), Progress())

    def below_root(paths: Sequence[str]) -> list[str]:
        return sorted(str(Path(path).relative_to(uneven)) for path in paths)

    for fold, run in zip(validation.folds, runs, strict=True):
        assert below_root(fold.evaluation.split.image_list.paths) == sorted(split_of(run.folder))
    pooled, (one, two) = validation.pooled, validation.folds
    assert below_root(pooled.split.image_list.paths) == below_root([str(path) for path in uneven.rglob("*.*")])
    assert [each.checkpoint.calibration_for().temperature for each in (one, two)] == [0.5, 2.0]
    shares = [fold.checkpoint.calibration_for().probabilities(fold.evaluation.outputs.logits) for fold in (one, two)]
    assert np.array_equal(validation.calibrated, np.concatenate(shares))
    assert one.n != two.n
    kept = [np.logical_and(*each) for each in ((fold.evaluation.open_set.accepted, right_of(fold)) for fold in (one, two))]
    assert kept[0].mean() != kept[1].mean()
    assert pooled.open_set.identification_rate == pytest.approx(np.concatenate(kept).mean())


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
    config = tiny(train={"epochs": 2, "batch_size": 4})  # 5 steps an epoch
    whole, non_finite = tmp_path / "whole", tmp_path / "broken"
    facecls("cross-validate", config, "--folds", "2", "--out", whole)
    plain_step, done = step.TrainStep.step, [0]

    def counted(*arguments: Any) -> None:
        plain_step(*arguments)
        done[0] += 1
        if done[0] == 12:  # the second step of the second fold
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


def test_the_best_epoch_of_a_fold_does_not_depend_on_its_images(
    facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path
) -> None:
    altered = tmp_path / "faces"
    shutil.copytree(faces, altered)
    splits = {"folds": 2, "group": "none"}
    config = tiny(data={"root": str(altered)}, train={"epochs": 3, "batch_size": 8}, split=splits)
    facecls("train", config, "--out", tmp_path / "one")
    for name in split_of(tmp_path / "one"):
        Image.new("RGB", (40, 40)).save(altered / name)
    facecls("train", config, "--out", tmp_path / "two")
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)
    assert one.metrics["epoch"] == two.metrics["epoch"] and one.calibration is not None and two.calibration is not None
    assert one.calibration.threshold == two.calibration.threshold and one.calibration.ece == two.calibration.ece


def test_a_config_that_says_itself_what_test_is_is_refused(facecls: Facecls, tiny: Tiny, trained: Path, tmp_path: Path) -> None:
    config = tiny(data={"split_file": str(trained / "split.csv")}, split={"test": 0.1, "by_name": {"test": "_01"}})
    result = facecls("cross-validate", config, "--folds", "2", "--out", tmp_path / "cv")
    assert result.code == 1 and not (tmp_path / "cv").exists()
    assert result.err == (
        f"error: data.split_file: `{trained / 'split.csv'}` and the folds both define test\n"
        "error: split.test: `0.1` and the folds both define test\n"
        "error: split.by_name.test: `_01` and the folds both define test\n"
        "\nhint: leave it out: cross-validation tests on each fold in turn\n"
    )
