"""Faces in the images of training, evaluation and prediction: the same, found once."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import facecls
from facecls.config.load import load_config
from facecls.data.detections import detect_all
from facecls.data.load import geometry_of
from facecls.device import available_cores
from facecls.errors import DataError, InstallError
from facecls.faces.geometry import Detection
from facecls.faces.photograph import NO_FACE, FoundFaces, find_faces
from facecls.progress import no_progress

pytest.importorskip("cv2")
Tiny = Callable[..., Path]


@pytest.fixture
def config(tiny: Tiny, photographs: Path, tmp_path: Path) -> Callable[..., Any]:
    def of(*overrides: str) -> Any:
        data = {"root": str(photographs), "image_size": 32, "faces": "detect", "cache_dir": str(tmp_path / "cache")}
        return load_config(tiny(data=data, train={"epochs": 1}, split={"val": 0.25, "group": "none"}), overrides)

    return of


@pytest.mark.parametrize("store", ["memory", "disk", "stream"])
def test_eval_and_predict_classify_the_same_faces(config: Callable[..., Any], tmp_path: Path, store: str) -> None:
    run = facecls.train(config(f"data.store={store}"), out=tmp_path / "run")
    assert run is not None
    evaluation = facecls.evaluate(run.folder)
    classifier = facecls.load(run.folder, device="cpu")
    images = evaluation.split.image_list
    main = [predictions[0] for predictions in classifier.by_image(images.paths)]
    assert [each.face for each in main] == [0] * len(images)
    assert [classifier.classes.index(str(each.nearest)) for each in main] == evaluation.outputs.logits.argmax(axis=1).tolist()
    expected = classifier.calibration.probabilities(evaluation.outputs.logits).max(axis=1)
    assert [each.probability for each in main] == pytest.approx(expected.tolist(), rel=1e-5)
    pixels = np.stack([classifier.read_one(path).faces[0].pixels for path in images.paths])
    np.testing.assert_array_equal(evaluation.split.faces[np.arange(len(images))], pixels)


def test_what_was_found_is_not_sought_again(
    photographs: Path, config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = config().data
    detection = geometry_of(data).detection
    assert detection is not None
    paths = [str(path) for path in sorted(photographs.rglob("*.png"))]
    first = detect_all(paths[:9], detection, no_progress, "", data.cache_dir)
    sought: list[str] = []

    def counted(path: str, how: Detection) -> FoundFaces:
        sought.append(path)
        return find_faces(path, how)

    monkeypatch.setattr("facecls.data.detections.find_faces", counted)
    second = detect_all(paths, detection, no_progress, "", data.cache_dir)
    assert sorted(sought) == paths[9:] and second.found[:9] == first.found
    assert second.counts().tolist() == [1] * 16


def test_images_without_a_face_stop_training_or_are_left_out_or_taken_whole(
    config: Callable[..., Any], tmp_path: Path, with_empty: Path
) -> None:
    empty = with_empty / "person4" / "empty.png"
    root = f"data.root={with_empty}"
    with pytest.raises(DataError) as raised:
        facecls.train(config(root), out=tmp_path / "stopped")
    assert str(raised.value) == f"{empty}: {NO_FACE}"
    assert raised.value.hint == (
        "leave them out with `--set data.on_no_face=skip`, or use them as a whole with `whole`; "
        "`facecls check` shows which they are"
    )
    facecls.train(config(root, "data.on_no_face=skip"), out=tmp_path / "skip")
    assert NO_FACE in (tmp_path / "skip" / "split.csv").read_text()
    evaluation = facecls.evaluate(tmp_path / "skip", with_empty)
    assert [str(error) for error in evaluation.skipped] == [f"{empty}: {NO_FACE}"] and evaluation.to_plain()["n"] == 16
    (prediction,) = facecls.load(tmp_path / "skip").predict(empty)
    assert (prediction.label, prediction.error, prediction.face, prediction.box) == (None, NO_FACE, None, None)
    facecls.train(config(root, "data.on_no_face=whole"), out=tmp_path / "whole")
    (prediction,) = facecls.load(tmp_path / "whole").predict(empty)
    assert prediction.error is None and prediction.nearest is not None and prediction.box is None


@pytest.fixture
def with_empty(photographs: Path, tmp_path: Path) -> Path:
    """The photographs and one image without a face."""
    root = tmp_path / "with-empty"
    shutil.copytree(photographs, root)
    Image.new("RGB", (300, 200), "white").save(root / "person4" / "empty.png")
    return root


def test_training_notes_how_many_images_have_how_many_faces(
    config: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    facecls.train(config(), out=tmp_path / "run", progress=True)
    note = (
        "train: one face in 12 images, several in 0 (the largest is used), none in 0; a score below 0.8 in 0, "
        "faces that seem sideways or inverted in 0\n"
    )
    assert note in capfd.readouterr().err


def test_without_opencv_training_says_what_to_install(
    config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InstallError) as raised:
        facecls.train(config(), out=tmp_path / "run")
    assert raised.value.hint == "install it with `pip install 'facecls[faces]'`"


KILLED = """
import sys, time
import facecls, facecls.data.detections as detections
root, cache, log, out = sys.argv[1:]
find_faces = detections.find_faces
def logged(path, how):
    with open(log, "a") as file:
        file.write(path + "\\n")
    time.sleep(0.1)
    return find_faces(path, how)
detections.find_faces = logged
config = {"data.root": root, "data.faces": "detect", "data.cache_dir": cache, "data.image_size": 32, "model.name": "cnn"}
config |= {"train.epochs": 1, "split.val": 0.25, "split.group": "none", "device": "cpu", "precision": "fp32", "threads": 1}
facecls.train(config, out=out, resume=True)
"""


def test_a_training_killed_while_it_searched_goes_on_without_searching_again(photographs: Path, tmp_path: Path) -> None:
    def command(name: str) -> list[str]:
        paths = (photographs, tmp_path / f"{name}-cache", tmp_path / f"{name}-log", tmp_path / name)
        return [sys.executable, "-c", KILLED, *map(str, paths)]

    log = tmp_path / "killed-log"
    process = subprocess.Popen(command("killed"))
    while not log.exists() or len(log.read_text().splitlines()) < 9:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    for name in ("killed", "whole"):
        subprocess.run(command(name), check=True)
    searched = log.read_text().splitlines()
    assert len(set(searched)) == 16 and len(searched) <= 16 + available_cores()  # those that were being searched, again
    one, other = (facecls.load(tmp_path / name).checkpoint.weights for name in ("killed", "whole"))
    assert all((one[name] == other[name]).all() for name in one)
