"""`facecls predict`: pipes, watched folders, CSV files that grow, annotated images."""

import csv
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facecls.checkpoint import read
from facecls.config.schema import UNKNOWN
from facecls.device import resolve_device
from facecls.errors import DataError, RunError
from facecls.evaluation.evaluate import evaluate_checkpoint
from facecls.evaluation.infer import batch_size
from facecls.faces.decode import open_image
from facecls.faces.detect import build_detector
from facecls.inference.annotate import annotate_images, annotated_path, caption, explain_images
from facecls.inference.classifier import Classifier, Prediction
from facecls.inference.output import PredictionFile
from facecls.inference.sources import read_paths, watch_folder
from facecls.progress import Progress
from tests.conftest import Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]


def first_images(faces: Path, count: int) -> list[str]:
    return sorted(str(path) for path in faces.rglob("*.*"))[:count]


def predict_command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "facecls", "predict", *map(str, arguments)]


def read_rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_predict_and_eval_agree_exactly_on_the_val_split_in_the_same_batches(
    facecls: Facecls, trained: Path, precision: str
) -> None:
    device = resolve_device("cpu", precision)
    evaluation = evaluate_checkpoint(read(trained), device, Progress())
    one_batch = batch_size(device, read(trained).geometry.image_size)  # in both, as tests have one thread
    assert len(evaluation.split) <= one_batch
    calibration = read(trained).calibration
    assert calibration is not None
    expected = calibration.probabilities(evaluation.outputs.logits)
    options = ("--checkpoint", trained, "--device", "cpu", "--precision", precision, "--format", "json")
    rows = json.loads(facecls("predict", *evaluation.split.image_list.paths, *options).out)
    assert [row["probability"] for row in rows] == expected.max(axis=1).tolist()
    assert [row["known"] for row in rows] == evaluation.open_set.accepted.tolist()
    true = [evaluation.closed_set.metrics.classes[label] for label in evaluation.split.image_list.labels]
    correct = [row["nearest"] == name for row, name in zip(rows, true, strict=True)]
    assert np.mean(correct) == evaluation.closed_set.metrics.accuracy


def test_an_impostor_is_labelled_unknown_with_the_nearest_class(
    facecls: Facecls, tiny: Tiny, impostors: Path, tmp_path: Path
) -> None:
    config = tiny(train={"epochs": 15, "batch_size": 8}, unknown={"strangers": str(impostors), "target_false_accept": 0.05})
    facecls("train", config, "--out", tmp_path / "run")
    rows = json.loads(facecls("predict", impostors, "--checkpoint", tmp_path / "run", "--format", "json").out)
    rejected = [row for row in rows if row["label"] == UNKNOWN]
    assert len(rejected) >= 19
    assert all(row["known"] is False and row["nearest"] == row["top"][0][0] for row in rejected)
    assert "unknown; if known, " in facecls("predict", impostors, "--checkpoint", tmp_path / "run").out
    forced = json.loads(facecls("predict", impostors, "--checkpoint", tmp_path / "run", "--format", "json", "--no-unknown").out)
    assert [row["label"] for row in forced] == [row["nearest"] for row in rows]


def test_flip_tta_changes_the_probabilities(facecls: Facecls, trained: Path, faces: Path) -> None:
    plain, both = (
        json.loads(facecls("predict", *first_images(faces, 5), "--checkpoint", trained, "--format", "json", *more).out)
        for more in ((), ("--tta", "flip"))
    )
    assert [row["probability"] for row in plain] != [row["probability"] for row in both]


def test_paths_are_read_from_stdin(facecls: Facecls, trained: Path, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = first_images(faces, 3)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([*paths, "", "nowhere.jpg"]) + "\n"))
    result = facecls("predict", "-", "--checkpoint", trained, "--format", "jsonl")
    assert [json.loads(line)["path"] for line in result.out.splitlines()] == [*paths, "nowhere.jpg"]
    assert result.code == 1


def test_each_path_of_a_slow_pipe_is_yielded_without_delay() -> None:
    ends = os.pipe()
    with os.fdopen(ends[0]) as reads, os.fdopen(ends[1], "w") as writes:
        chunks = read_paths(reads)
        for path in ("a.jpg", "b.jpg"):
            writes.write(path + "\n")
            writes.flush()
            assert next(chunks) == [path]
        writes.close()
        assert list(chunks) == []


