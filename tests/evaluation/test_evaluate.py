"""Eval's further figures: by group, of strangers, of mirrored images."""

import csv
import json
import os
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
from facecls.evaluation.tables import print_scores
from facecls.open_set.scores import known_scores
from facecls.open_set.temperature import probabilities
from facecls.open_set.thresholds import false_accepts_to_expect
from facecls.progress import Progress
from tests.conftest import Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]


def evaluation(trained: Path, **options: Any) -> Evaluation:
    return evaluate_checkpoint(read(trained), resolve_device("cpu", "fp32"), Progress(), **options)


def held_out(trained: Path) -> list[dict[str, str]]:
    with (trained / "split.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == "val"]


def test_the_figures_of_real_outputs_equal_scikit_learns(trained: Path) -> None:
    said = evaluation(trained)
    labels, calibration = said.split.image_list.labels, read(trained).calibration
    assert calibration is not None
    before, after = probabilities(said.outputs.logits), calibration.probabilities(said.outputs.logits)
    scores, predicted = said.closed_set.scores, said.outputs.logits.argmax(1)
    assert scores.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert scores.loss == pytest.approx(metrics.log_loss(labels, before))
    assert said.closed_set.roc_auc == pytest.approx(metrics.roc_auc_score(labels, after, multi_class="ovr"))
    one_hot = np.eye(4)[labels]
    assert said.closed_set.brier == pytest.approx([((each - one_hot) ** 2).sum(1).mean() for each in (before, after)])
    low, high = said.closed_set.intervals["accuracy"]
    assert low <= scores.accuracy <= high
    assert said.images_per_second > 0


def test_a_image_and_its_mirror_image_count_by_their_mean(trained: Path) -> None:
    plain, both = evaluation(trained), evaluation(trained, mirrored=True)
    model, device = read(trained).build(resolve_device("cpu", "fp32")), resolve_device("cpu", "fp32")
    faces = torch.from_numpy(plain.split.faces[np.arange(len(plain.split))])
    mirror = forward_batches(model, [device.images(faces).flip(3)], device)
    assert np.abs(mirror.logits - plain.outputs.logits).max() > 1e-3
    assert both.outputs.logits == pytest.approx((plain.outputs.logits + mirror.logits) / 2, abs=1e-4)
    assert both.outputs.features == pytest.approx((plain.outputs.features + mirror.features) / 2, abs=1e-4)


def test_strangers_are_mirrored_as_the_known_are(trained: Path, impostors: Path) -> None:
    said, device = evaluation(trained, impostors=impostors, mirrored=True), resolve_device("cpu", "fp32")
    assert said.impostors is not None
    images = [device.images(torch.from_numpy(said.impostors.faces[np.arange(len(said.impostors))]))]
    model, calibration = read(trained).build(device), read(trained).calibration_for(mirrored=True)
    plain, both = (
        known_scores(said.open_set.score, forward_batches(model, images, device, mirrored=mirrored), calibration.gallery)
        for mirrored in (False, True)
    )
    assert said.open_set.impostor_scores == pytest.approx(both, abs=1e-4)
    assert np.abs(said.open_set.impostor_scores - plain).max() > 1e-3


def test_images_that_cannot_be_read_are_named_and_do_not_count(
    facecls: Facecls, trained: Path, faces: Path, impostors: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(faces, tmp_path / "data"))
    others = Path(shutil.copytree(impostors, tmp_path / "others"))
    empty = [sorted(data.iterdir())[0] / "b\x1broken.jpg", others / os.fsdecode(b"none \xff.jpg")]
    for path in empty:
        path.touch()
    words = ("eval", trained, "--data", data, "--strangers", others)
    plain, table = facecls(*words, "--format", "json"), facecls(*words)
    assert (plain.code, table.code) == (1, 1)
    scores = json.loads(plain.out.encode("ascii"))
    assert (scores["n"], scores["unknown"]["strangers"]) == (48, 20)
    assert scores["skipped"] == [{"path": str(path), "error": "is empty"} for path in empty]
    shown = [str(empty[0]).replace("\x1b", "\\x1b"), str(empty[1]).replace("\udcff", "\\udcff")]
    assert table.out.splitlines()[-2:] == [f"not counted: {path}: is empty" for path in shown]


def test_a_confusion_matrix_keeps_its_classes_where_their_names_do_not_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    said = evaluation(trained)
    classes = tuple(f"a person of the name {letter}" for letter in "abcd")
    said = replace(said, closed_set=replace(said.closed_set, scores=replace(said.closed_set.scores, classes=classes)))

    def matrix() -> list[str]:
        print_scores(said)
        lines = capsys.readouterr().out.splitlines()
        begin = next(number for number, line in enumerate(lines) if "true \\ named" in line)
        return [" ".join(line.split()) for line in lines[begin : begin + 5]]

    monkeypatch.setenv("COLUMNS", "80")
    numbered = matrix()
    assert numbered[0] == "true \\ named 1 2 3 4"
    assert [row.rpartition(" name ")[0] for row in numbered[1:]] == [f"{number} a person of the" for number in (1, 2, 3, 4)]
    monkeypatch.delenv("COLUMNS")  # no terminal: no edge
    named = matrix()
    assert named[0] == f"true \\ named {' '.join(classes)}"
    assert [f"{number} {row}" for number, row in enumerate(named[1:], 1)] == numbered[1:]
    monkeypatch.setenv("COLUMNS", "200")
    assert matrix() == named


def test_strangers_are_counted_and_ranked(facecls: Facecls, trained: Path, impostors: Path) -> None:
    plain = json.loads(facecls("eval", trained, "--strangers", impostors, "--format", "json").out)["unknown"]
    assert plain["strangers"] == 20
    assert plain["false_accept"] == plain["strangers_accepted"] / 20
    assert plain["false_accept_interval"][0] <= plain["false_accept"] <= plain["false_accept_interval"][1]
    assert [point["rate"] for point in plain["points"]] == [0.05, 0.10]  # 20 strangers are too few for 1 %
    assert plain["curve"]["false_accept"][-1] == 1
    out = facecls("eval", trained, "--strangers", impostors).out
    assert "of 20 strangers" in out and "strangers let in" in out
    assert plain["false_accept_expected"] is None and "to be expected" not in out  # strangers did not set the threshold


def test_of_other_strangers_as_many_are_let_in_as_the_threshold_lets_one_expect(
    facecls: Facecls, tiny: Tiny, impostors: Path, tmp_path: Path
) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    for number, path in enumerate(sorted(impostors.rglob("*.*"))):
        folder = others if number % 3 == 0 else ours
        folder.mkdir(exist_ok=True)
        (folder / f"{number}{path.suffix}").symlink_to(path)
    run = tmp_path / "run"
    facecls("train", tiny(unknown={"strangers": str(ours), "target_false_accept": 0.1}), "--out", run)
    plain = json.loads(facecls("eval", run, "--strangers", others, "--format", "json").out)["unknown"]
    assert plain["false_accept_expected"] == list(false_accepts_to_expect(13, 0.1, 7))
    expected = "by how the threshold was set, 0.0% to 42.9% were to be expected"
    assert expected in " ".join(facecls("eval", run, "--strangers", others).out.split())
    (tmp_path / "link").symlink_to(ours)
    again = facecls("eval", run, "--strangers", tmp_path / "link")
    assert "to be expected" not in again.out and "set by these very strangers" in again.err


def test_names_are_shown_as_they_are(capsys: pytest.CaptureFixture[str], trained: Path) -> None:
    said = evaluation(trained)
    classes = ("ada [b]", "[/a]", ":smile:", "[red]")
    scores = replace(said.closed_set.scores, classes=classes)
    scores = replace(
        scores, per_class=tuple(replace(each, name=name) for each, name in zip(scores.per_class, classes, strict=True))
    )
    print_scores(replace(said, closed_set=replace(said.closed_set, scores=scores)))
    shown = capsys.readouterr().out
    assert all(name in shown for name in classes)


@pytest.mark.parametrize("by", ["class", "full path", "path below the classes", "path beside the file"])
def test_groups_are_named_by_class_or_by_path(trained: Path, faces: Path, tmp_path: Path, by: str) -> None:
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
    said = evaluation(trained, groups=file)
    assert said.groups is not None
    assert [(each.group, each.n) for each in said.groups.groups] == [("old", 6), ("young", 6)]
    right = said.groups.groups[0].accuracy * 6 + said.groups.groups[1].accuracy * 6
    assert right == pytest.approx(said.closed_set.scores.accuracy * 12)


def test_images_without_a_group_are_counted(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = held_out(trained)
    file = tmp_path / "some.csv"
    file.write_text(f"path,group\n{rows[0]['path']},old\n")
    said = evaluation(trained, groups=file)
    assert said.groups is not None and said.groups.groups[0].n == 1
    assert f"{file}: names no group for 11 of 12 images" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such file"),
        (b"name,band\nx,y\n", "has no columns `path` or `class`, and `group`"),
        (b"class,group\nnobody,old\n", "names no class that is scored"),
        (b"path,group\nx.jpg,old\n", "names no image that is scored"),
        (b"\xff\xfe\x00\n", "is not a CSV file"),
    ],
)
def test_a_file_of_groups_that_does_not_fit_is_refused(
    trained: Path, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "groups.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        evaluation(trained, groups=file)
    assert str(caught.value) == f"{file}: {problem}"


def test_strangers_that_are_not_there_are_named(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "nobody").mkdir()
    with pytest.raises(DataError) as caught:
        evaluation(trained, impostors=tmp_path / "nobody")
    assert str(caught.value) == f"{tmp_path / 'nobody'}: contains no images"


def test_handed_labels_are_not_mirrored_at_eval(facecls: Facecls, tiny: Callable[..., Path], tmp_path: Path) -> None:
    facecls("train", tiny(data={"flip_changes_class": True}, train={"epochs": 1}), "--out", tmp_path / "run")
    plain = json.loads(facecls("eval", tmp_path / "run", "--format", "json").out)
    result = facecls("eval", tmp_path / "run", "--tta", "flip", "--format", "json")
    assert "mirroring would change the classes (data.flip_changes_class), so it is left off" in result.err
    assert json.loads(result.out)["loss"] == plain["loss"]


def test_a_table_shows_groups_and_intervals(facecls: Facecls, trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "groups.csv"
    file.write_text("class,group\n" + "".join(f"{name},{'ab'[n % 2]}\n" for n, name in enumerate(read(trained).classes)))
    out = facecls("eval", trained, "--groups", file).out
    assert "95 % interval" in out and "gap: " in out and "before calibration" in out


def test_a_checkpoint_is_used_in_the_precision_of_its_training(trained: Path) -> None:
    checkpoint = read(trained / "best.pt")
    config = checkpoint.config
    for trained_in, asked, expected in (
        ("fp32", None, torch.float32),
        ("fp32", "bf16", torch.bfloat16),
        ("bf16", None, resolve_device("cpu", "auto").dtype),
        ("fp16", None, resolve_device("cpu", "auto").dtype),  # which no processor has
    ):
        one = replace(checkpoint, config=config.model_copy(update={"precision": trained_in}))
        assert resolve_inference_device("cpu", asked, one.config.precision).dtype == expected
    with pytest.raises(DeviceError):
        resolve_inference_device("gpu", None, checkpoint.config.precision)
