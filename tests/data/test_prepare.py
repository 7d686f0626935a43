"""`facecls prepare`: crops and rows, names, resuming, files that are not its own, turned and odd images, errors."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
from PIL import Image

from facecls.config.schema import DataConfig, SplitConfig
from facecls.data.dataset import index_dataset
from facecls.data.prepare import crop_stems
from facecls.faces.align import align
from facecls.faces.detect import Pixels, build_detector, main_face
from facecls.progress import no_progress
from tests.conftest import Result
from tests.photographs import face, paste_faces

pytest.importorskip("cv2")

Facecls = Callable[..., Result]
Row = dict[str, str]

OPTIONS = "--size 224 --margin 0.25"


def drawn(person: int = 4, number: int = 0, side: int = 200) -> Image.Image:
    """A face that the detector finds upright, for people 4 and 8."""
    return face(person, number, side)


def scene(size: tuple[int, int], *faces: tuple[Image.Image, int, int]) -> Image.Image:
    image = Image.new("RGB", size, (90, 90, 90))
    for each, x, y in faces:
        image.paste(each, (x, y))
    return image


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def read(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.array(image)


def rows(folder: Path) -> list[Row]:
    with (folder / "faces.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def row_of(facecls: Facecls, tmp_path: Path, image: Image.Image, name: str = "a.png", *options: str) -> Row:
    """The only row of a folder with one image."""
    save(image, tmp_path / "src" / name)
    assert facecls("prepare", tmp_path / "src", tmp_path / "dst", *options).code == 0
    (row,) = rows(tmp_path / "dst")
    return row


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two faces in `ada/two.png`, none in `ada/none.png`, one in `train/bob/one.jpg`, and a file that is not an image."""
    folder = tmp_path / "src"
    save(scene((600, 400), (drawn(4, 0, 120), 20, 20), (drawn(8, 0, 250), 300, 100)), folder / "ada" / "two.png")
    save(scene((300, 300)), folder / "ada" / "none.png")
    save(drawn(8, 1), folder / "train" / "bob" / "one.jpg")
    (folder / "ada" / "broken.jpg").write_bytes(b"")
    return folder


def test_the_main_face_of_each_image_is_written_and_each_image_is_listed(
    facecls: Facecls, photographs: Path, tmp_path: Path
) -> None:
    result = facecls("prepare", photographs, tmp_path / "dst")
    assert (result.code, result.out) == (1, f"{tmp_path / 'dst'}\n")
    assert result.err == (
        f"skipped: {photographs / 'ada' / 'broken.jpg'}: is empty\n"
        "4 images, 2 crops listed; images: 1 without a face, 1 with several, 1 unreadable\n"
    )
    assert files(tmp_path / "dst").keys() == {"ada/two.jpg", "train/bob/one.jpg", "faces.csv", ".lock"}
    broken, none, two, one = rows(tmp_path / "dst")
    assert [row["source"] for row in (broken, none, two, one)] == [
        "ada/broken.jpg", "ada/none.png", "ada/two.png", "train/bob/one.jpg",
    ]  # fmt: skip
    assert (broken["reason"], broken["output"], broken["faces"]) == ("is empty", "", "0")
    assert (none["reason"], none["output"], none["x"]) == ("no face found", "", "")
    assert (two["output"], two["face"], two["faces"], two["reason"], two["turn"]) == ("ada/two.jpg", "0", "2", "", "0")
    assert all(row["options"] == OPTIONS for row in (broken, none, two, one))

    pixels = read(photographs / "ada" / "two.png")
    face = main_face(build_detector("yunet")(pixels), 600, 400)
    assert [float(two[name]) for name in ("x", "y", "width", "height")] == pytest.approx(face.box, abs=0.006)
    assert (float(two["left_eye_x"]), float(two["right_mouth_y"])) == pytest.approx(
        (face.landmarks[0][0], face.landmarks[4][1]), abs=0.006
    )
    assert float(two["score"]) == pytest.approx(face.score, abs=1e-4)
    encoded = io.BytesIO()
    Image.fromarray(align(pixels, face, 224, 0.25)).save(encoded, "JPEG", quality=95)
    assert (tmp_path / "dst" / "ada" / "two.jpg").read_bytes() == encoded.getvalue()