def test_output_appends_rows_and_skips_images_that_have_one(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path
) -> None:
    file, options = tmp_path / "predictions.csv", ("--checkpoint", trained, "--precision", "fp32", "--no-unknown")
    first = facecls("predict", *first_images(faces, 3), *options, "--output", file)
    assert (first.code, first.out) == (0, "")
    assert first.err.startswith(f"3 images added to {file} in ")
    whole = facecls("predict", faces, *options, "--output", file)
    assert f"45 images added to {file} in " in whole.err and whole.err.endswith("; 3 were already there\n")
    assert sorted(row["path"] for row in read_rows(file)) == first_images(faces, 99)
    shown = list(csv.DictReader(facecls("predict", faces, *options, "--format", "csv").out.splitlines()))
    stored = {row["path"]: row for row in read_rows(file)}
    for row in shown:  # all in one batch, stored in one of 3 and one of 45: float rounding may differ
        expected = stored[row["path"]]
        assert float(row.pop("probability")) == pytest.approx(float(expected.pop("probability")), rel=1e-5)
        assert row == expected
    assert len(shown) == 48
    missing = facecls("predict", tmp_path / "none.jpg", *options, "--output", file)
    assert missing.code == 1
    assert missing.err.startswith(f"1 image added to {file} in ")
    assert missing.err.endswith(" s; 48 were already there; 1 could not be read, see column `error`\n")


def test_an_image_whose_row_is_incomplete_is_classified_again(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path
) -> None:
    file = tmp_path / "predictions.csv"
    command = ("predict", *first_images(faces, 3), "--checkpoint", trained, "--precision", "fp32", "--output", file)
    facecls(*command)
    whole, rows = file.read_bytes(), read_rows(file)
    file.write_bytes(whole[:-9])
    facecls(*command)
    again = read_rows(file)
    last, probability = again[2], float(again[2].pop("probability"))  # of another batch: its last digits may differ
    assert again[:2] == rows[:2]
    assert probability == pytest.approx(float(rows[2].pop("probability")), rel=1e-5)
    assert last == rows[2] and len(again) == 3


@pytest.mark.parametrize("removed", [33, 30, 15])  # bytes: the last row ends inside its quoted name or after it
def test_an_incomplete_row_is_removed_even_if_file_names_contain_line_breaks(tmp_path: Path, removed: int) -> None:
    file = tmp_path / "predictions.csv"
    names = ("one\n.jpg", "an\rother.jpg", 'last "\n one.jpg')
    predictions = [[Prediction(path, "ada", 0.5, nearest="ada")] for path in names]
    list(PredictionFile(file, 1, "f0").append(predictions))
    whole = file.read_bytes()
    before = whole[: whole.index(b'"last')]
    file.write_bytes(whole[: len(whole) - removed])
    again = PredictionFile(file, 1, "f0")
    assert again.done == {"one\n.jpg", "an\rother.jpg"} and file.read_bytes() == before
    list(again.append(predictions[2:]))
    assert file.read_bytes() == whole
    assert [row["path"] for row in read_rows(file)] == list(names)


def test_another_csv_file_is_refused_and_not_changed(facecls: Facecls, trained: Path, faces: Path, tmp_path: Path) -> None:
    file = tmp_path / "predictions.csv"
    file.write_text("name,age\nada,36\n")
    result = facecls("predict", *first_images(faces, 1), "--checkpoint", trained, "--output", file)
    assert result.err == (
        f"error: {file}: is not a CSV file of predictions, or has other columns\n\n"
        "hint: its first line should be `path,label,probability,nearest,error,checkpoint`; choose another file with --output\n"
    )
    assert file.read_text() == "name,age\nada,36\n"


@pytest.mark.parametrize("others", [["--tta", "flip"], ["--no-unknown"], "another checkpoint", "a row by hand"])
def test_a_file_of_another_checkpoint_or_with_other_options_is_refused_and_not_changed(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path, others: str | list[str]
) -> None:
    file, other = tmp_path / "predictions.csv", tmp_path / "other.pt"
    facecls("predict", *first_images(faces, 1), "--checkpoint", trained, "--output", file)
    (row,) = read_rows(file)
    checkpoint, found, arguments = trained, row["checkpoint"], others if isinstance(others, list) else []
    if others == "another checkpoint":
        plain = torch.load(trained / "best.pt")
        name = max(plain["weights"])
        plain["weights"][name] = plain["weights"][name] + 1
        torch.save(plain, other)
        checkpoint = other
    elif others == "a row by hand":
        with file.open("a") as rows:
            rows.write("photo.jpg,unknown,0.5,zoe,,0123\n")
        found = "0123"
    before = file.read_bytes()
    result = facecls("predict", *first_images(faces, 3), "--checkpoint", checkpoint, "--output", file, *arguments)
    assert result.code == 1
    error = (
        f"error: {file}: holds predictions of another checkpoint or with other options: its column `checkpoint` has `{found}`"
    )
    assert error in result.err
    assert result.err.endswith(
        "\n\nhint: choose another file with --output, or the checkpoint and options that it was written with\n"
    )
    assert file.read_bytes() == before


