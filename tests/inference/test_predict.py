"""Predict's further ways in and out: pipes, watched folders, growing files, drawings."""

import csv
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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
from facecls.faces.decode import open_image
from facecls.inference.annotate import annotate_images, caption, explain_images, place_of
from facecls.inference.output import PredictionFile
from facecls.inference.predict import Prediction, Predictor
from facecls.inference.sources import piped, watched
from facecls.progress import Progress
from tests.conftest import Result

Facecls = Callable[..., Result]
Tiny = Callable[..., Path]


def images(faces: Path, most: int) -> list[str]:
    return sorted(str(path) for path in faces.rglob("*.*"))[:most]


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_predict_says_of_val_exactly_what_eval_does(facecls: Facecls, trained: Path) -> None:
    evaluation = evaluate_checkpoint(read(trained), resolve_device("auto", "auto"), Progress())
    calibration = read(trained).calibration
    assert calibration is not None
    expected = calibration.probabilities(evaluation.outputs.logits)
    said = json.loads(facecls("predict", *evaluation.split.image_list.paths, "--checkpoint", trained, "--format", "json").out)
    assert [row["probability"] for row in said] == expected.max(axis=1).tolist()
    assert [row["known"] for row in said] == evaluation.open_set.accepted.tolist()
    named = [evaluation.closed_set.metrics.classes[number] for number in evaluation.split.image_list.labels]
    right = [row["nearest"] == name for row, name in zip(said, named, strict=True)]
    assert np.mean(right) == evaluation.closed_set.metrics.accuracy


def test_a_stranger_is_unknown_with_the_nearest_name_beside_it(
    facecls: Facecls, tiny: Tiny, impostors: Path, tmp_path: Path
) -> None:
    config = tiny(train={"epochs": 6}, unknown={"strangers": str(impostors), "target_false_accept": 0.05})
    facecls("train", config, "--out", tmp_path / "run")
    rows = json.loads(facecls("predict", impostors, "--checkpoint", tmp_path / "run", "--format", "json").out)
    turned_away = [row for row in rows if row["label"] == UNKNOWN]
    assert len(turned_away) >= 19
    assert all(row["known"] is False and row["nearest"] == row["top"][0][0] for row in turned_away)
    assert "unknown, nearest " in facecls("predict", impostors, "--checkpoint", tmp_path / "run").out
    named = json.loads(facecls("predict", impostors, "--checkpoint", tmp_path / "run", "--format", "json", "--no-unknown").out)
    assert [row["label"] for row in named] == [row["nearest"] for row in rows]


def test_mirroring_changes_the_probabilities_a_little(facecls: Facecls, trained: Path, faces: Path) -> None:
    plain, both = (
        json.loads(facecls("predict", *images(faces, 5), "--checkpoint", trained, "--format", "json", *more).out)
        for more in ((), ("--tta", "flip"))
    )
    assert [row["probability"] for row in plain] != [row["probability"] for row in both]


def test_paths_come_from_a_pipe(facecls: Facecls, trained: Path, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = images(faces, 3)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([*named, "", "nowhere.jpg"]) + "\n"))
    result = facecls("predict", "-", "--checkpoint", trained, "--format", "jsonl")
    assert [json.loads(line)["path"] for line in result.out.splitlines()] == [*named, "nowhere.jpg"]
    assert result.code == 1


def test_a_slow_pipe_is_answered_at_once() -> None:
    ends = os.pipe()
    with os.fdopen(ends[0]) as reads, os.fdopen(ends[1], "w") as writes:
        groups = piped(reads)
        for path in ("a.jpg", "b.jpg"):
            writes.write(path + "\n")
            writes.flush()
            assert next(groups) == [path]
        writes.close()
        assert list(groups) == []


def test_a_file_of_rows_grows_and_is_not_named_twice(facecls: Facecls, trained: Path, faces: Path, tmp_path: Path) -> None:
    file = tmp_path / "names.csv"
    first = facecls("predict", *images(faces, 3), "--checkpoint", trained, "--output", file)
    assert (first.code, first.out) == (0, "")
    assert first.err.startswith(f"3 images added to {file} in ")
    whole = facecls("predict", faces, "--checkpoint", trained, "--output", file)
    assert f"45 images added to {file} in " in whole.err and whole.err.endswith(", 3 were there already\n")
    assert sorted(row["path"] for row in rows_of(file)) == images(faces, 99)
    shown = list(csv.DictReader(facecls("predict", faces, "--checkpoint", trained, "--format", "csv").out.splitlines()))
    assert sorted(map(str, shown)) == sorted(map(str, rows_of(file)))
    missing = facecls("predict", tmp_path / "none.jpg", "--checkpoint", trained, "--output", file)
    assert missing.code == 1
    assert missing.err.startswith(f"1 images added to {file} in ")
    assert missing.err.endswith(" s, 48 were there already; 1 could not be read: see its column `error`\n")


