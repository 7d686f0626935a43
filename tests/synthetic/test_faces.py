"""Synthetic faces: reproducible to the byte, and as varied in format and content as photographs."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from facecls.errors import DataError
from facecls.synthetic.draw import draw_face
from facecls.synthetic.people import Photograph, person_name, random_person, random_photograph
from facecls.synthetic.write import save_photograph, write_faces

ORIENTATION = 0x0112


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        list(write_faces(tmp_path / name, people=3, each=8, seed=5))
    assert len(contents(tmp_path / "one")) == 24
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_more_people_and_images_do_not_change_the_earlier_ones(tmp_path: Path) -> None:
    list(write_faces(tmp_path / "few", people=2, each=3, seed=0))
    list(write_faces(tmp_path / "more", people=3, each=5, seed=0))
    assert contents(tmp_path / "few").items() <= contents(tmp_path / "more").items()


def test_another_seed_draws_other_people() -> None:
    assert random_person(0, 0) != random_person(1, 0)


def test_other_person_numbers_are_other_people(tmp_path: Path) -> None:
    paths = write_faces(tmp_path / "others", people=2, each=1, seed=0, first_person=12)
    assert [path.parent.name for path in paths] == [person_name(12), person_name(13)] == ["mika", "noa"]
    assert len({random_person(0, number) for number in range(60)}) == 60


def test_every_person_has_a_unique_name() -> None:
    assert len({person_name(number) for number in range(200)}) == 200
    assert [person_name(number) for number in (0, 26, 52)] == ["ari", "ari2", "ari3"]


def test_each_path_is_yielded_once_its_image_is_written(tmp_path: Path) -> None:
    for path in islice(write_faces(tmp_path / "faces", people=2, each=40, seed=0), 3):
        Image.open(path).verify()
    assert [path.stem for path in sorted((tmp_path / "faces" / "ari").iterdir())] == ["0001", "0002", "0003"]


def test_all_formats_sizes_orientations_and_occlusions_occur() -> None:
    photographs = [random_photograph(0, person, image) for person in range(12) for image in range(40)]
    assert {p.suffix for p in photographs} == {".jpg", ".png", ".webp", ".bmp", ".pgm"}
    assert {p.orientation for p in photographs} == set(range(1, 9))
    assert {p.suffix for p in photographs if p.orientation != 1} == {".jpg"}
    assert {p.suffix for p in photographs if p.grey} > {".jpg", ".pgm"}
    assert {p.occlusion for p in photographs} == {"none", "hat", "scarf", "leaf"}
    assert all(128 <= side <= 208 for p in photographs for side in (p.width, p.height))
    assert 0.5 < np.mean([p.suffix == ".jpg" for p in photographs]) < 0.9


def test_applying_the_exif_orientation_restores_the_upright_image(tmp_path: Path) -> None:
    photographs: dict[int, Photograph] = {}
    for image in range(400):
        photograph = random_photograph(0, 0, image)
        photographs.setdefault(photograph.orientation, photograph)
    assert set(photographs) == set(range(1, 9))
    for orientation, photograph in photographs.items():
        upright, path = draw_face(random_person(0, 0), photograph), tmp_path / f"{orientation}.jpg"
        save_photograph(upright, photograph, path)
        with Image.open(path) as stored:
            assert stored.getexif().get(ORIENTATION, 1) == orientation
            read = ImageOps.exif_transpose(stored).convert("RGB")
        assert read.size == upright.size
        error = np.abs(np.asarray(read, dtype=np.int16) - np.asarray(upright.convert("RGB"), dtype=np.int16)).mean()
        assert error < 12  # of 255: what JPEG loses


def test_a_grey_photograph_is_stored_in_grey(tmp_path: Path) -> None:
    photograph = next(p for p in (random_photograph(0, 0, image) for image in range(400)) if p.suffix == ".pgm")
    save_photograph(draw_face(random_person(0, 0), photograph), photograph, tmp_path / "face.pgm")
    with Image.open(tmp_path / "face.pgm") as stored:
        assert stored.mode == "L"


def test_every_hair_style_is_drawn_differently() -> None:
    photograph = random_photograph(0, 0, 1)
    images = [np.asarray(draw_face(random_person(0, number), photograph), dtype=np.float64) for number in range(14)]
    assert len({random_person(0, number).hair for number in range(14)}) == 14
    differences = [np.abs(a - b).mean() for i, a in enumerate(images) for b in images[:i]]
    assert min(differences) > 2


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_existing_file_or_non_empty_folder_is_an_error_before_anything_is_written(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "faces"
    if kind == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="exists and is not an empty folder") as caught:
        write_faces(folder, people=1, each=1, seed=0)
    assert str(folder) in str(caught.value)
    assert caught.value.hint
    assert len(list(tmp_path.rglob("*"))) == (1 if kind == "file" else 2)


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    assert list(write_faces(tmp_path, people=1, each=1, seed=0)) == [tmp_path / "ari" / "0001.jpg"]


def test_ridge_regression_on_pixels_is_not_enough() -> None:
    """A data set that colour alone separates would be too easy for a demo."""
    pixels, people = [], np.repeat(np.arange(12), 16)
    for number in range(12):
        for image in range(16):
            face = draw_face(random_person(0, number), random_photograph(0, number, image)).convert("RGB")
            pixels.append(np.asarray(ImageOps.fit(face, (24, 24)), dtype=np.float64).ravel() / 255)
    x = np.stack(pixels)
    held_out = np.arange(len(x)) % 4 == 3
    x -= x[~held_out].mean(axis=0)
    kernel = x[~held_out] @ x[~held_out].T
    weights = np.linalg.solve(kernel + 30 * np.eye(len(kernel)), np.eye(12)[people[~held_out]])  # ridge regression
    guesses = (x[held_out] @ x[~held_out].T @ weights).argmax(axis=1)
    accuracy = float(np.mean(guesses == people[held_out]))
    assert 1 / 12 < accuracy < 0.6
