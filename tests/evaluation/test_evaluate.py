"""Evaluation of a checkpoint: metrics, subgroups, impostors, test-time flipping, printed tables."""

import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics

from facecls.checkpoint import read
from facecls.device import resolve_device, resolve_inference_device
from facecls.errors import DataError, DeviceError
from facecls.evaluation.evaluate import Evaluation, evaluate_checkpoint
from facecls.evaluation.infer import forward_batches
from facecls.evaluation.tables import print_evaluation
from facecls.open_set.scores import open_set_scores
from facecls.open_set.temperature import probabilities
from facecls.open_set.thresholds import false_accept_prediction_interval
from facecls.progress import Progress
from facecls.run import Run
from tests.conftest import Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]


def evaluation(trained: Path, **options: Any) -> Evaluation:
    return evaluate_checkpoint(read(trained), resolve_device("cpu", "fp32"), Progress(), **options)


def held_out(trained: Path) -> list[dict[str, str]]:
    with (trained / "split.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == "val"]


def test_the_metrics_of_real_outputs_equal_scikit_learns(trained: Path) -> None:
    result = evaluation(trained)
    labels, calibration = result.split.image_list.labels, read(trained).calibration
    assert calibration is not None
    before, after = probabilities(result.outputs.logits), calibration.probabilities(result.outputs.logits)
    found, predicted = result.closed_set.metrics, result.outputs.logits.argmax(1)
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert found.loss == pytest.approx(metrics.log_loss(labels, before))
    assert result.closed_set.roc_auc == pytest.approx(metrics.roc_auc_score(labels, after, multi_class="ovr"))
    one_hot = np.eye(4)[labels]
    assert result.closed_set.brier == pytest.approx([((each - one_hot) ** 2).sum(1).mean() for each in (before, after)])
    low, high = result.closed_set.intervals["accuracy"]
    assert low <= found.accuracy <= high
    assert result.images_per_second > 0


def test_flipping_averages_each_image_and_its_mirror_image(trained: Path) -> None:
    plain, both = evaluation(trained), evaluation(trained, mirrored=True)
    model, device = read(trained).build(resolve_device("cpu", "fp32")), resolve_device("cpu", "fp32")
    faces = torch.from_numpy(plain.split.faces[np.arange(len(plain.split))])
    mirror = forward_batches(model, [device.images(faces).flip(3)], device)
    assert np.abs(mirror.logits - plain.outputs.logits).max() > 1e-3
    assert both.outputs.logits == pytest.approx((plain.outputs.logits + mirror.logits) / 2, abs=1e-4)
    assert both.outputs.features == pytest.approx((plain.outputs.features + mirror.features) / 2, abs=1e-4)


def test_flipping_applies_to_impostors_too(trained: Path, impostors: Path) -> None:
    result, device = evaluation(trained, impostors=impostors, mirrored=True), resolve_device("cpu", "fp32")
    assert result.impostors is not None
    images = [device.images(torch.from_numpy(result.impostors.faces[np.arange(len(result.impostors))]))]
    model, calibration = read(trained).build(device), read(trained).calibration_for(mirrored=True)
    plain, both = (
        open_set_scores(result.open_set.score, forward_batches(model, images, device, mirrored=mirrored), calibration.gallery)
        for mirrored in (False, True)
    )
    assert result.open_set.impostor_scores == pytest.approx(both, abs=1e-4)
    assert np.abs(result.open_set.impostor_scores - plain).max() > 1e-3


def test_unreadable_images_are_reported_and_do_not_count(
    facecls: Facecls, trained: Path, faces: Path, impostors: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(faces, tmp_path / "data"))
    others = Path(shutil.copytree(impostors, tmp_path / "others"))
    empty = [sorted(data.iterdir())[0] / "b\x1broken.jpg", others / os.fsdecode(b"none \xff.jpg")]
    for path in empty:
        path.touch()
    command = ("eval", trained, "--data", data, "--strangers", others)
    plain, table = facecls(*command, "--format", "json"), facecls(*command)
    assert (plain.code, table.code) == (1, 1)
    found = json.loads(plain.out.encode("ascii"))
    assert (found["n"], found["open_set"]["impostors"]) == (48, 20)
    assert found["skipped"] == [{"path": str(path), "error": "is empty"} for path in empty]
    shown = [str(empty[0]).replace("\x1b", "\\x1b"), str(empty[1]).replace("\udcff", "\\udcff")]
    assert table.err.splitlines()[-2:] == [f"skipped: {path}: is empty" for path in shown]


def test_a_confusion_matrix_has_numbered_columns_if_the_names_do_not_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    result = evaluation(trained)
    classes = tuple(f"a person of the name {letter}" for letter in "abcd")
    result = replace(result, closed_set=replace(result.closed_set, metrics=replace(result.closed_set.metrics, classes=classes)))

    def matrix() -> list[str]:
        print_evaluation(result)
        lines = capsys.readouterr().out.splitlines()
        begin = next(number for number, line in enumerate(lines) if "true \\ predicted" in line)
        return [" ".join(line.split()) for line in lines[begin : begin + 5]]

    monkeypatch.setenv("COLUMNS", "80")
    numbered = matrix()
    assert numbered[0] == "true \\ predicted 1 2 3 4"
    assert [row.rpartition(" name ")[0] for row in numbered[1:]] == [f"{number} a person of the" for number in (1, 2, 3, 4)]
    monkeypatch.delenv("COLUMNS")  # no terminal: no edge
    named = matrix()
    assert named[0] == f"true \\ predicted {' '.join(classes)}"
    assert [f"{number} {row}" for number, row in enumerate(named[1:], 1)] == numbered[1:]
    monkeypatch.setenv("COLUMNS", "200")
    assert matrix() == named


def test_impostors_have_a_false_accept_rate_and_operating_points(facecls: Facecls, trained: Path, impostors: Path) -> None:
    plain = json.loads(facecls("eval", trained, "--strangers", impostors, "--format", "json").out)["open_set"]
    assert plain["impostors"] == 20
    assert plain["false_accept_rate"] == plain["impostors_accepted"] / 20
    assert plain["false_accept_interval"][0] <= plain["false_accept_rate"] <= plain["false_accept_interval"][1]
    targets = [point["target_false_accept"] for point in plain["operating_points"]]
    assert targets == [0.05, 0.10]  # 20 impostors are too few for 1 %
    assert plain["curve"]["false_accept_rate"][-1] == 1
    out = facecls("eval", trained, "--strangers", impostors).out
    assert "20 impostors: FAR " in out and ["target", "FAR", "DIR", "threshold"] in [line.split() for line in out.splitlines()]
    # The threshold was not set on impostors, so it predicts nothing.
    assert plain["false_accept_prediction_interval"] is None and "when the threshold was set" not in out


def test_the_false_accept_rate_on_other_impostors_has_a_prediction_interval(
    facecls: Facecls, tiny: Tiny, impostors: Path, tmp_path: Path
) -> None:
    first, others = tmp_path / "first", tmp_path / "others"
    for number, path in enumerate(sorted(impostors.rglob("*.*"))):
        folder = others if number % 3 == 0 else first
        folder.mkdir(exist_ok=True)
        (folder / f"{number}{path.suffix}").symlink_to(path)
    run = tmp_path / "run"
    able, unknown = {"epochs": 15, "batch_size": 8}, {"strangers": str(first), "target_false_accept": 0.1}
    facecls("train", tiny(train=able, unknown=unknown), "--out", run)
    plain = json.loads(facecls("eval", run, "--strangers", others, "--format", "json").out)["open_set"]
    assert plain["false_accept_prediction_interval"] == list(false_accept_prediction_interval(13, 0.1, 7))
    expected = "predicted 0.0% to 42.9% when the threshold was set"
    assert expected in " ".join(facecls("eval", run, "--strangers", others).out.split())
    (tmp_path / "link").symlink_to(first)
    again = facecls("eval", run, "--strangers", tmp_path / "link")
    assert re.search(r"13 impostors: FAR [\d.]+%\* \(95 % CI ", again.out)
    assert "* at its target by construction: the threshold was set on these impostors\n" in again.out
    assert json.loads(facecls("eval", run, "--strangers", first, "--format", "json").out)["open_set"]["fitted_on_these"] is True
    assert plain["fitted_on_these"] is False
    facecls("report", run, "--strangers", first)
    assert (
        "* FAR is at its target by construction: the threshold was set on these impostors." in (run / "report.html").read_text()
    )
    assert "when the threshold was set" not in again.out and "the threshold was set on these images" in again.err


def test_class_names_are_printed_without_markup(capsys: pytest.CaptureFixture[str], trained: Path) -> None:
    result = evaluation(trained)
    classes = ("ada [b]", "[/a]", ":smile:", "[red]")
    found = result.closed_set.metrics
    per_class = tuple(replace(each, name=name) for each, name in zip(found.per_class, classes, strict=True))
    found = replace(found, classes=classes, per_class=per_class)
    print_evaluation(replace(result, closed_set=replace(result.closed_set, metrics=found)))
    shown = capsys.readouterr().out
    assert all(name in shown for name in classes)


@pytest.mark.parametrize("by", ["class", "full path", "path below the classes", "path beside the file"])
def test_subgroups_are_assigned_by_class_or_by_path(trained: Path, faces: Path, tmp_path: Path, by: str) -> None:
    rows = held_out(trained)
    classes = sorted({row["class"] for row in rows})
    group = {name: "old" if name in classes[:2] else "young" for name in classes}
    file = tmp_path / "groups.csv"
    if by == "path beside the file":
        (tmp_path / "link").symlink_to(faces)
    name: Callable[[dict[str, str]], str] = {
        "class": lambda row: row["class"],
        "full path": lambda row: str(faces / row["path"]),
        "path below the classes": lambda row: row["path"],
        "path beside the file": lambda row: f"{faces.name}/{row['path']}",
    }[by]
    if by == "path beside the file":
        file = faces.parent / "groups.csv"
    column = "class" if by == "class" else "path"
    file.write_text(f"{column},group\n" + "".join(f"{name(row)},{group[row['class']]}\n" for row in rows))
    result = evaluation(trained, subgroups=file)
    assert result.subgroups is not None
    assert [(each.group, each.n) for each in result.subgroups.groups] == [("old", 6), ("young", 6)]
    correct = result.subgroups.groups[0].accuracy * 6 + result.subgroups.groups[1].accuracy * 6
    assert correct == pytest.approx(result.closed_set.metrics.accuracy * 12)


def test_images_without_a_group_are_counted(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = held_out(trained)
    file = tmp_path / "some.csv"
    file.write_text(f"path,group\n{rows[0]['path']},old\n")
    result = evaluation(trained, subgroups=file)
    assert result.subgroups is not None and result.subgroups.groups[0].n == 1
    assert f"{file}: lists no group for 11 of 12 images" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such file"),
        (b"name,band\nx,y\n", "lacks the columns `path` or `class`, and `group`"),
        (b"class,group\nnobody,old\n", "lists no class that is evaluated"),
        (b"path,group\nx.jpg,old\n", "lists no image that is evaluated"),
        (b"\xff\xfe\x00\n", "is not a CSV file"),
    ],
)
def test_a_subgroup_file_that_does_not_fit_is_an_error(
    trained: Path, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "groups.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        evaluation(trained, subgroups=file)
    assert str(caught.value) == f"{file}: {problem}"


def test_an_empty_folder_of_impostors_is_an_error(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        evaluation(trained, impostors=tmp_path / "empty")
    assert str(caught.value) == f"{tmp_path / 'empty'}: contains no images"


def test_flipping_is_disabled_if_it_changes_the_class(facecls: Facecls, tiny: Callable[..., Path], tmp_path: Path) -> None:
    facecls("train", tiny(data={"flip_changes_class": True}, train={"epochs": 1}), "--out", tmp_path / "run")
    plain = json.loads(facecls("eval", tmp_path / "run", "--format", "json").out)
    result = facecls("eval", tmp_path / "run", "--tta", "flip", "--format", "json")
    assert "test-time flipping is disabled: a flip changes the class (`data.flip_changes_class`)" in result.err
    assert json.loads(result.out)["loss"] == plain["loss"]


def test_the_table_shows_subgroups_and_intervals(facecls: Facecls, trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "groups.csv"
    file.write_text("class,group\n" + "".join(f"{name},{'ab'[n % 2]}\n" for n, name in enumerate(read(trained).classes)))
    out = facecls("eval", trained, "--groups", file).out
    assert "95 % CI" in out and "gap: " in out and "before calibration" in out


def test_a_checkpoint_runs_in_the_precision_of_its_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("facecls.precision.cache_folder", lambda: tmp_path)
    monkeypatch.setattr(
        "facecls.precision.measure",
        lambda _, purpose, names: dict(zip(names, (2.0, 1.0) if purpose == "inference" else (1.0, 2.0), strict=True)),
    )
    for trained_in, asked, expected in (
        ("fp32", None, torch.float32),
        ("fp32", "bf16", torch.bfloat16),
        ("bf16", None, torch.bfloat16),  # the fastest for inference, as measured above
        ("fp16", None, torch.bfloat16),  # fp16 is not supported on CPUs
        ("bf16", "fp32", torch.float32),
        ("fp32", "auto", torch.bfloat16),
    ):
        assert resolve_inference_device("cpu", asked, trained_in).dtype == expected
    assert resolve_device("cpu", "auto").dtype == torch.float32
    with pytest.raises(DeviceError):
        resolve_inference_device("gpu", None, "fp32")


def test_the_default_split_is_test_if_there_is_one(
    facecls: Facecls, tiny: Tiny, faces: Path, trained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    facecls("train", tiny(split={"val": 0.2, "test": 0.25}, train={"epochs": 1}), "--out", run)
    plain = json.loads(facecls("eval", run, "--format", "json").out)
    assert (plain["split"], plain["n"], plain["fitted_on_these"]) == ("test", 12, False)
    out = facecls("eval", run).out
    assert out.startswith("test split: 12 images in ") and "*" not in out
    assert facecls("report", run).code == 0
    page = (run / "report.html").read_text()
    assert "evaluated on 12 test images" in page and "Optimistic" not in page
    assert facecls("eval", trained).out.startswith("val split: 12 images in ")
    (tmp_path / "data").mkdir()
    for split in ("train", "val", "test"):
        (tmp_path / "data" / split).symlink_to(faces)
    assert json.loads(facecls("eval", trained, "--data", tmp_path / "data", "--format", "json").out)["split"] == "test"


@pytest.mark.parametrize(
    ("arguments", "begin", "why"),
    [
        ((), "val split: 12 images", "the best epoch was selected and the calibration fitted on these images"),
        (("--split", "train"), "train split: 36 images", "the network was trained on these images"),
        (("--data", "FACES"), "all: 48 images", "the network was trained on some of these images"),
        (("--data", "COPY"), "all: 48 images", None),
    ],
)
def test_figures_fitted_on_the_images_they_are_reported_on_are_marked(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path, arguments: tuple[str, ...], begin: str, why: str | None
) -> None:
    shutil.copytree(faces, tmp_path / "copy")
    folders = {"FACES": str(faces), "COPY": str(tmp_path / "copy")}
    command = [str(trained), *(folders.get(each, each) for each in arguments)]
    out = facecls("eval", *command).out
    assert out.startswith(f"{begin} in ")
    marked = r"\*" if why else r"(?![\d.*])"
    for figure in (
        r"^accuracy +[\d.]+%",
        r"^macro F1 +[\d.]+%",
        r"^ECE +[\d.]+",
        r"^loss +[\d.]+",
        r"TAR [\d.]+%",
        r"DIR [\d.]+%",
    ):
        assert re.search(figure + marked, out, re.MULTILINE), figure
    assert (f"\n* optimistic: {why}\n" in out) if why else ("*" not in out)
    assert json.loads(facecls("eval", *command, "--format", "json").out)["fitted_on_these"] == (why is not None)
    facecls("report", *command, "-o", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert (f"* Optimistic: {why}." in page) if why else ("Optimistic" not in page)
    assert bool(re.search(r"<span>accuracy</span><b>[\d.]+\xa0%\*</b>", page)) == (why is not None)


def test_without_a_fitted_calibration_only_the_epoch_was_selected_on_the_validation_images(trained: Path) -> None:
    checkpoint = replace(read(trained), calibration=None)
    split_file = Run(trained).kept_split
    result = evaluate_checkpoint(checkpoint, resolve_device("cpu", "fp32"), Progress(), split_file=split_file, split="val")
    assert result.fitted == "the best epoch was selected on these images"