def test_a_line_that_was_cut_short_is_named_again(facecls: Facecls, trained: Path, faces: Path, tmp_path: Path) -> None:
    file = tmp_path / "names.csv"
    facecls("predict", *images(faces, 3), "--checkpoint", trained, "--output", file)
    whole, rows = file.read_bytes(), rows_of(file)
    file.write_bytes(whole[:-9])
    facecls("predict", *images(faces, 3), "--checkpoint", trained, "--output", file)
    again = rows_of(file)
    last, probability = again[2], float(again[2].pop("probability"))  # of another batch: its last digits may differ
    assert again[:2] == rows[:2]
    assert probability == pytest.approx(float(rows[2].pop("probability")), abs=1e-5)
    assert last == rows[2] and len(again) == 3


@pytest.mark.parametrize("left", [30, 27, 12])  # bytes of the last row: some end in the quoted name, at and after its line end
def test_a_row_that_was_cut_short_leaves_nothing_behind_where_names_hold_line_ends(tmp_path: Path, left: int) -> None:
    file = tmp_path / "names.csv"
    named = [Prediction(path, "ada", 0.5, nearest="ada") for path in ("one\n.jpg", "an\rother.jpg", 'last "\n one.jpg')]
    list(PredictionFile(file, 1, ["ada"]).added(named))
    whole = file.read_bytes()
    before = whole[: whole.index(b'"last')]
    file.write_bytes(whole[: len(whole) - left])
    again = PredictionFile(file, 1, ["ada"])
    assert again.paths == {"one\n.jpg", "an\rother.jpg"} and file.read_bytes() == before
    list(again.added(named[2:]))
    assert file.read_bytes() == whole
    assert [row["path"] for row in rows_of(file)] == [each.path for each in named]


def test_a_file_of_something_else_is_left_alone(facecls: Facecls, trained: Path, faces: Path, tmp_path: Path) -> None:
    file = tmp_path / "names.csv"
    file.write_text("name,age\nada,36\n")
    result = facecls("predict", *images(faces, 1), "--checkpoint", trained, "--output", file)
    assert result.err == (
        f"error: {file}: holds something else than these predictions would be\n\n"
        "hint: its first line should be path,label,probability,nearest,error: name another with --output\n"
    )
    assert file.read_text() == "name,age\nada,36\n"


def test_a_file_of_another_classifier_is_left_as_it_is(facecls: Facecls, trained: Path, faces: Path, tmp_path: Path) -> None:
    file = tmp_path / "names.csv"
    facecls("predict", *images(faces, 1), "--checkpoint", trained, "--output", file)
    with file.open("a") as rows:
        rows.write("photo.jpg,unknown,0.5,zoe,\n")
    before = file.read_bytes()
    result = facecls("predict", *images(faces, 3), "--checkpoint", trained, "--output", file)
    assert result.code == 1
    assert result.err == (
        f"error: {file}: holds the names of another classifier: `zoe` is not a class of this one\n\n"
        "hint: name another with --output, or the checkpoint that began it with --checkpoint\n"
    )
    assert file.read_bytes() == before


def wait_for(there: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lines(file: Path, count: int) -> bool:
    return len(file.read_text().splitlines()) == count


def test_ctrl_c_in_a_long_folder_keeps_what_is_named(trained: Path, faces: Path, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number:04}.jpg").symlink_to(images(faces, 1)[0])
    file = tmp_path / "names.csv"
    words = [sys.executable, "-m", "facecls", "predict", str(folder), "--checkpoint", str(trained), "--output", str(file)]
    running = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: file.exists() and file.stat().st_size > 500)
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=30)[1]
    assert running.returncode == 130
    named = len(rows_of(file))
    assert 0 < named < 3000
    assert said == f"stopped: {named:,} images are in {file}; the same command goes on\n"


def test_images_are_named_as_they_arrive(trained: Path, faces: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    words = [sys.executable, "-m", "facecls", "predict", "--watch", str(folder), "--checkpoint", str(trained)]
    output = tmp_path / "said"
    with output.open("w") as file:
        running = subprocess.Popen([*words, "--format", "jsonl"], stdout=file, stderr=subprocess.PIPE, text=True)
        for count, image in enumerate(images(faces, 2), 1):
            Image.open(image).convert("RGB").save(folder / f"{count}.png")
            wait_for(partial(_lines, output, count))
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=30)[1]
    assert (running.returncode, said) == (0, f"watching {folder}; Ctrl-C ends it\n")
    assert [json.loads(line)["path"] for line in output.read_text().splitlines()] == [str(folder / f"{n}.png") for n in (1, 2)]