def test_every_face_is_written_with_all_the_main_one_first(facecls: Facecls, photographs: Path, tmp_path: Path) -> None:
    facecls("prepare", photographs, tmp_path / "dst", "--all", "--size", "64", "--margin", "0")
    two = [row for row in rows(tmp_path / "dst") if row["source"] == "ada/two.png"]
    assert [(row["face"], row["output"], row["faces"]) for row in two] == [
        ("0", "ada/two.jpg", "2"),
        ("1", "ada/two.2.jpg", "2"),
    ]
    assert float(two[0]["width"]) > float(two[1]["width"])
    assert {read(tmp_path / "dst" / row["output"]).shape for row in two} == {(64, 64, 3)}


def test_names_that_would_collide_keep_their_suffix() -> None:
    names = ["a.png", "a.jpg", "b.jpg", "b.2.jpg", "c.3.png", "d.jpg", "d.gif", "d.gif.png", "x/a.png", "x.1/a.png"]
    assert crop_stems(names) == {
        **{"a.png": "a.png", "a.jpg": "a.jpg", "b.jpg": "b", "b.2.jpg": "b.2.jpg", "c.3.png": "c.3"},
        **{"d.jpg": "d.jpg", "d.gif": "d.gif", "d.gif.png": "d.gif.png", "x/a.png": "x/a", "x.1/a.png": "x.1/a"},
    }


def test_a_second_run_detects_nothing_again_and_adds_new_images_in_their_place(
    facecls: Facecls, photographs: Path, tmp_path: Path
) -> None:
    facecls("prepare", photographs, tmp_path / "dst")
    (tmp_path / "dst" / "ada" / "two.jpg").unlink()  # a crop that the user does not want
    save(drawn(4, 2), photographs / "ada" / "broken.jpg")
    save(drawn(8, 2), photographs / "ada" / "early.png")
    result = facecls("prepare", photographs, tmp_path / "dst")
    assert result.code == 0
    assert result.err == "5 images, 4 crops listed; images: 1 without a face, 1 with several, 0 unreadable\n"
    assert not (tmp_path / "dst" / "ada" / "two.jpg").exists()
    facecls("prepare", photographs, tmp_path / "unbroken")
    assert rows(tmp_path / "dst") == rows(tmp_path / "unbroken")


def test_an_incomplete_image_is_detected_again_after_an_interruption(
    facecls: Facecls, photographs: Path, tmp_path: Path
) -> None:
    facecls("prepare", photographs, tmp_path / "dst", "--all")
    expected, content = files(tmp_path / "dst"), (tmp_path / "dst" / "faces.csv").read_bytes()
    ends = [number + 1 for number, byte in enumerate(content) if byte == ord("\n")]
    for end in (0, 10, ends[0], ends[0] + 5, ends[2] + 20, ends[3], ends[3] + 1, ends[4] - 1):
        (tmp_path / "dst" / "faces.csv").write_bytes(content[:end])
        (tmp_path / "dst" / ".incomplete-faces").mkdir()
        assert facecls("prepare", photographs, tmp_path / "dst", "--all").code == 1
        assert files(tmp_path / "dst") == expected
        assert not (tmp_path / "dst" / ".incomplete-faces").exists()


def test_a_killed_command_continues_with_the_same_result(facecls: Facecls, tmp_path: Path) -> None:
    for number in range(60):
        save(drawn((4, 8)[number % 2], number), tmp_path / "src" / f"c{number % 3}" / f"{number}.png")
    facecls("prepare", tmp_path / "src", tmp_path / "unbroken")
    command = [sys.executable, "-m", "facecls", "prepare", str(tmp_path / "src"), str(tmp_path / "dst")]
    for crops in (1, 20, 40):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and len(list(tmp_path.glob("dst/*/*.jpg"))) < crops:
                time.sleep(0.001)
            process.kill()
        assert process.returncode in (0, -signal.SIGKILL)
    assert facecls("prepare", tmp_path / "src", tmp_path / "dst").code == 0
    assert files(tmp_path / "dst") == files(tmp_path / "unbroken")


