"""Configs suggested for a folder of faces."""

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from facecls.check.suggest import FolderSummary, suggest_config
from facecls.config.load import load_config
from facecls.config.schema import AugmentConfig, Config
from tests.conftest import Noise, Result

Facecls = Callable[..., Result]


def load(summary: FolderSummary, folder: Path) -> Config:
    path = folder / "suggested.yaml"
    path.write_text(suggest_config(summary))
    return load_config(path)


def test_a_suggested_config_trains(facecls: Facecls, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert facecls("init", faces).out == "faces.yaml\n"
    small = ("--set", "train.epochs=1", "--set", "data.image_size=32", "--set", "model.name=cnn")
    assert facecls("train", "faces.yaml", "--out", "run", *small).code == 0


def test_an_existing_config_is_not_overwritten(facecls: Facecls, faces: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("precious")
    result = facecls("init", faces, "--output", tmp_path / "mine.yaml")
    assert (result.code, result.err) == (
        1,
        f"error: {tmp_path / 'mine.yaml'}: already exists\n\nhint: choose another file with --output\n",
    )
    assert (tmp_path / "mine.yaml").read_text() == "precious"


@pytest.mark.parametrize(
    ("summary", "lines"),
    [
        (
            FolderSummary(Path("people"), [f"p{n}" for n in range(40)], [5] * 40, 92, False),
            ["image_size: 80", "epochs: 120", "name: cosface"],
        ),
        (
            FolderSummary(Path("masks"), ["with", "without"], [600, 600], 300, False),
            ["name: linear", "batch_size: 64", "image_size: 96"],
        ),
        (
            FolderSummary(Path("my fer"), ["happy", "sad", "angry"], [900, 1200, 100], 48, True),
            ["stem: small", "best: val_macro_f1"],
        ),
        (FolderSummary(Path("gaze"), ["looks_left", "looks_right"], [50, 50], 200, True), ["flip_changes_class: true"]),
    ],
)
def test_the_config_depends_on_classes_images_and_size(summary: FolderSummary, lines: list[str], tmp_path: Path) -> None:
    text = suggest_config(summary)
    assert all(line in text for line in lines)
    assert ("split:" in text) != summary.has_val
    assert load(summary, tmp_path)
    assert max(map(len, text.splitlines())) <= 128


@pytest.mark.parametrize(
    ("classes", "flip_changes_class"),
    [
        (["looks_left", "looks_right"], True),
        (["LeftEye", "ahead", "rightEye"], True),
        (["Teresa Wright", "lefteris", "bright"], False),
        (["Ada Left", "Teresa Wright"], False),
        (["ahead", "left or right"], False),
    ],
)
def test_only_class_names_of_both_sides_make_a_flip_change_the_class(
    classes: list[str], flip_changes_class: bool, tmp_path: Path
) -> None:
    config = load(FolderSummary(Path("gaze"), classes, [50] * len(classes), 200, True), tmp_path)
    assert config.data.flip_changes_class == flip_changes_class
    assert config.augment.flip == AugmentConfig().flip


def test_a_class_called_unknown_disables_rejection(tmp_path: Path) -> None:
    assert not load(FolderSummary(Path("a"), ["ada", "unknown"], [50, 50], 96, True), tmp_path).unknown.enabled
    assert load(FolderSummary(Path("a"), ["ada", "bela"], [50, 50], 96, True), tmp_path).unknown.enabled


@pytest.mark.parametrize(("folder", "reason"), [("taken", "Not a directory"), ("gone", "No such file or directory")])
def test_a_config_needs_a_folder(facecls: Facecls, faces: Path, tmp_path: Path, folder: str, reason: str) -> None:
    (tmp_path / "taken").touch()
    path = tmp_path / folder / "x.yaml"
    assert facecls("init", faces, "--output", path).err == (
        f"error: {path}: cannot be written: {reason}\n\nhint: create its folder first, or choose another path\n"
    )


def test_a_single_class_is_refused(facecls: Facecls, tmp_path: Path) -> None:
    (tmp_path / "one" / "ada").mkdir(parents=True)
    Image.new("RGB", (50, 60)).save(tmp_path / "one" / "ada" / "1.png")
    result = facecls("init", tmp_path / "one", "--output", tmp_path / "one.yaml")
    assert result.err == (
        f"error: {tmp_path / 'one'}: has only one class (`ada`), a classifier needs at least two\n\n"
        "hint: put the images of each class into its own folder\n"
    )
    assert not (tmp_path / "one.yaml").exists()


def test_unreadable_images_are_skipped_and_named(facecls: Facecls, tmp_path: Path) -> None:
    for name in ("ada", "bela"):
        (tmp_path / "two" / name).mkdir(parents=True)
        Image.new("RGB", (50, 60)).save(tmp_path / "two" / name / "1.png")
        (tmp_path / "two" / name / "2.png").write_bytes(b"no image")
    result = facecls("init", tmp_path / "two", "--output", tmp_path / "two.yaml")
    bad = [tmp_path / "two" / name / "2.png" for name in ("ada", "bela")]
    assert result.code == 0 and result.err == (
        f"warning: {bad[0]}: is not an image that can be read\nwarning: {bad[1]}: is not an image that can be read\n"
        f"warning: 2 of 4 sampled images cannot be read; `facecls check {tmp_path / 'two.yaml'}` lists all\n"
    )
    assert "image_size: 48" in (tmp_path / "two.yaml").read_text()


@pytest.mark.parametrize("name", ["it's mine", "2024", "true", 'a "b"', "plain", "a: b", "#1", "a 😀", os.fsdecode(b"caf\xe9")])
def test_any_folder_name_is_read_back(name: str, tmp_path: Path) -> None:
    summary = FolderSummary(Path(name), ["a", "b"], [50, 50], 64, False)
    path = tmp_path / "suggested.yaml"
    path.write_text(suggest_config(summary), encoding="utf-8")
    assert load_config(path).data.root == Path(name)


def test_groups_of_classes_get_no_config(facecls: Facecls, noise: Noise, tmp_path: Path) -> None:
    root = tmp_path / "groups"
    noise(root / "groupA", s1=1, s2=1)
    noise(root / "groupB", s3=1)
    result = facecls("init", root, "--output", tmp_path / "groups.yaml")
    assert result.err == (
        f"error: {root}: its folders hold only folders, which hold the images (`groupA/s1`, `groupB/s3`)\n\n"
        f"hint: if the inner folders are the classes, move them into {root}; "
        "if the outer ones (`groupA`, `groupB`) are, set `data.subfolders: pool`\n"
    )
    assert not (tmp_path / "groups.yaml").exists()


def test_a_label_file_gets_a_config_that_trains(
    facecls: Facecls, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = sorted(faces.rglob("*.*"))
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"{path},{path.parent.name}\n" for path in paths))
    result = facecls("init", "labels.csv")
    assert (result.code, result.out) == (0, "labels.yaml\n")
    config = load_config(tmp_path / "labels.yaml")
    assert (config.data.csv, config.data.root) == (Path("labels.csv"), Path())
    assert f"4 classes, {len(paths)} images" in (tmp_path / "labels.yaml").read_text()
    small = ("--set", "model.name=cnn", "--set", "train.epochs=1", "--set", "data.image_size=32")
    assert facecls("train", "labels.yaml", "--out", "run", *small).code == 0
    (tmp_path / "labels.csv").write_text("path,name\n")
    assert facecls("init", "labels.csv", "-o", "b.yaml").err.startswith("error: labels.csv: has no column `label`\n")
    assert facecls("init", "labels.yaml").err.startswith("error: labels.yaml: ")


def test_photographs_get_detection_and_face_crops_do_not(
    facecls: Facecls, faces: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2")

    def suggested(folder: Path) -> str:
        path = tmp_path / f"{len(list(tmp_path.glob('*.yaml')))}.yaml"
        result = facecls("init", folder, "-o", path)
        assert result.code == 0 and load_config(path)
        return path.read_text()

    text = suggested(photographs)
    assert "  faces: detect  # in 16 of 16 sampled images the face covers 2 to 4 % of the area\n" in text
    assert "crop:" not in text and "on_no_face" not in text and "pixels 360\n" not in text
    assert "  image_size: 64  # pixels: the largest of 96, 80, 64, 48 and 32 that the faces have" in text
    mixed = Path(shutil.copytree(photographs, tmp_path / "mixed"))
    Image.new("RGB", (300, 200), "white").save(mixed / "person4" / "empty.png")
    assert "  on_no_face: skip  # no face was found in 1 sampled image; `whole` would use them\n" in suggested(mixed)
    assert re.search(
        r"  faces: image  # in \d+ of 48 sampled images the face covers \d+ to \d+ % of the area\n", suggested(faces)
    )
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert (
        "  faces: image  # each image is one face; to find faces in photographs: pip install 'facecls[faces]'\n"
        in suggested(photographs)
    )