@pytest.mark.parametrize("output", [False, True])
def test_a_watch_ends_with_1_where_a_image_could_not_be_read(
    facecls: Facecls, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: bool
) -> None:
    (tmp_path / "broken.jpg").touch()
    stats = iter(range(3))

    def ctrl_c_at_last(_: float) -> None:
        if next(stats, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", ctrl_c_at_last)
    more = ("--output", tmp_path / "names.csv") if output else ()
    assert facecls("predict", "--watch", tmp_path, "--checkpoint", trained, *more).code == 1


def test_a_image_that_is_still_being_written_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = watched(tmp_path)
    growing = tmp_path / "a.jpg"
    growing.write_bytes(b"1")
    (tmp_path / "b.jpg").write_bytes(b"whole")
    contents = [b"12", b"123"]  # what stands there at the second and the third look
    monkeypatch.setattr("time.sleep", lambda _: contents and growing.write_bytes(contents.pop(0)))
    assert next(stats) == [str(tmp_path / "b.jpg")]
    assert next(stats) == [str(growing)] and growing.read_bytes() == b"123"
    growing.write_bytes(b"changed")  # it is named again once it stands still
    assert next(stats) == [str(growing)]


def test_a_folder_to_watch_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        next(watched(tmp_path / "nowhere"))
    assert str(caught.value) == f"{tmp_path / 'nowhere'}: no such folder to watch"


@pytest.mark.parametrize("words", [[], ["x.jpg", "--watch", "."], ["--watch", ".", "--format", "json"]])
def test_what_cannot_be_meant_is_wrong_usage(facecls: Facecls, words: list[str]) -> None:
    assert facecls("predict", *words).code == 2


def test_images_are_drawn_with_their_names(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(faces.parent)
    image = next(path for path in sorted(faces.rglob("*.jpg"))).relative_to(faces.parent)
    folders = ("--annotate", tmp_path / "named", "--explain", tmp_path / "seen")
    assert facecls("predict", image, "nowhere.jpg", "--checkpoint", trained, *folders).code == 1
    named, seen, plain = (open_image(path) for path in (tmp_path / "named" / image, tmp_path / "seen" / image, image))
    assert named.width == plain.width and named.height > plain.height
    assert seen.width == 640 and seen.height > 320
    assert len(list(tmp_path.rglob("*.jpg"))) == 2


def test_a_network_without_a_map_cannot_explain(facecls: Facecls, tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    facecls("train", tiny(model={"name": "mlp"}, train={"epochs": 1}), "--out", tmp_path / "run")
    result = facecls("predict", *images(faces, 1), "--checkpoint", tmp_path / "run", "--explain", tmp_path / "seen")
    assert result.code == 1
    assert result.err.startswith("error: model.name: `mlp` has no feature map for Grad-CAM\n\nhint: ")


def test_drawings_never_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = Path("out")
    assert place_of("a/1.jpg", out) == place_of("./a/1.jpg", out) == out / "a/1.jpg"
    assert place_of("a/1.webp", out) == out / "a/1.webp.drawn.jpg"
    assert place_of("/b/1.PNG", out) == out / "from-root/b/1.PNG"
    assert place_of("../1.jpg", out) == out / "from-root" / tmp_path.parent.relative_to("/") / "1.jpg"
    below = ["1", "1.jpg", "1.pgm", "1.pgm.jpg", *(f"1{more}.drawn.jpg" for more in ("", ".pgm", ".pgm.drawn.jpg"))]
    folders = ["", "b/", "/b/", "from-root/b/", "/from-root/b/", "from-root/from-root/b/", f"from-root{tmp_path}/b/"]
    places = {place_of(folder + name, out) for folder in folders for name in below}
    assert len(places) == len(folders) * len(below)


def test_names_with_control_characters_are_drawn_and_shown_spelled_out(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path
) -> None:
    strange = tmp_path / "a\x1b[31m\n.jpg"
    strange.write_bytes(Path(images(faces, 1)[0]).read_bytes())
    shown = facecls("predict", strange, "--checkpoint", trained)
    assert shown.out.startswith(f"{tmp_path}/a\\x1b[31m\\n.jpg: ") and len(shown.out.splitlines()) == 1
    named = Prediction(str(strange), "ada\n", 0.5, nearest="ada\n", known=True)
    assert caption(named) == "ada\\n 50.0%"
    list(annotate_images([named], tmp_path / "named"))
    assert len(list((tmp_path / "named").rglob("*.jpg"))) == 1


def test_progress_without_a_terminal_is_a_line_now_and_then(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facecls.progress._LINE_SECONDS", 0.0)
    assert list(Progress().follow("abc", total=3, unit="image", desc="named")) == ["a", "b", "c"]
    assert "named: 2 of 3, " in capfd.readouterr().err


def test_a_checkpoint_without_a_judgement_names_everything(trained: Path, impostors: Path) -> None:
    from dataclasses import replace

    predictor = Predictor(replace(read(trained), calibration=None), resolve_device("cpu", "fp32"))
    said: list[Prediction] = list(predictor.predict(images(impostors, 5)))
    assert all(each.known for each in said)


def test_a_drawing_never_takes_the_place_of_its_image(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(Path(images(faces, 1)[0]).read_bytes())
    before = photo.read_bytes()
    monkeypatch.chdir(tmp_path)
    for option in ("--annotate", "--explain"):
        result = facecls("predict", "photo.jpg", "--checkpoint", trained, option, ".")
        assert (result.code, result.err) == (
            1,
            "error: photo.jpg: is the image itself, its drawing is not put in its place\n\nhint: name another folder\n",
        )
        assert photo.read_bytes() == before


def test_drawings_do_not_go_where_images_arrive(facecls: Facecls, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    result = facecls("predict", "--watch", tmp_path / "inbox", "--checkpoint", trained, "--annotate", tmp_path / "inbox/named")
    assert result.code == 1
    inbox, told = tmp_path / "inbox", "so that its drawings would be taken for images to name"
    assert result.err == f"error: {inbox / 'named'}: lies in {inbox}, {told}\n\nhint: name a folder elsewhere\n"


def test_drawings_do_not_go_where_the_same_command_would_find_them_again(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path
) -> None:
    result = facecls("predict", faces, "--checkpoint", trained, "--explain", faces / "seen")
    assert (result.code, (faces / "seen").exists()) == (1, False)
    told = "so that its drawings would be taken for images to name"
    assert result.err == f"error: {faces / 'seen'}: lies in {faces}, {told}\n\nhint: name a folder elsewhere\n"
    both = tmp_path / "both"
    result = facecls("predict", faces, "--checkpoint", trained, "--explain", both, "--annotate", both)
    assert result.err == f"error: {both}: cannot take both kinds of drawings\n\nhint: name two folders\n"


def test_what_a_watched_folder_held_before_is_named_again_when_it_changes(tmp_path: Path) -> None:
    old, new = tmp_path / "latest.jpg", tmp_path / "new.jpg"
    old.write_bytes(b"1")
    new.write_bytes(b"1")
    stats = watched(tmp_path, held={str(old)}, poll_seconds=0)
    assert next(stats) == [str(new)]
    old.write_bytes(b"another")
    assert next(stats) == [str(old)]
    new.unlink()
    (tmp_path / "third.jpg").write_bytes(b"1")
    assert next(stats) == [str(tmp_path / "third.jpg")]
    new.write_bytes(b"1")  # one that comes again is another image
    assert next(stats) == [str(new)]


def test_a_disk_that_fills_up_while_rows_are_added_is_told(tmp_path: Path) -> None:
    file = tmp_path / "names.csv"
    results = PredictionFile(file, top_k=1, classes=())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 20, before[1]))  # the second row's middle
    try:
        with pytest.raises(RunError) as caught:
            list(results.added([Prediction("a.jpg", "ada", 0.5), Prediction("b.jpg", "ada", 0.5)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == f"{file}: cannot be written: File too large"
    assert caught.value.hint == "name another with --output"
    assert PredictionFile(file, top_k=1, classes=()).paths == {"a.jpg"}


@pytest.mark.parametrize("text", ["a,b\n1,2", "a,b", "path,labels\n", "notes"])
def test_a_file_of_something_else_is_left_as_it_is(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(text)
    result = facecls("predict", *images(faces, 1), "--checkpoint", trained, "--output", file)
    assert result.code == 1 and f"error: {file}: holds something else than these predictions would be" in result.err
    assert file.read_text() == text


def test_rows_without_a_image_keep_the_exit_code(facecls: Facecls, trained: Path, faces: Path, tmp_path: Path) -> None:
    file = tmp_path / "names.csv"
    words = ("predict", *images(faces, 1), tmp_path / "none.jpg", "--checkpoint", trained, "--output", file)
    assert [facecls(*words).code for _ in range(2)] == [1, 1]
    assert len(rows_of(file)) == 2


def test_a_image_that_could_not_be_read_is_tried_again_once_it_is_named_again(
    facecls: Facecls, trained: Path, faces: Path, tmp_path: Path
) -> None:
    file, non_finite = tmp_path / "names.csv", tmp_path / "broken.jpg"
    non_finite.touch()
    assert facecls("predict", non_finite, "--checkpoint", trained, "--output", file).code == 1
    assert facecls("predict", *images(faces, 1), "--checkpoint", trained, "--output", file).code == 0
    non_finite.write_bytes(Path(images(faces, 1)[0]).read_bytes())
    for added in (1, 0):
        mended = facecls("predict", non_finite, "--checkpoint", trained, "--output", file)
        assert mended.code == 0 and mended.err.startswith(f"{added} images added to {file} in ")
    rows = rows_of(file)
    assert [row["path"] for row in rows] == [str(non_finite), images(faces, 1)[0], str(non_finite)]
    assert rows[0]["error"] == "is empty" and rows[2]["label"] and not rows[2]["error"]


def test_a_name_that_is_no_utf_8_is_printed_as_it_is(trained: Path, faces: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    Path(os.fsdecode(name)).write_bytes(Path(images(faces, 1)[0]).read_bytes())
    words = [sys.executable, "-m", "facecls", "predict", "-", "--checkpoint", str(trained), "--format", "csv"]
    done = subprocess.run(words, input=name + b"\n", capture_output=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].startswith(name + b",")


def test_json_holds_such_a_name_in_ascii(trained: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    for form in ("json", "jsonl"):
        words = [sys.executable, "-m", "facecls", "predict", "-", "--checkpoint", str(trained), "--format", form]
        done = subprocess.run(words, input=name + b"\n", capture_output=True, timeout=60)
        rows = json.loads(done.stdout.decode("ascii"))
        assert os.fsencode((rows if form == "jsonl" else rows[0])["path"]) == name


def test_what_stdout_cannot_spell_ends_nothing(trained: Path, tmp_path: Path) -> None:
    name, shown = str(tmp_path / "王é.jpg"), {}
    for form in ("table", "csv"):
        words = [sys.executable, "-m", "facecls", "predict", name, "--checkpoint", str(trained), "--format", form]
        done = subprocess.run(words, capture_output=True, timeout=60, env={**os.environ, "PYTHONIOENCODING": "latin-1"})
        assert done.returncode == 1 and not done.stderr
        shown[form] = done.stdout
    assert shown["table"].startswith(f"{tmp_path}/\\u738bé.jpg: ".encode("latin-1"))  # for people, in their encoding
    assert f"\n{name},".encode() in shown["csv"]  # for programs, UTF-8


@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "a" * 300])
def test_a_name_that_the_system_refuses_gets_its_row(facecls: Facecls, trained: Path, tmp_path: Path, name: str) -> None:
    result = facecls("predict", name, "--checkpoint", trained, "--annotate", tmp_path / "named")
    assert result.code == 1 and "Traceback" not in result.err
    assert result.out.startswith(f"{name}: ") and "too long" in result.out.lower()
    with pytest.raises(DataError):
        next(watched(Path(name)))


def test_output_is_csv_and_nothing_else(facecls: Facecls, trained: Path, faces: Path, tmp_path: Path) -> None:
    result = facecls("predict", faces, "--checkpoint", trained, "--output", tmp_path / "x.csv", "--format", "json")
    assert result.code == 2 and "--output writes CSV" in result.err


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_names_alike_and_in_order(trained: Path, faces: Path, threads: int) -> None:
    paths = [*images(faces, 20), "none.jpg", *images(faces, 20)]
    predictor = Predictor(read(trained), resolve_device("cpu", "fp32"))
    alone = [next(iter(predictor.predict([path]))) for path in paths]
    torch.set_num_threads(threads)
    try:
        said = list(predictor.predict(paths))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    assert [each.path for each in said] == paths
    assert [each.label for each in said] == [each.label for each in alone]
    assert said[20].error is not None
    for one, other in zip(said, alone, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-5)


def test_heat_maps_are_the_same_while_others_compute(trained: Path, faces: Path, tmp_path: Path) -> None:
    predictor = Predictor(read(trained), resolve_device("cpu", "fp32"))
    paths = images(faces, 40)
    list(explain_images(predictor.predict(paths), tmp_path / "together", predictor))
    for path in paths[:5]:
        list(explain_images(predictor.predict([path]), tmp_path / "alone", predictor))
    for drawing in (tmp_path / "alone").rglob("*.jpg"):
        assert drawing.read_bytes() == (tmp_path / "together" / drawing.relative_to(tmp_path / "alone")).read_bytes()