def test_ctrl_c_tells_what_is_saved(
    facecls: Facecls, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facecls.data.face_table import FaceTable

    append = FaceTable.append

    def interrupted(table: FaceTable, image: object) -> None:
        append(table, image)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    monkeypatch.setattr(FaceTable, "append", interrupted)
    result = facecls("prepare", photographs, tmp_path / "dst")
    assert result.code == 130
    path = tmp_path / "dst" / "faces.csv"
    assert result.err == f"interrupted; 1 image saved in {path}. Run the same command to continue\n"
    assert len(path.read_text().splitlines()) == 2


def error_of(result: Result) -> list[str]:
    assert (result.code, result.out) == (1, "")
    return result.err.splitlines()


def test_other_options_than_those_of_the_file_are_refused(facecls: Facecls, photographs: Path, tmp_path: Path) -> None:
    facecls("prepare", photographs, tmp_path / "dst")
    before = files(tmp_path / "dst")
    assert error_of(facecls("prepare", photographs, tmp_path / "dst", "--size", "96", "--all")) == [
        f"error: {tmp_path / 'dst' / 'faces.csv'}: its faces were written with `{OPTIONS}`, "
        "not with `--size 96 --margin 0.25 --all`",
        "",
        f"hint: use `{OPTIONS}` to continue it, or choose another folder",
    ]
    assert files(tmp_path / "dst") == before


@pytest.mark.parametrize("content", ["path,label\na.jpg,ada\n", "source\n", '"'])
def test_another_csv_file_is_not_overwritten(facecls: Facecls, photographs: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "dst" / "faces.csv"
    path.parent.mkdir()
    path.write_text(content)
    error, *_ = error_of(facecls("prepare", photographs, tmp_path / "dst"))
    assert error == f"error: {path}: is not a CSV file of faces, or has other columns"
    assert path.read_text() == content


def test_files_that_are_not_its_own_are_not_overwritten(facecls: Facecls, photographs: Path, tmp_path: Path) -> None:
    taken = [save(drawn(), tmp_path / "dst" / name) for name in ("ada/two.jpg", "train/bob/one.jpg")]
    *errors, _, hint = error_of(facecls("prepare", photographs, tmp_path / "dst"))
    assert errors == [f"error: {path}: already exists" for path in taken]
    assert hint == "hint: choose another folder, or move these files"
    second = tmp_path / "all" / "ada" / "two.2.jpg"  # its name is known only after detection
    before = save(drawn(), second).read_bytes()
    error, *_ = facecls("prepare", photographs, tmp_path / "all", "--all").err.splitlines()[1:]
    assert error == f"error: {second}: already exists, and is not listed in {tmp_path / 'all' / 'faces.csv'}"
    assert second.read_bytes() == before


def test_images_of_another_folder_are_refused(facecls: Facecls, tmp_path: Path) -> None:
    save(drawn(4), tmp_path / "src" / "1.png")
    save(drawn(8), tmp_path / "other" / "1.png")
    facecls("prepare", tmp_path / "src", tmp_path / "dst")
    error, *_ = error_of(facecls("prepare", tmp_path / "other", tmp_path / "dst"))
    assert error.startswith(f"error: {tmp_path / 'other' / '1.png'}: has ")
    assert error.endswith(" when its faces were listed")


def test_a_folder_that_another_process_writes_to_is_refused(facecls: Facecls, photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "dst").mkdir()
    with filelock.FileLock(tmp_path / "dst" / ".lock"):
        error, *_ = error_of(facecls("prepare", photographs, tmp_path / "dst"))
    assert error == f"error: {tmp_path / 'dst'}: another process writes faces to this directory"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("src", "is the folder of the images, so the crops would be read as images"),
        ("src/ada/crops", "is inside {src}, so the crops would be read as images"),
        (".", "contains {src}, so crops and images would be mixed"),
    ],
)
def test_folders_inside_one_another_are_refused(
    facecls: Facecls, photographs: Path, tmp_path: Path, target: str, message: str
) -> None:
    before = files(tmp_path)
    error, *_ = error_of(facecls("prepare", photographs, tmp_path / target))
    assert error == f"error: {tmp_path / target}: {message.format(src=photographs)}"
    assert files(tmp_path) == before