def test_the_fingerprint_depends_on_the_checkpoint_only(facecls: Facecls, trained: Path, faces: Path, tmp_path: Path) -> None:
    plain = torch.load(trained / "best.pt")
    torch.save(plain | {"training": None}, tmp_path / "copy.pt")
    found = set()
    for checkpoint in (trained, trained / "best.pt", tmp_path / "copy.pt"):
        out = facecls("predict", *first_images(faces, 1), "--checkpoint", checkpoint, "--format", "csv").out
        found |= {row["checkpoint"] for row in csv.DictReader(out.splitlines())}
    (fingerprint,) = found
    assert re.fullmatch("[0-9a-f]{12}", fingerprint)


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _has_lines(file: Path, count: int) -> bool:
    return len(file.read_text().splitlines()) == count


def test_ctrl_c_keeps_the_rows_written_so_far(trained: Path, faces: Path, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number:04}.jpg").symlink_to(first_images(faces, 1)[0])
    file = tmp_path / "predictions.csv"
    running = subprocess.Popen(
        predict_command(folder, "--checkpoint", trained, "--no-unknown", "--output", file), stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: file.exists() and file.stat().st_size > 500)
    running.send_signal(signal.SIGINT)
    message = running.communicate(timeout=30)[1]
    assert running.returncode == 130
    count = len(read_rows(file))
    assert 0 < count < 3000
    assert message == f"interrupted; {count:,} images saved in {file}. Run the same command to continue\n"


def test_watch_classifies_images_as_they_are_added(trained: Path, faces: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    command = predict_command("--watch", folder, "--checkpoint", trained, "--no-unknown", "--format", "jsonl")
    output = tmp_path / "rows.jsonl"
    with output.open("w") as file:
        running = subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE, text=True)
        for count, image in enumerate(first_images(faces, 2), 1):
            Image.open(image).convert("RGB").save(folder / f"{count}.png")
            wait_until(partial(_has_lines, output, count))
        running.send_signal(signal.SIGINT)
        message = running.communicate(timeout=30)[1]
    assert (running.returncode, message) == (0, f"watching {folder}; press Ctrl-C to stop\n")
    assert [json.loads(line)["path"] for line in output.read_text().splitlines()] == [str(folder / f"{n}.png") for n in (1, 2)]


@pytest.mark.parametrize("output", [False, True])
def test_watch_exits_with_1_if_an_image_could_not_be_read(
    facecls: Facecls, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: bool
) -> None:
    (tmp_path / "broken.jpg").touch()
    scans = iter(range(3))

    def interrupt_after_three_scans(_: float) -> None:
        if next(scans, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt_after_three_scans)
    more = ("--output", tmp_path / "predictions.csv") if output else ()
    assert facecls("predict", "--watch", tmp_path, "--checkpoint", trained, *more).code == 1


def test_an_image_is_yielded_only_once_it_is_completely_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = watch_folder(tmp_path)
    growing = tmp_path / "a.jpg"
    growing.write_bytes(b"1")
    (tmp_path / "b.jpg").write_bytes(b"whole")
    contents = [b"12", b"123"]  # at the second and the third scan
    monkeypatch.setattr("time.sleep", lambda _: contents and growing.write_bytes(contents.pop(0)))
    assert next(chunks) == [str(tmp_path / "b.jpg")]
    assert next(chunks) == [str(growing)] and growing.read_bytes() == b"123"
    growing.write_bytes(b"changed")  # yielded again once it stops changing
    assert next(chunks) == [str(growing)]


def test_watching_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        next(watch_folder(tmp_path / "nowhere"))
    assert str(caught.value) == f"{tmp_path / 'nowhere'}: no such folder to watch"


@pytest.mark.parametrize("arguments", [[], ["x.jpg", "--watch", "."], ["--watch", ".", "--format", "json"]])
def test_contradicting_options_are_usage_errors(facecls: Facecls, arguments: list[str]) -> None:
    assert facecls("predict", *arguments).code == 2


