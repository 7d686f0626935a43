"""`facecls predict` on photographs: a row per face, boxes, images without a face, interrupted output files."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facecls as api
from facecls.errors import ImageError, RunError
from facecls.faces.decode import open_image
from facecls.faces.photograph import NO_FACE
from facecls.inference.annotate import annotate_images
from facecls.inference.classifier import Prediction
from facecls.inference.output import PredictionFile
from tests.conftest import Result
from tests.photographs import paste_faces, write_photographs

pytest.importorskip("cv2")
Facecls = Callable[..., Result]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on photographs of two people."""
    root = write_photographs(tmp_path_factory.mktemp("photographs"))
    config = {"device": "cpu", "precision": "fp32", "data.image_size": 32, "model.name": "cnn", "train.epochs": 2}
    config |= {"data.root": root, "data.faces": "detect", "split.val": 0.25, "split.group": "none"}
    run = api.train(config, out=root.parent / "run")
    assert run is not None
    return run.folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A group of three, a portrait, an image without a face, and a file that is no image."""
    folder = tmp_path_factory.mktemp("folder")
    paste_faces(folder / "group.png", (900, 400), [(40, 60, 200), (350, 100, 220), (650, 120, 160)])
    paste_faces(folder / "portrait.jpg", (300, 300), [(50, 40, 200)])
    Image.new("RGB", (200, 100), "grey").save(folder / "none.png")
    (folder / "text.jpg").write_text("no image")
    return folder


def test_csv_has_a_row_for_each_face(facecls: Facecls, trained: Path, folder: Path) -> None:
    result = facecls("predict", folder, "--checkpoint", trained, "--format", "csv", "--top-k", "2")
    assert result.code == 1 and "no face was found in 1 image\n" in result.err
    rows = list(csv.DictReader(result.out.splitlines()))
    faces = [(Path(row["path"]).name, row["face"], row["faces"]) for row in rows]
    assert faces == [
        *(("group.png", str(number), "3") for number in range(3)),
        ("none.png", "", "0"),
        ("portrait.jpg", "0", "1"),
        ("text.jpg", "", "0"),
    ]
    boxes = [[float(value) for value in row["box"].split()] for row in rows[:3]]
    centres = sorted(x + width / 2 for x, _, width, _ in boxes)
    for centre, (left, side) in zip(centres, ((40, 200), (350, 220), (650, 160)), strict=True):
        assert left < centre < left + side  # in the image that was pasted there
    for x, y, width, height in boxes:
        assert x > 0 and y > 0 and x + width < 900 and y + height < 400 and 60 < width < 220
    assert (rows[3]["error"], rows[3]["label"]) == (NO_FACE, "")
    assert rows[5]["error"] == "is not an image that can be read"


def test_json_groups_faces_by_image_and_jsonl_has_a_line_for_each(facecls: Facecls, trained: Path, folder: Path) -> None:
    images = json.loads(facecls("predict", folder, "--checkpoint", trained, "--format", "json").out)
    assert [(Path(image["path"]).name, image["error"], len(image["faces"])) for image in images] == [
        ("group.png", None, 3),
        ("none.png", NO_FACE, 0),
        ("portrait.jpg", None, 1),
        ("text.jpg", "is not an image that can be read", 0),
    ]
    assert set(images[0]["faces"][0]) == {"label", "probability", "top", "nearest", "known", "face", "box", "turn"}
    lines = [
        json.loads(line) for line in facecls("predict", folder, "--checkpoint", trained, "--format", "jsonl").out.splitlines()
    ]
    assert [line["face"] for line in lines] == [0, 1, 2, None, 0, None]
    assert lines[0]["box"] == images[0]["faces"][0]["box"] and len(lines[0]["box"]) == 4
    table = facecls("predict", folder / "portrait.jpg", "--checkpoint", trained).out
    x, y, width, height = lines[4]["box"]
    assert table.startswith(f"{folder / 'portrait.jpg'} face 0 at {x:.0f},{y:.0f} {width:.0f}x{height:.0f}: ")


def test_an_image_whose_rows_were_cut_is_classified_again(
    facecls: Facecls, trained: Path, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    command = ("predict", folder / "group.png", folder / "none.png", "--checkpoint", trained, "--output", output)
    assert facecls(*command).code == 0
    whole = output.read_text().splitlines()
    output.write_text("\n".join(whole[:3]) + "\n")  # two of three faces
    assert facecls(*command).code == 0
    assert output.read_text().splitlines() == [*whole[:3], *whole[1:]]
    again = facecls(*command)
    assert "0 images added" in again.err and "2 were already there" in again.err


def test_an_output_file_of_face_crops_is_refused(tmp_path: Path) -> None:
    PredictionFile(tmp_path / "out.csv", 1, "f0")
    with pytest.raises(RunError, match="has other columns"):
        PredictionFile(tmp_path / "out.csv", 1, "f0", detected=True)


def test_annotated_images_have_boxes_and_names_inside_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (400, 300), (90, 160, 90)).save("scene.png")
    boxes = [(150.0, 40.0, 60.0, 80.0), (330.0, 220.0, 69.0, 79.0), (0.0, 0.0, 30.0, 40.0)]
    known = (True, True, False)
    image = [
        Prediction(
            "scene.png", "a long name" if is_known else "unknown", 0.9, nearest="a long name", known=is_known, face=n, box=box
        )
        for n, (box, is_known) in enumerate(zip(boxes, known, strict=True))
    ]
    assert list(annotate_images([image], tmp_path / "out")) == [image]
    drawn = np.asarray(open_image(tmp_path / "out" / "scene.png")).astype(int)
    plain = np.asarray(open_image("scene.png")).astype(int)
    assert drawn.shape == plain.shape  # no band below
    assert tuple(drawn[40, 180]) == (255, 255, 255) and tuple(drawn[0, 15]) == (255, 190, 90)
    changed = np.argwhere((drawn != plain).any(axis=2))
    assert changed[:, 0].max() == 299 and changed[:, 1].max() == 399  # the face at the border has its box and name, too


def test_heat_maps_of_several_faces_have_names_of_their_own(
    facecls: Facecls, trained: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    images = ("group.png", "portrait.jpg", "none.png")
    assert facecls("predict", *images, "--checkpoint", trained, "--explain", tmp_path / "heat").code == 0
    names = sorted(path.name for path in (tmp_path / "heat").iterdir())
    assert names == ["group.2.png", "group.3.png", "group.png", "portrait.jpg"]


def test_the_api_gives_a_prediction_for_each_face(trained: Path, folder: Path) -> None:
    classifier = api.load(trained)
    pixels = np.asarray(open_image(folder / "group.png"))
    by_path, by_pixels = classifier.by_image([folder / "group.png", pixels])
    assert [(each.box, each.label) for each in by_path] == [(each.box, each.label) for each in by_pixels]
    assert len(classifier.predict([pixels, pixels])) == 6
    assert classifier.embed([pixels, folder / "portrait.jpg"]).shape[0] == 2
    with pytest.raises(ImageError, match=NO_FACE):
        classifier.embed(np.zeros((50, 50, 3), np.uint8))


def test_a_large_jpeg_is_cut_from_enough_pixels(trained: Path, tmp_path: Path) -> None:
    paste_faces(tmp_path / "small.jpg", (4000, 3000), [(1000, 1200, 110)])
    paste_faces(tmp_path / "cut.png", (4000, 3000), [(1000, 1200, 110)])
    classifier = api.load(trained)
    one, other = (classifier.predict(tmp_path / name) for name in ("small.jpg", "cut.png"))
    assert len(one) == len(other) == 1 and one[0].box == pytest.approx(other[0].box, abs=12)


def test_sideways_faces_are_reported_and_not_turned(facecls: Facecls, trained: Path, tmp_path: Path) -> None:
    paste_faces(tmp_path / "upright.png", (300, 300), [(50, 40, 200)])
    open_image(tmp_path / "upright.png").transpose(Image.Transpose.ROTATE_180).save(tmp_path / "inverted.png")
    result = facecls(
        "predict", tmp_path / "upright.png", tmp_path / "inverted.png", "--checkpoint", trained, "--format", "jsonl"
    )
    upright, inverted = map(json.loads, result.out.splitlines())
    assert (upright["turn"], inverted["turn"]) == (0, 180)
    upright_row, inverted_row = facecls(
        "predict", tmp_path / "upright.png", tmp_path / "inverted.png", "--checkpoint", trained
    ).out.splitlines()
    assert " turn 180: " in inverted_row and "turn" not in upright_row.removeprefix(str(tmp_path))
    assert (
        "warning: the faces in 1 image seem sideways or inverted, see `turn`: their predictions are unreliable; "
        "`facecls prepare --rotate` turns such images\n"
    ) in result.err


def test_an_annotated_image_without_a_face_says_so(facecls: Facecls, trained: Path, folder: Path, tmp_path: Path) -> None:
    facecls("predict", folder / "none.png", "--checkpoint", trained, "--annotate", tmp_path / "out")
    (path,) = (tmp_path / "out").rglob("*.png")
    assert open_image(path).height > open_image(folder / "none.png").height