def test_a_missing_or_empty_folder_and_a_file_as_target_are_errors(facecls: Facecls, photographs: Path, tmp_path: Path) -> None:
    assert error_of(facecls("prepare", tmp_path / "gone", tmp_path / "dst"))[0] == f"error: {tmp_path / 'gone'}: no such folder"
    (tmp_path / "empty").mkdir()
    assert error_of(facecls("prepare", tmp_path / "empty", tmp_path / "dst"))[0].endswith("contains no images")
    (tmp_path / "file").write_text("")
    assert "cannot be created" in error_of(facecls("prepare", photographs, tmp_path / "file"))[0]
    assert not (tmp_path / "dst").exists()


def test_without_the_extra_nothing_is_written(
    facecls: Facecls, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    error, _, hint = error_of(facecls("prepare", photographs, tmp_path / "dst"))
    assert error.startswith("error: finding faces needs OpenCV")
    assert hint == "hint: install it with `pip install 'facecls[faces]'`"
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("turn", [90, 180, 270])
@pytest.mark.parametrize("person", [4, 5, 8])
def test_a_turned_face_is_reported_and_made_upright_with_rotate(
    facecls: Facecls, tmp_path: Path, person: int, turn: int
) -> None:
    upright = scene((400, 300), (drawn(person), 150, 50))
    turned = upright.rotate(turn, expand=True)  # counter-clockwise, so `turn` degrees clockwise make it upright
    assert row_of(facecls, tmp_path / "plain", turned)["reason"] in ("no face found", "the faces seem turned: see --rotate")
    row = row_of(facecls, tmp_path / "rotated", turned, "a.png", "--rotate")
    expected = row_of(facecls, tmp_path / "upright", upright, "a.png", "--rotate")
    assert (row["turn"], expected["turn"]) == (str(turn), "0")
    rotated, crop = (read(tmp_path / name / "dst" / "a.jpg") for name in ("rotated", "upright"))
    np.testing.assert_array_equal(rotated, crop)
    x, y = (float(expected[f"left_eye_{axis}"]) for axis in "xy")
    moved = {90: (y, 400 - x), 180: (400 - x, 300 - y), 270: (300 - y, x)}[turn]
    assert (float(row["left_eye_x"]), float(row["left_eye_y"])) == pytest.approx(moved, abs=0.02)


def test_a_small_face_of_a_large_jpeg_is_cut_out_of_all_its_pixels(facecls: Facecls, tmp_path: Path) -> None:
    image = scene((6000, 4500), (drawn(4, 0, 250), 3000, 2000))
    row = row_of(facecls, tmp_path, image, "a.jpg")
    pixels = read(tmp_path / "src" / "a.jpg")
    x, y = float(row["x"]), float(row["y"])
    assert 3000 < x < 3250 and 2000 < y < 2250
    (face,) = build_detector("yunet")(pixels)
    crop = read(tmp_path / "dst" / "a.jpg").astype(float)
    assert np.abs(crop - align(pixels, face, 224, 0.25)).mean() < 6
    shrunk = np.asarray(Image.fromarray(crop.astype(np.uint8)).resize((56, 56)).resize((224, 224)))
    assert np.abs(crop - shrunk).mean() > 1  # detail that an eighth of the size does not have


def test_two_hundred_faces_are_written(facecls: Facecls, tmp_path: Path) -> None:
    faces = [(drawn((4, 8)[number % 2], number // 2, 96), number % 20 * 100, number // 20 * 100) for number in range(200)]
    save(scene((2000, 1000), *faces), tmp_path / "src" / "crowd.png")
    assert facecls("prepare", tmp_path / "src", tmp_path / "dst", "--all", "--size", "64").code == 0
    listed = rows(tmp_path / "dst")
    assert 170 <= len(listed) <= 200 and {row["faces"] for row in listed} == {str(len(listed))}
    assert len(list((tmp_path / "dst").glob("crowd*.jpg"))) == len(listed)


def test_a_face_cut_by_the_border_is_black_beyond_it(facecls: Facecls, tmp_path: Path) -> None:
    row = row_of(facecls, tmp_path, scene((500, 400), (drawn(4), 0, 100)).crop((70, 0, 500, 400)))
    assert float(row["x"]) >= 0 and row["output"] == "a.jpg"
    black = read(tmp_path / "dst" / "a.jpg").max(axis=2) < 16
    assert black[:, :40].mean() > 0.05 and black[:, 112:].mean() < 0.1


@pytest.mark.parametrize(
    ("name", "image", "faces"),
    [
        ("pixel.png", Image.new("RGB", (1, 1)), 0),
        ("line.png", Image.new("RGB", (3000, 1)), 0),
        ("panorama.jpg", scene((6000, 300), (drawn(4), 4000, 50)), 1),
        ("tower.png", scene((300, 6000), (drawn(4), 50, 4000)), 1),
        ("grey.png", drawn(4).convert("L"), 1),
        ("alpha.png", drawn(4).convert("RGBA"), 1),
        ("clear.png", Image.new("RGBA", (200, 200)), 0),
        ("sixteen.png", Image.fromarray(np.asarray(drawn(4).convert("L")).astype(np.uint16) * 257), 1),
    ],
)
def test_odd_images_are_cut_out_or_reported(
    facecls: Facecls, tmp_path: Path, name: str, image: Image.Image, faces: int
) -> None:
    row = row_of(facecls, tmp_path, image, name)
    assert row["faces"] == str(faces)
    assert row["reason"] == ("" if faces else "no face found")


def test_of_an_animated_image_the_first_frame_counts(facecls: Facecls, tmp_path: Path) -> None:
    save(drawn(4), tmp_path / "src" / "a.gif", save_all=True, append_images=[scene((200, 200))])
    save(scene((200, 200)), tmp_path / "src" / "b.gif", save_all=True, append_images=[drawn(4)])
    facecls("prepare", tmp_path / "src", tmp_path / "dst")
    assert [row["faces"] for row in rows(tmp_path / "dst")] == ["1", "0"]


def test_an_image_turned_by_exif_is_cut_out_upright(facecls: Facecls, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: display it turned clockwise
    save(drawn(4).rotate(90, expand=True), tmp_path / "src" / "a.jpg", exif=exif, quality=95)
    facecls("prepare", tmp_path / "src", tmp_path / "dst")
    (row,) = rows(tmp_path / "dst")
    assert (row["reason"], row["turn"]) == ("", "0")
    assert float(row["left_eye_x"]) < float(row["right_eye_x"])


def test_names_of_any_bytes_are_listed(facecls: Facecls, tmp_path: Path) -> None:
    name = 'ä, "b"\n.png'
    assert row_of(facecls, tmp_path, drawn(4), name)["source"] == name
    assert facecls("prepare", tmp_path / "src", tmp_path / "dst").code == 0
    assert len(rows(tmp_path / "dst")) == 1


def test_crops_of_one_photograph_stay_in_one_split(facecls: Facecls, tmp_path: Path) -> None:
    for number in range(6):
        path = tmp_path / "src" / "party" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        paste_faces(path, (700, 300), [(20 + number, 30, 200), (400 - number, 60, 200)])
    assert facecls("prepare", tmp_path / "src", tmp_path / "dst", "--all", "--size", "64").code == 0
    for crop in sorted((tmp_path / "dst" / "party").iterdir()):  # the user sorts them; the table still names the old places
        if crop.name.endswith(".2.jpg"):
            (tmp_path / "dst" / "other").mkdir(exist_ok=True)
            crop.rename(tmp_path / "dst" / "other" / crop.name)
    index = index_dataset(DataConfig(root=tmp_path / "dst"), SplitConfig(val=0.34, group="name", pattern="(.+)"), no_progress)
    val = {Path(path).name.split(".")[0] for path in index.splits["val"].paths}
    train = {Path(path).name.split(".")[0] for path in index.splits["train"].paths}
    assert val and not val & train