def test_annotate_and_explain_write_one_image_each(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(faces.parent)
    image = next(path for path in sorted(faces.rglob("*.jpg"))).relative_to(faces.parent)
    out, overlays = tmp_path / "annotated", tmp_path / "explained"
    arguments = ("--checkpoint", trained, "--annotate", out, "--explain", overlays)
    assert facecls("predict", image, "nowhere.jpg", *arguments).code == 1
    annotated, explained, plain = (open_image(folder / image) for folder in (out, overlays, faces.parent))
    assert annotated.width == plain.width and annotated.height > plain.height
    assert explained.width == 640 and explained.height > 320
    assert len(list(tmp_path.rglob("*.jpg"))) == 2


def test_explain_needs_a_network_with_a_feature_map(facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    facecls("train", tiny(model={"name": "mlp"}, train={"epochs": 1}), "--out", tmp_path / "run")
    command = ("predict", *first_images(faces, 1), "--checkpoint", tmp_path / "run", "--no-unknown")
    result = facecls(*command, "--explain", tmp_path / "out")
    assert result.code == 1
    assert result.err.startswith("error: model.name: `mlp` has no feature map for Grad-CAM\n\nhint: ")


def test_different_images_get_different_annotated_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = Path("out")
    assert annotated_path("a/1.jpg", out) == annotated_path("./a/1.jpg", out) == out / "a/1.jpg"
    assert annotated_path("a/1.webp", out) == out / "a/1.webp.drawn.jpg"
    assert annotated_path("/b/1.PNG", out) == out / "from-root/b/1.PNG"
    assert annotated_path("../1.jpg", out) == out / "from-root" / tmp_path.parent.relative_to("/") / "1.jpg"
    below = ["1", "1.jpg", "1.pgm", "1.pgm.jpg", *(f"1{more}.drawn.jpg" for more in ("", ".pgm", ".pgm.drawn.jpg"))]
    folders = ["", "b/", "/b/", "from-root/b/", "/from-root/b/", "from-root/from-root/b/", f"from-root{tmp_path}/b/"]
    places = {annotated_path(folder + name, out) for folder in folders for name in below}
    assert len(places) == len(folders) * len(below)


def test_control_characters_in_names_are_escaped_in_rows_and_captions(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path
) -> None:
    strange = tmp_path / "a\x1b[31m\n.jpg"
    strange.write_bytes(Path(first_images(faces, 1)[0]).read_bytes())
    shown = facecls("predict", strange, "--checkpoint", trained)
    assert shown.out.startswith(f"{tmp_path}/a\\x1b[31m\\n.jpg: ") and len(shown.out.splitlines()) == 1
    prediction = Prediction(str(strange), "ada\n", 0.5, nearest="ada\n", known=True)
    assert caption(prediction) == "ada\\n 50.0%"
    list(annotate_images([[prediction]], tmp_path / "annotated"))
    assert len(list((tmp_path / "annotated").rglob("*.jpg"))) == 1


def test_progress_without_a_terminal_prints_lines(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facecls.progress._LINE_SECONDS", 0.0)
    assert list(Progress().follow("abc", total=3, unit="image", desc="classified")) == ["a", "b", "c"]
    assert "classified: 2 of 3, " in capfd.readouterr().err


def test_a_checkpoint_without_calibration_rejects_nothing(trained: Path, impostors: Path) -> None:
    predictor = Classifier(replace(read(trained), calibration=None), resolve_device("cpu", "fp32"))
    assert all(each.known for each in predictor.stream(first_images(impostors, 5)))


def test_an_annotated_image_never_overwrites_its_input(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(Path(first_images(faces, 1)[0]).read_bytes())
    before = photo.read_bytes()
    monkeypatch.chdir(tmp_path)
    for option in ("--annotate", "--explain"):
        result = facecls("predict", "photo.jpg", "--checkpoint", trained, "--no-unknown", option, ".")
        assert (result.code, result.err) == (
            1,
            "error: photo.jpg: is the input image itself and is not overwritten\n\nhint: choose another folder\n",
        )
        assert photo.read_bytes() == before


def test_annotate_refuses_a_folder_inside_the_watched_one(facecls: Facecls, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    result = facecls("predict", "--watch", tmp_path / "inbox", "--checkpoint", trained, "--annotate", tmp_path / "inbox/out")
    assert result.code == 1
    inbox, reason = tmp_path / "inbox", "so the annotated images would be classified as well"
    assert result.err == f"error: {inbox / 'out'}: lies in {inbox}, {reason}\n\nhint: choose a folder elsewhere\n"


def test_explain_refuses_a_folder_inside_the_input_and_the_folder_of_annotate(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path
) -> None:
    result = facecls("predict", faces, "--checkpoint", trained, "--explain", faces / "out")
    assert (result.code, (faces / "out").exists()) == (1, False)
    reason = "so the annotated images would be classified as well"
    assert result.err == f"error: {faces / 'out'}: lies in {faces}, {reason}\n\nhint: choose a folder elsewhere\n"
    both = tmp_path / "both"
    result = facecls("predict", faces, "--checkpoint", trained, "--explain", both, "--annotate", both)
    assert result.err == f"error: {both}: cannot be used for both --annotate and --explain\n\nhint: use two folders\n"


def test_watch_skips_done_images_until_they_change(tmp_path: Path) -> None:
    old, new = tmp_path / "latest.jpg", tmp_path / "new.jpg"
    old.write_bytes(b"1")
    new.write_bytes(b"1")
    chunks = watch_folder(tmp_path, done={str(old)}, poll_seconds=0)
    assert next(chunks) == [str(new)]
    old.write_bytes(b"another")
    assert next(chunks) == [str(old)]
    new.unlink()
    (tmp_path / "third.jpg").write_bytes(b"1")
    assert next(chunks) == [str(tmp_path / "third.jpg")]
    new.write_bytes(b"1")  # a file that comes back is another image
    assert next(chunks) == [str(new)]


def test_a_full_disk_is_reported_and_the_complete_rows_count(tmp_path: Path) -> None:
    file = tmp_path / "predictions.csv"
    predictions = PredictionFile(file, top_k=1, fingerprint="f0")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 20, before[1]))  # ends within the second row
    try:
        with pytest.raises(RunError) as caught:
            list(predictions.append([[Prediction("a.jpg", "ada", 0.5)], [Prediction("b.jpg", "ada", 0.5)]]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == f"{file}: cannot be written: File too large"
    assert caught.value.hint == "choose another file with --output"
    assert PredictionFile(file, top_k=1, fingerprint="f0").done == {"a.jpg"}


@pytest.mark.parametrize("text", ["a,b\n1,2", "a,b", "path,labels\n", "notes"])
def test_a_file_that_is_not_a_prediction_file_is_refused_and_not_changed(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(text)
    result = facecls("predict", *first_images(faces, 1), "--checkpoint", trained, "--output", file)
    assert result.code == 1 and f"error: {file}: is not a CSV file of predictions, or has other columns" in result.err
    assert file.read_text() == text


def test_an_unreadable_image_gets_one_row_and_exit_code_1_every_time(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path
) -> None:
    file = tmp_path / "predictions.csv"
    arguments = ("predict", *first_images(faces, 1), tmp_path / "none.jpg", "--checkpoint", trained, "--output", file)
    assert [facecls(*arguments).code for _ in range(2)] == [1, 1]
    assert len(read_rows(file)) == 2


def test_an_unreadable_image_is_tried_again_when_it_is_passed_again(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path
) -> None:
    file, broken = tmp_path / "predictions.csv", tmp_path / "broken.jpg"
    broken.touch()
    assert facecls("predict", broken, "--checkpoint", trained, "--no-unknown", "--output", file).code == 1
    assert facecls("predict", *first_images(faces, 1), "--checkpoint", trained, "--no-unknown", "--output", file).code == 0
    broken.write_bytes(Path(first_images(faces, 1)[0]).read_bytes())
    for added in ("1 image", "0 images"):
        mended = facecls("predict", broken, "--checkpoint", trained, "--no-unknown", "--output", file)
        assert mended.code == 0 and mended.err.startswith(f"{added} added to {file} in ")
    rows = read_rows(file)
    assert [row["path"] for row in rows] == [str(broken), first_images(faces, 1)[0], str(broken)]
    assert rows[0]["error"] == "is empty" and rows[2]["label"] and not rows[2]["error"]


def test_a_file_name_that_is_not_utf_8_keeps_its_bytes_in_csv(trained: Path, faces: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    Path(os.fsdecode(name)).write_bytes(Path(first_images(faces, 1)[0]).read_bytes())
    command = predict_command("-", "--checkpoint", trained, "--format", "csv")
    done = subprocess.run(command, input=name + b"\n", capture_output=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].startswith(name + b",")


def test_json_escapes_a_file_name_that_is_not_utf_8(trained: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    for form in ("json", "jsonl"):
        command = predict_command("-", "--checkpoint", trained, "--format", form)
        done = subprocess.run(command, input=name + b"\n", capture_output=True, timeout=60)
        rows = json.loads(done.stdout.decode("ascii"))
        assert os.fsencode((rows if form == "jsonl" else rows[0])["path"]) == name


def test_characters_that_stdout_cannot_encode_are_no_error(trained: Path, tmp_path: Path) -> None:
    name, shown = str(tmp_path / "王é.jpg"), {}
    for form in ("table", "csv"):
        command = predict_command(name, "--checkpoint", trained, "--no-unknown", "--format", form)
        done = subprocess.run(command, capture_output=True, timeout=60, env={**os.environ, "PYTHONIOENCODING": "latin-1"})
        assert done.returncode == 1 and not done.stderr
        shown[form] = done.stdout
    assert shown["table"].startswith(f"{tmp_path}/\\u738bé.jpg: ".encode("latin-1"))  # in the encoding of stdout
    assert f"\n{name},".encode() in shown["csv"]  # always UTF-8


@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "a" * 300])
def test_a_file_name_that_is_too_long_gets_an_error_row(facecls: Facecls, trained: Path, tmp_path: Path, name: str) -> None:
    result = facecls("predict", name, "--checkpoint", trained, "--annotate", tmp_path / "annotated")
    assert result.code == 1 and "Traceback" not in result.err
    assert result.out.startswith(f"{name}: ") and "too long" in result.out.lower()
    with pytest.raises(DataError):
        next(watch_folder(Path(name)))


def test_output_refuses_other_formats_than_csv(facecls: Facecls, trained: Path, faces: Path, tmp_path: Path) -> None:
    result = facecls("predict", faces, "--checkpoint", trained, "--output", tmp_path / "x.csv", "--format", "json")
    assert result.code == 2 and "--output writes CSV" in result.err


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_no_order_and_predictions_by_rounding_only(
    trained: Path, faces: Path, threads: int
) -> None:
    paths = [*first_images(faces, 20), "none.jpg", *first_images(faces, 20)]
    predictor = Classifier(read(trained), resolve_device("cpu", "fp32"))
    alone = [next(iter(predictor.stream([path]))) for path in paths]
    torch.set_num_threads(threads)
    try:
        predictions = list(predictor.stream(paths))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    assert [each.path for each in predictions] == paths
    assert [each.label for each in predictions] == [each.label for each in alone]
    assert predictions[20].error is not None
    del predictions[20], alone[20]
    for one, other in zip(predictions, alone, strict=True):
        assert one.probability == pytest.approx(other.probability, rel=1e-5)


def test_heat_maps_do_not_depend_on_concurrent_predictions(trained: Path, faces: Path, tmp_path: Path) -> None:
    predictor = Classifier(read(trained), resolve_device("cpu", "fp32"))
    paths = first_images(faces, 40)
    list(explain_images(predictor.by_image(paths), tmp_path / "together", predictor))
    for path in paths[:5]:
        list(explain_images(predictor.by_image([path]), tmp_path / "alone", predictor))
    for overlay in (tmp_path / "alone").rglob("*.jpg"):
        assert overlay.read_bytes() == (tmp_path / "together" / overlay.relative_to(tmp_path / "alone")).read_bytes()


def test_an_image_that_looks_like_a_photograph_gets_one_warning(
    facecls: Facecls, trained: Path, faces: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2")
    command = ("predict", "--checkpoint", trained, "--format", "csv")
    paths = sorted(photographs.rglob("*.png"))[:3]
    (warning,) = [line for line in facecls(*command, *paths).err.splitlines() if "photograph" in line]
    assert re.fullmatch(
        f"warning: {re.escape(str(paths[0]))}: looks like a whole photograph, with a face of \\d+ x \\d+ in 480 x 360 "
        "pixels, but this checkpoint takes each image as one face; train with `--set data\\.faces=detect`, or cut the faces "
        "out with `facecls prepare`",
        warning,
    )
    assert "photograph" in facecls(*command, *first_images(faces, 9), paths[0]).err  # a sample of all images is searched
    assert "photograph" not in facecls(*command, *first_images(faces, 9)).err
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr("facecls.faces.photograph._detector", build_detector)  # without its cache
    result = facecls(*command, *paths)
    assert result.code == 0 and "photograph" not in result.err
